"""A run on disk: its configuration, its prompts, its rows, and how they are read."""
