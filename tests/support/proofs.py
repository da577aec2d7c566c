"""How often a proof repeats what the tests do a few times, and where it writes what it measured."""

from __future__ import annotations

import json
import os
from pathlib import Path


def times(name: str, default: int) -> int:
    """Return the number of repetitions: MEMCORE_STOPS, MEMCORE_EXITS or MEMCORE_KILLS, which ``make proof-stops`` sets."""
    return int(os.environ.get(f"MEMCORE_{name}", default))


def shares(total: int, names: list[str]) -> dict[str, int]:
    """Return how many of ``total`` belong to each name, as equal as can be."""
    return {name: total // len(names) + (i < total % len(names)) for i, name in enumerate(names)}


def record(part: str, name: str, **figures: object) -> None:
    """Add what was measured to the file MEMCORE_RECORD, a line of JSON, if a proof asks for it."""
    if path := os.environ.get("MEMCORE_RECORD"):
        with Path(path).open("a") as file:
            file.write(json.dumps({"part": part, "name": name, **figures}) + "\n")
