"""JSON and TOML that others may have written: what is nested too deep for the parser is an error like any other."""

from __future__ import annotations

import json
import tomllib
from typing import Any


def parse_json(data: str | bytes) -> Any:
    """Return the value of a JSON text; raise ValueError for anything else.

    >>> parse_json('{"a": [1]}')
    {'a': [1]}
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text; raise tomllib.TOMLDecodeError for anything else."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise tomllib.TOMLDecodeError("it is nested too deep") from None
