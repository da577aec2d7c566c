"""Files in a folder of this machine or of a shared file system."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from memcore.errors import RunError, StoreError
from memcore.storage.base import Holder, Part
from memcore.system import atomic_files
from memcore.system.appended_file import AppendedFile
from memcore.system.plain_files import open_plain

_LOCK = ".lock"
#: Tries at a lock, and seconds between two: whoever asks for its state holds it for a moment.
_TRIES, _PAUSE = 5, 0.02
#: Bytes of a note that are read.
_MOST_NOTE = 1 << 20
#: A lock's note is never written through a link: the folder may be somebody else's.
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)


class LocalStorage:
    """A folder of this machine, or of a file system that others mount too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = str(path)
        self._was_there = path.is_dir()

    def __repr__(self) -> str:
        """Return one line."""
        return f"LocalStorage({self.place!r})"

    def __reduce__(self) -> tuple[type[LocalStorage], tuple[Path]]:
        """Pickle the absolute path, since another process may have another working directory."""
        return LocalStorage, (self.path.absolute(),)

    def read(self, name: str) -> bytes:
        """Return the whole file."""
        with open_plain(self.path / name) as file:
            return file.read()

    def open(self, name: str) -> IO[bytes]:
        """Open the file for reading."""
        return open_plain(self.path / name)

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

    def append(self, name: str) -> AppendedFile:
        """Begin a new file that grows by appending."""
        return AppendedFile(self._target(name))

    @contextlib.contextmanager
    def lock(self, part: Part | None = None) -> Iterator[LocalLock]:
        """Hold the lock. Raises RunError if another process of this machine holds it.

        A launcher of the whole excludes every other; launchers of different parts work side by side. The system releases
        the lock of a killed process. A folder into which a launcher of the whole wrote nothing before it failed is removed
        again if it was made here.
        """
        made = atomic_files.make_folders(self.path)
        with contextlib.ExitStack() as stack:
            lock = _hold(stack, self.path, _LOCK, shared=part is not None)
            if part is not None:
                lock = _hold(stack, self.path, f"{_LOCK}-{part[0]}-of-{part[1]}", shared=False)
            try:
                yield lock
            except BaseException:
                if part is None:
                    self._leave_nothing(made)
                raise

    def _leave_nothing(self, made: list[Path]) -> None:
        """Remove the lock's file from a folder that holds nothing else, and the folders that were made for it."""
        with contextlib.suppress(OSError):
            if os.listdir(self.path) == [_LOCK]:
                (self.path / _LOCK).unlink()
                for folder in reversed(made):
                    folder.rmdir()

    def holders(self) -> list[Holder]:
        """Return the notes of all locks of this folder that hold one."""
        found = []
        for path in sorted(self.path.glob(f"{_LOCK}*")):
            with contextlib.suppress(OSError), open(path, "rb", opener=_open_plain) as file:
                if stat.S_ISREG(os.fstat(file.fileno()).st_mode) and (note := file.read(_MOST_NOTE)):
                    found.append(Holder(note, _is_held(file.fileno())))
        return found


class LocalLock:
    """The file of a lock that is held, which has the note."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def note(self, data: bytes) -> None:
        """Replace the note."""
        with contextlib.suppress(OSError):  # a full disk is found by those that write a run
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.write(self._descriptor, data)
            os.ftruncate(self._descriptor, len(data))


def _hold(stack: contextlib.ExitStack, folder: Path, name: str, *, shared: bool) -> LocalLock:
    try:
        descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | _NO_LINKS, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise RunError(f"{folder / name} is a link: remove it, memcore writes through no links") from None
    stack.callback(os.close, descriptor)
    try:
        import fcntl
    except ImportError:
        return LocalLock(descriptor)  # no flock on this system; a second launcher then only repeats work
    for attempt in range(_TRIES):
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt == _TRIES - 1:
                raise RunError(
                    f"another memcore process is at work on {folder}: wait for it, or end it"
                ) from None
            time.sleep(_PAUSE)
        except OSError:
            break  # a file system without locks
        else:
            break
    return LocalLock(descriptor)


def _open_plain(path: str, flags: int) -> int:
    """Open what is no link, without waiting for a pipe's other end."""
    return os.open(path, flags | _NO_LINKS | getattr(os, "O_NONBLOCK", 0))


def _is_held(descriptor: int) -> bool:
    """Tell whether another process holds the lock alone."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
