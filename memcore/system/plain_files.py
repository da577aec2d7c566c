"""Files that a person names: only regular ones are opened, since a pipe or a device might block for ever."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO

_OPEN = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


def open_plain(path: str | Path) -> IO[bytes]:
    """Open a regular file; raise OSError for anything else, which might block or never end."""
    descriptor = os.open(path, _OPEN)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is no plain file")
    return open(descriptor, "rb")
