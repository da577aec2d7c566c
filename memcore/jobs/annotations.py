"""Moved to ``memcore.runs.annotations``."""

from memcore.runs.annotations import Annotations

__all__ = ["Annotations"]
