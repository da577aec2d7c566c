"""The TOML file of a configuration: the names and values that it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from memcore.errors import ConfigError
from memcore.system.parsing import parse_toml
from memcore.system.places import where
from memcore.system.plain_files import read_plain

#: Bytes of the largest configuration file.
_MOST_BYTES = 1 << 24


def read_toml(path: Path) -> dict[str, Any]:
    """Return the names and values of a configuration file. Raises ConfigError if it cannot be read as TOML."""
    try:
        return parse_toml(read_plain(path, _MOST_BYTES))
    except FileNotFoundError:
        raise ConfigError(f"the configuration file {path} does not exist{where(path)}") from None
    except IsADirectoryError:
        raise ConfigError(f"the configuration {path} is a folder: give a TOML file") from None
    except OSError as error:
        raise ConfigError(
            f"the configuration file {path} cannot be read: {error.strerror or error}"
        ) from None
    except ValueError as error:
        raise ConfigError(f"the configuration file {path} is not valid TOML: {error}") from None
