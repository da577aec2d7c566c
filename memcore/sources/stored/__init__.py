"""Stored images, read without surprises: generations of an earlier run, and training sets."""

from pathlib import Path

from memcore.runs.config import Config
from memcore.sources.stored.chunks import Batch
from memcore.sources.stored.prompts import StoredPrompts
from memcore.sources.stored.training import load_training_set

__all__ = ["Batch", "StoredPrompts", "load_training_set", "stored_prompts"]


def stored_prompts(config: Config, threads: int | None = None) -> StoredPrompts:
    """What a configuration with ``source = "stored"`` reads; ``threads`` decode."""
    return StoredPrompts(Path(config.images), background=config.background_colour(), threads=threads or 1)
