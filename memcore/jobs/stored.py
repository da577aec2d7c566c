"""Moved to ``memcore.sources.stored``."""

from memcore.sources.stored import StoredPrompts, load_training_set

__all__ = ["StoredPrompts", "load_training_set"]
