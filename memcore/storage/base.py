"""The interface of the place where files are kept: a folder of this machine or of a shared file system, or a bucket.

Names are relative and use "/". A write is atomic and durable when it returns. No lock is needed for correctness: a task's
files are a pure function of the task, so two writers write the same bytes; the lock only saves double work.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import IO, Protocol

from memcore.system.atomic_files import Bytes

#: (k, n): the k-th of n parts of the work, k from 1.
Part = tuple[int, int]


class Appended(Protocol):
    """A file that is being appended to. Its errors are StoreError."""

    def write(self, pieces: Sequence[Bytes]) -> None:
        """Append the pieces. They need not be durable yet."""
        ...

    def sync(self) -> None:
        """Make all that was written durable."""
        ...

    def close(self) -> None:
        """End the file. What was not synced may be lost."""
        ...


class Lock(Protocol):
    """A lock that is held, and a note in it for those who ask who holds it."""

    def note(self, data: bytes) -> None:
        """Replace the note. An error is no reason to stop: the note only informs."""
        ...


@dataclasses.dataclass(frozen=True)
class Holder:
    """The note of a lock's last holder, and whether a process holds the lock now, as far as this machine can see."""

    note: bytes
    held: bool


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

    def append(self, name: str) -> Appended:
        """Begin a new file that grows by appending; one of that name is emptied."""
        ...

    def lock(self, part: Part | None = None) -> AbstractContextManager[Lock]:
        """Hold a lock on the whole place, or on one part of its work. A launcher holds it while it works."""
        ...

    def holders(self) -> list[Holder]:
        """Return the notes of all locks; none where there are no locks."""
        ...
