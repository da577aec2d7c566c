"""Moved to ``memcore.runs.config``."""

from memcore.runs.config import Config, from_mapping
from memcore.runs.config_file import read_toml

__all__ = ["Config", "from_mapping", "read_toml"]
