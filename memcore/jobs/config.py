"""Moved to ``memcore.runs.config``."""

from memcore.runs.config import Config, from_mapping, read_toml

__all__ = ["Config", "from_mapping", "read_toml"]
