"""Findings compared with the training set, by brute force or through an index."""
