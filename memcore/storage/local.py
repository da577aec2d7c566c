"""Files in a folder of this machine or of a shared file system."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from memcore.errors import RunError, StoreError
from memcore.storage.base import Part
from memcore.system import atomic_files


class LocalStorage:
    """A folder of this machine, or of a file system that others mount too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = str(path)
        self._was_there = path.is_dir()

    def __reduce__(self) -> tuple[type[LocalStorage], tuple[Path]]:
        """Pickle the absolute path, since another process may have another working directory."""
        return LocalStorage, (self.path.absolute(),)

    def read(self, name: str) -> bytes:
        """Return the whole file."""
        return (self.path / name).read_bytes()

    def open(self, name: str) -> IO[bytes]:
        """Open the file for reading."""
        return (self.path / name).open("rb")

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole and durably. Raises StoreError if the folder was removed, or a link leads out of it."""
        atomic_files.write_atomic(self._target(name), data)

    def write_from(self, name: str, source: IO[bytes]) -> None:
        """Write what ``source`` holds from its start, a piece at a time."""
        atomic_files.write_atomic_from(self._target(name), source)

    def write_new(self, name: str, data: bytes) -> bool:
        """Write a file if there is none of that name."""
        return atomic_files.write_new(self._target(name), data)

    def _target(self, name: str) -> Path:
        """Return where a file is to be written or removed."""
        if self._was_there and not os.path.isdir(self.path):
            # made again, it would hold the end of a run without its beginning
            raise StoreError(f"{self.path} was removed or moved while memcore was at work on it: start again")
        self._was_there = True
        path = self.path / name
        atomic_files.check_no_links(self.path, path)
        return path

    def exists(self, name: str) -> bool:
        """Return whether the file exists."""
        return (self.path / name).exists()

    def names(self, folder: str = "") -> list[str]:
        """Return the names directly in ``folder``, without those of unfinished writes."""
        try:
            return sorted(
                p.name
                for p in (self.path / folder).iterdir()
                if not p.name.startswith(atomic_files.TEMPORARY)
            )
        except (FileNotFoundError, NotADirectoryError):
            return []

    def remove(self, name: str) -> None:
        """Remove a file, which may be missing."""
        atomic_files.remove_file(self._target(name))

    def clean(self) -> None:
        """Remove the unfinished files of killed writers."""
        atomic_files.remove_temporary(self.path)

    @contextlib.contextmanager
    def lock(self, part: Part | None = None) -> Iterator[None]:
        """Hold the lock. Raises RunError if another process of this machine holds it.

        A launcher of the whole excludes every other; launchers of different parts work side by side. The system releases
        the lock of a killed process.
        """
        atomic_files.make_folders(self.path)
        with contextlib.ExitStack() as stack:
            _hold(stack, self.path, ".lock", shared=part is not None)
            if part is not None:
                _hold(stack, self.path, f".lock-{part[0]}-of-{part[1]}", shared=False)
            yield


def _hold(stack: contextlib.ExitStack, folder: Path, name: str, *, shared: bool) -> None:
    try:
        import fcntl
    except ImportError:
        return  # no flock on this system; a second launcher then only repeats work
    file: io.BufferedWriter = stack.enter_context((folder / name).open("ab"))
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RunError(f"another memcore process is at work on {folder}: wait for it, or end it") from None
    except OSError:
        return  # a file system without locks
