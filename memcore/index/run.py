"""Moved to ``memcore.matching.match_run``."""

from memcore.matching.match_run import match_run

__all__ = ["match_run"]
