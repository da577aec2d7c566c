"""The TOML file of a configuration: the names and values that it holds, and the configuration that they make."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memcore.errors import ConfigError
from memcore.runs.config import Config
from memcore.runs.options import declared
from memcore.system.parsing import parse_toml
from memcore.system.places import where
from memcore.system.plain_files import read_plain
from memcore.system.suggestions import did_you_mean

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


def from_mapping(values: Mapping[str, Any]) -> Config:
    """Return the Config of TOML values; refuse an unknown name and suggest the nearest known one."""
    clean = {key.replace("-", "_"): value for key, value in values.items()}
    known = declared(Config)
    for key, value in clean.items():
        within = [str(name) for name in value] if isinstance(value, Mapping) else []
        if within and (key not in known or any(map(_hint, within))):
            raise ConfigError(_unknown(f"{key}.{within[0]}"))
        if key not in known:
            raise ConfigError(_unknown(key))
    return Config(**clean)


def _hint(name: str) -> str:
    return did_you_mean(name.replace("-", "_"), declared(Config), repr)


def _unknown(name: str) -> str:
    """Return what is wrong with a name that no option has; a dotted one is in a table of the file."""
    *tables, last = name.split(".")
    hint = _hint(last) or f"known names: {', '.join(sorted(declared(Config)))}"
    flat = " All names belong at the top of the file, outside of any table." if tables else ""
    return f"the configuration has an unknown name {name!r}; {hint}{flat}"
