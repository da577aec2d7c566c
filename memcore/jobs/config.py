"""Moved to ``memcore.runs.config``."""

from memcore.runs.config import Config
from memcore.runs.config_file import from_mapping, read_toml

__all__ = ["Config", "from_mapping", "read_toml"]
