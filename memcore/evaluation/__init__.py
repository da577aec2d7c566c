"""Precision and recall against planted truth, matches, or what annotators said."""
