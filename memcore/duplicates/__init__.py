"""Duplicates in a training set, and the captions of the most-duplicated images."""
