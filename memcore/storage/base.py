"""Where a run's files stand: a folder of this machine or of a shared file system, or an object store.

Names are relative and use "/". A write is atomic and durable when it returns. Nobody needs a lock to be right: a shard's
files are a pure function of the run, so two writers write the same bytes; the lock only saves double work.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Protocol

from memcore.errors import RunError
from memcore.system import atomic_files

Part = tuple[int, int]

#: Files that may stand in a folder that no run was started in yet: a kill may fall between them and run.toml.
_BEFORE_THE_START = {"prompts.parquet", "slurm"}


class Storage(Protocol):
    """What a run needs of the place that it stands in."""

    place: str

    def read(self, name: str) -> bytes:
        """The whole file; FileNotFoundError if there is none."""
        ...

    def open(self, name: str) -> IO[bytes]:
        """The file, for reading with seek; FileNotFoundError if there is none."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """The file is there whole and durable, or StoreError is raised and what was there before stands."""
        ...

    def write_new(self, name: str, data: bytes) -> bool:
        """The same if there is no such file; otherwise False, and nothing is changed."""
        ...

    def exists(self, name: str) -> bool: ...

    def names(self, folder: str = "") -> list[str]:
        """Names of the files and folders directly in ``folder``, sorted; none if it does not exist."""
        ...

    def remove(self, name: str) -> None:
        """The file is gone; it may have been gone before."""
        ...

    def clean(self) -> None:
        """Removes what killed writers left."""
        ...

    def lock(self, part: Part | None = None) -> AbstractContextManager[None]:
        """Held by a launcher while it works on the run, or on one part of it."""
        ...


class LocalStorage:
    """A folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = str(path)

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def open(self, name: str) -> IO[bytes]:
        return (self.path / name).open("rb")

    def write(self, name: str, data: bytes) -> None:
        atomic_files.write_atomic(self.path / name, data)

    def write_new(self, name: str, data: bytes) -> bool:
        return atomic_files.write_new(self.path / name, data)

    def exists(self, name: str) -> bool:
        return (self.path / name).exists()

    def names(self, folder: str = "") -> list[str]:
        try:
            return sorted(
                p.name
                for p in (self.path / folder).iterdir()
                if not p.name.startswith(atomic_files.TEMPORARY)
            )
        except (FileNotFoundError, NotADirectoryError):
            return []

    def remove(self, name: str) -> None:
        atomic_files.remove_file(self.path / name)

    def clean(self) -> None:
        atomic_files.remove_temporary(self.path)

    @contextlib.contextmanager
    def lock(self, part: Part | None = None) -> Iterator[None]:
        """RunError if another process of this machine is at work on the same. The system frees it on a kill.

        A launcher of the whole run excludes every other; launchers of different parts go together.
        """
        check_startable(self)
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


def open_storage(place: str | Path) -> Storage:
    """The storage at a path, or at a URL such as ``s3://bucket/run``.

    >>> open_storage("runs/first").place
    'runs/first'
    """
    if is_url(place):
        from memcore.storage.remote import ObjectStorage

        return ObjectStorage(str(place))
    return LocalStorage(Path(place))


def is_url(place: str | Path) -> bool:
    """Whether the place is named by a URL and not by a path."""
    return "://" in str(place)


def check_startable(storage: Storage) -> None:
    """Raises RunError unless a run may be started or gone on with there: nothing foreign is ever written into."""
    if isinstance(storage, LocalStorage) and storage.path.exists() and not storage.path.is_dir():
        raise RunError(f"{storage.place} is a file: choose a folder for the run")
    names = storage.names()
    if "run.toml" in names or all(n in _BEFORE_THE_START or n.startswith(".") for n in names):
        return
    raise RunError(f"{storage.place} is not empty and holds no run.toml: choose another folder for the run")
