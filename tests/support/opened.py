"""Which files this process opens, by Python's own audit events: of those that are opened below Python nothing is seen."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_seen: list[list[str]] = []
_EVENTS = ("open", "sqlite3.connect", "os.listdir", "os.scandir", "import")


def _hook(event: str, values: tuple[Any, ...]) -> None:
    if not _seen or event not in _EVENTS:
        return
    place = values[1] if event == "import" else values[0]
    if isinstance(place, str | bytes | os.PathLike):
        text = os.fsdecode(place).removeprefix("file://").partition("?")[0]
        for seen in _seen:
            seen.append(os.path.abspath(text))


@contextlib.contextmanager
def opened() -> Iterator[list[str]]:
    """Yield a list that gets the absolute path of whatever is opened or listed in the block."""
    if not getattr(_hook, "added", False):
        sys.addaudithook(_hook)
        _hook.added = True  # type: ignore[attr-defined]
    seen: list[str] = []
    _seen.append(seen)
    try:
        yield seen
    finally:
        _seen.remove(seen)


def below(folder: Path, seen: list[str]) -> list[str]:
    """Return the opened paths that lie in a folder, or are it."""
    root = os.path.abspath(folder)
    return sorted({path for path in seen if path == root or path.startswith(root + os.sep)})
