"""Open regular files alone: a pipe would keep its reader waiting, and a device might never end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
#: Bytes of the largest file that is read whole: configurations, and records of memcore's own.
MOST_BYTES = 1 << 30


def open_plain(path: str | Path) -> BinaryIO:
    """Open a regular file for reading, after links are followed; OSError for anything else, without waiting."""
    descriptor = os.open(path, _FLAGS)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    return open(descriptor, "rb")


def load_npy(path: str | Path) -> Any:
    """Return the array in an .npy file.

    Raises OSError as ``open_plain`` does, and ValueError for whatever is wrong with the file: NumPy parses its header as
    Python, which raises many kinds.
    """
    open_plain(path).close()
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        told = str(error).partition("\n")[0]
        raise ValueError(
            told if isinstance(error, ValueError) else f"{type(error).__name__}: {told}"
        ) from None


def read_plain(path: str | Path, most: int = MOST_BYTES) -> bytes:
    """Return the content of a regular file of at most ``most`` bytes; OSError for anything else."""
    with open_plain(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > most:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, at most {most:,} are read", str(path))
        return file.read()
