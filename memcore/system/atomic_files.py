"""Files that are written whole or not at all: after a kill, on a full disk, or after a power cut."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, TypeAlias

from memcore.errors import StoreError

#: What a file is written from.
Bytes: TypeAlias = bytes | bytearray | memoryview

TEMPORARY = ".tmp-"
#: Seconds after which a temporary file counts as abandoned where its writer's process cannot be checked.
ABANDONED_SECONDS = 24 * 3600.0
#: Bytes of a copied file that are held in memory.
PIECE_BYTES = 8 << 20

#: Errors of a file system without hard links.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
#: Errors of a disk that is full, and of a place where nothing may be written.
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_HOST = re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())[:40] or "host"
_NUMBER = itertools.count()


class Disk:
    """The system calls that write a run, one method each, so that a test can make any single one fail."""

    def make_folder(self, path: Path) -> None:
        """Create a folder, which may exist."""
        path.mkdir(exist_ok=True)

    def create(self, path: Path) -> int:
        """Open a new or emptied file for writing; return its descriptor."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write to an open file; return the bytes written, which may be fewer than given."""
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Bring a file's data to the disk."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close a file."""
        os.close(descriptor)

    def replace(self, old: Path, new: Path) -> None:
        """Rename a file over another."""
        os.replace(old, new)

    def link(self, old: Path, new: Path) -> None:
        """Give a file a second name."""
        os.link(old, new)

    def remove(self, path: Path) -> None:
        """Remove a file, which may be missing."""
        path.unlink(missing_ok=True)

    def sync_folder(self, path: Path) -> None:
        """Make what was created, renamed or removed in the folder survive a power cut, where the system can."""
        if os.name == "nt":
            return
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


disk = Disk()


def write_atomic(path: Path, data: bytes) -> None:
    """Write a temporary file beside ``path``, sync it to the disk, and move it into place.

    Readers see the old file or the new one, never a part, also after a kill, a power cut or on a full disk. On failure
    the temporary file is removed and StoreError says what happened.
    """

    def place(temporary: Path) -> None:
        disk.replace(temporary, path)

    _write(path, [data], place)


def write_output(path: Path, data: bytes) -> None:
    """Write a file as ``write_atomic`` does, and remove what killed writers of the same file left beside it.

    For a file that a command writes once; a folder of many files is cleaned once, by ``remove_temporary``.
    """
    for left in path.parent.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError):
            if left.name.endswith(f"-{path.name}") and _abandoned(left):
                left.unlink()
    write_atomic(path, data)


def write_atomic_from(path: Path, source: IO[bytes]) -> None:
    """Write the content of ``source`` from its start, as ``write_atomic`` does, a piece at a time."""

    def place(temporary: Path) -> None:
        disk.replace(temporary, path)

    source.seek(0)
    _write(path, iter(lambda: source.read(PIECE_BYTES), b""), place)


def write_new(path: Path, data: bytes) -> bool:
    """Write a file as ``write_atomic`` does unless it exists; return False, and change nothing, if it does."""

    def place(temporary: Path) -> None:
        try:
            disk.link(temporary, path)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if path.exists():
                raise FileExistsError from None
            disk.replace(temporary, path)

    try:
        _write(path, [data], place)
    except FileExistsError:
        return False
    return True


def _write(path: Path, pieces: Iterable[bytes], place: Callable[[Path], None]) -> None:
    temporary = path.with_name(f"{TEMPORARY}{_HOST}-{os.getpid()}-{next(_NUMBER)}-{path.name}")
    try:
        _make_folders(path.parent)
        try:
            _fill(temporary, pieces)
            place(temporary)
        finally:
            # after a replace there is nothing to remove; after a link or a failure there is
            with contextlib.suppress(OSError):
                disk.remove(temporary)
        disk.sync_folder(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}; {_remedy(error)}") from error


def _fill(path: Path, pieces: Iterable[bytes]) -> None:
    descriptor = disk.create(path)
    try:
        for piece in pieces:
            left = memoryview(piece)
            while left:
                left = left[disk.write(descriptor, left) :]
        disk.sync(descriptor)
    finally:
        disk.close(descriptor)


def _remedy(error: OSError) -> str:
    """Return what to do about a folder or file that cannot be written."""
    if error.errno in _FULL:
        return "what is finished stays, and the same command resumes once there is room"
    if error.errno in _FORBIDDEN:
        return "what is finished stays; allow this user to write there, or choose another folder"
    return "what is finished stays, and the same command resumes once that is fixed"


def make_folders(path: Path) -> list[Path]:
    """Create ``path`` and its missing parents so that they survive a power cut, and return what was made, parents first.

    Raises StoreError.
    """
    try:
        return _make_folders(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be made: {error.strerror or error}; {_remedy(error)}") from error


def _make_folders(path: Path) -> list[Path]:
    missing = [path]
    while not missing[-1].exists() and missing[-1] != missing[-1].parent:
        missing.append(missing[-1].parent)
    made = missing[-2::-1] if len(missing) > 1 else []
    for folder in made:
        disk.make_folder(folder)
        disk.sync_folder(folder.parent)
    return made


def check_no_links(root: Path, path: Path) -> None:
    """Raise StoreError if a folder between ``root`` and ``path``, a file to be written, is a link.

    A folder that came from somebody else could otherwise send what is written to any place. ``root`` itself may be a link.
    """
    folder = os.fspath(root)  # strings: a run writes many images
    for part in path.relative_to(root).parts[:-1]:
        folder = os.path.join(folder, part)
        if os.path.islink(folder):
            raise StoreError(
                f"{folder} is a link, and memcore writes through no links inside of {root}: put a folder in its place"
            )


def remove_file(path: Path) -> None:
    """Remove a file that may be missing."""
    try:
        disk.remove(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be removed: {error.strerror or error}") from error


def remove_temporary(folder: Path) -> int:
    """Remove the temporary files of killed writers, none of a writer that may be alive, and return how many."""
    count = 0
    for path in folder.rglob(f"{TEMPORARY}*"):
        if _abandoned(path):
            path.unlink(missing_ok=True)
            count += 1
    return count


def _abandoned(path: Path) -> bool:
    host, _, rest = path.name.removeprefix(TEMPORARY).partition("-")
    process = rest.partition("-")[0]
    if host == _HOST and process.isdecimal() and os.name != "nt":
        return int(process) == os.getpid() or not _alive(int(process))
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_SECONDS
    except FileNotFoundError:
        return False


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    try:
        # a killed orphan keeps its number until the system's first process has waited for it, which may take long
        state = Path(f"/proc/{process}/stat").read_text("utf-8", "replace").rpartition(") ")[2][:1]
    except OSError:
        return True
    return state not in "ZX"


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` survive a power cut, where the system can."""
    disk.sync_folder(folder)
