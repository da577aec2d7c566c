"""Compare findings with the training set, by brute force or by an index."""
