"""Moved to ``memcore.runs.folder``."""

from memcore.runs.folder import RunFolder

__all__ = ["RunFolder"]
