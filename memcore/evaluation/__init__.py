"""Evaluate a run: precision and recall against planted truth, matches, or annotations."""
