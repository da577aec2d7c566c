"""Defences of a study: what is done to a training set, and to what a model makes."""
