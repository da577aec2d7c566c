"""Moved to ``memcore.sources.by_prompt`` and ``memcore.sources.in_memory``."""

from memcore.sources.by_prompt import StoredPrompts
from memcore.sources.in_memory import load_training_set

__all__ = ["StoredPrompts", "load_training_set"]
