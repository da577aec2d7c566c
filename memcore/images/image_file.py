"""The bytes of an image's file: of a plain file, and not too many of them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from memcore.images.reasons import UnreadableImage

#: Bytes of the largest file that is read.
MAX_BYTES = 1 << 28


def read_image_file(path: Path) -> bytes:
    """Return the bytes of a plain file of at most ``MAX_BYTES``. Raises UnreadableImage."""
    try:
        with open(
            os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)), "rb"
        ) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise UnreadableImage("path", "no plain file")
            if (size := about.st_size) > MAX_BYTES:
                raise UnreadableImage("too-large", f"{size:,} bytes, at most {MAX_BYTES:,} are read")
            data: bytes = file.read()
    except OSError as error:
        raise UnreadableImage("unreadable", f"{type(error).__name__}: {error.strerror}") from None
    return data
