"""The interface of the place where files are kept: a folder of this machine or of a shared file system, or a bucket.

Names are relative and use "/". A write is atomic and durable when it returns. No lock is needed for correctness: a task's
files are a pure function of the task, so two writers write the same bytes; the lock only saves double work.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import IO, Protocol

#: (k, n): the k-th of n parts of the work, k from 1.
Part = tuple[int, int]


class Storage(Protocol):
    """A place that holds files under names."""

    place: str

    def read(self, name: str) -> bytes:
        """Return the whole file. Raises FileNotFoundError if there is none."""
        ...

    def open(self, name: str) -> IO[bytes]:
        """Open the file for reading with seek. Raises FileNotFoundError if there is none."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole and durably, or raise StoreError and leave what was there before."""
        ...

    def write_from(self, name: str, source: IO[bytes]) -> None:
        """Write what ``source`` holds from its start, as ``write`` does, a piece at a time."""
        ...

    def write_new(self, name: str, data: bytes) -> bool:
        """Write a file if there is none of that name. Otherwise return False and change nothing."""
        ...

    def exists(self, name: str) -> bool:
        """Return whether the file exists."""
        ...

    def names(self, folder: str = "") -> list[str]:
        """Return the names of the files and folders directly in ``folder``, sorted; none if it does not exist."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, which may be missing."""
        ...

    def clean(self) -> None:
        """Remove the unfinished files of killed writers."""
        ...

    def lock(self, part: Part | None = None) -> AbstractContextManager[None]:
        """Hold a lock on the whole place, or on one part of its work. A launcher holds it while it works."""
        ...
