"""Stored images under their earlier import path: see ``memcore.sources.by_prompt`` and ``in_memory``."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from memcore.images import Background
from memcore.sources.by_prompt import StoredPrompts
from memcore.sources.chunks import Batch
from memcore.sources.in_memory import load_training_set

__all__ = ["Batch", "StoredPrompts", "load_training_set", "stored_prompts"]


class _Config(Protocol):
    @property
    def images(self) -> str: ...

    def background_colour(self) -> Background | None: ...


def stored_prompts(config: _Config, threads: int | None = None) -> StoredPrompts:
    """Return what a configuration with ``source = "stored"`` reads; ``threads`` decode."""
    return StoredPrompts(Path(config.images), background=config.background_colour(), threads=threads or 1)
