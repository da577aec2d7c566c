"""What is done with a prompt's generations: the growing graph, its findings, their matches, and the evaluation."""
