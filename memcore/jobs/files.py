"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

TEMPORARY = ".tmp-"


def write_atomic(path: Path, data: bytes) -> None:
    """Writes to a temporary name beside ``path``, syncs it to the disk, and moves it into place.

    A reader, a kill or a full disk sees the old file or the new one, never a part. On failure the temporary file goes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes renames in ``folder`` survive a power cut, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporary(folder: Path) -> int:
    """Removes what killed writers left behind; only for the one who holds the run's lock."""
    count = 0
    for path in folder.rglob(f"{TEMPORARY}*"):
        path.unlink(missing_ok=True)
        count += 1
    return count
