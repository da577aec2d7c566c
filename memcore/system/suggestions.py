"""The nearest right name for a wrong one, for messages about flags, commands and names in TOML files."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known name that ``word`` most likely stands for; None if none is close.

    A name that ``word`` abbreviates comes first, then the one with the most letters in common.

    >>> nearest("--treshold", ["--threads", "--threshold"])
    '--threshold'
    >>> nearest("--gen", ["--generations", "--grid"])
    '--generations'
    """
    names = sorted(known)
    if len(word.strip("-")) >= 2:
        longer = [name for name in names if name.startswith(word)]
        if longer:
            return min(longer, key=len)
    close = difflib.get_close_matches(word, names, 1)
    return close[0] if close else None
