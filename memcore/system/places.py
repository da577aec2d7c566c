"""Where a path leads, for messages about one that is not there."""

from __future__ import annotations

import os
from pathlib import Path


def where(path: str | Path) -> str:
    """Return where a relative path was looked for, to be put behind it in a message; nothing of an absolute one.

    Paths of flags and of a configuration file are relative to the working folder, which is what nobody sees.

    >>> where("/data/train")
    ''
    """
    if os.path.isabs(path):
        return ""
    try:
        found = os.fsencode(os.path.abspath(path)).decode("utf-8", "backslashreplace")
    except OSError:
        return " (relative to a working folder that is gone)"
    return f" (looked for at {found}: paths are relative to the working folder)"
