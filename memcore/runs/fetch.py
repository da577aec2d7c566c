"""Copy a run from an object store to a folder, which match, annotate, evaluate and report need.

The place may be a stranger's: names that no run has are left out and counted, files are copied a piece at a time, and no
more of one than it was when it was opened.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from memcore.errors import ConfigError, MemcoreError, RunError, StoreError
from memcore.runs import layout
from memcore.runs.folder import RunFolder
from memcore.runs.start import check_startable
from memcore.storage.base import Storage
from memcore.storage.local import LocalStorage
from memcore.storage.open import is_url
from memcore.storage.remote import ObjectStorage
from memcore.system.credentials import redact
from memcore.system.parsing import parse_toml

#: Names that a file or folder of a run may have: they lead nowhere on any system, and say nothing to a terminal.
_FILE = re.compile(r"[A-Za-z0-9_-]{1,100}(\.[A-Za-z0-9_-]{1,30}){1,3}", re.ASCII)
_FOLDER = re.compile(r"[0-9]{1,20}", re.ASCII)
#: Bytes of the largest run.toml that is read.
_MOST_HEAD = 64 << 20
#: Bytes of a note that are read.
_MOST_NOTE = 1 << 10
#: What to do about a copy that was cut off.
_AGAIN = "give the command again"
#: Bytes of a file that are in memory at a time while two are compared.
_PIECE_BYTES = 1 << 20


def fetch(url: str, folder: Path) -> dict[str, Any]:
    """Copy the files that ``folder`` lacks, and return counts. It may be called again while the run continues.

    Continues a copy that was cut off. ``left_out`` counts names that no file of a run has. Raises ConfigError unless
    ``url`` is a URL and ``folder`` is empty or holds the same run or a part of it, RunError, and StoreError.
    """
    if not is_url(url):
        raise ConfigError(f"run must be a URL such as s3://bucket/run, got {url!r}: a folder needs no copy")
    source = ObjectStorage(url)
    head, digest = _read_head(source)
    target = LocalStorage(folder)
    copied = present = 0
    left_out: list[str] = []
    _check_target(target, digest)
    with target.lock():
        if not target.exists(layout.RUN):
            target.write(layout.FETCHING, digest.encode())
        # the manifests as they were before anything was copied: a shard that is finished meanwhile is left to the next call
        manifests = [*_names(source, layout.MANIFESTS, left_out)]
        others = [n for f in layout.FOLDERS if f != layout.MANIFESTS for n in _names(source, f, left_out)]
        kept = {*manifests, *layout.FILES, *_changed(source, target, manifests, others)}
        for name in [*others, *manifests, *layout.FILES]:
            if name == layout.RUN:
                if source.read(name) != head:
                    raise RunError(f"{source.place}/{name} was changed while the run was copied: {_AGAIN}")
                target.write(name, head)
                copied += 1
            elif name not in kept and target.exists(name):
                present += 1
            elif name not in layout.FILES or source.exists(name):
                copied += _copy(source, target, name)
        target.remove(layout.FETCHING)
    return {
        "run": url,
        "folder": str(folder),
        "copied": copied,
        "present": present,
        "left_out": len(left_out),
    }


def _check_target(target: LocalStorage, digest: str) -> None:
    """Raise unless a folder is empty, or holds the run with this digest or a part of it that was copied before."""
    if target.exists(layout.RUN):
        held = RunFolder.open(target.path).digest
    elif target.exists(layout.FETCHING):
        with target.open(layout.FETCHING) as file:
            held = file.read(_MOST_NOTE).decode("ascii", "replace")
    else:
        check_startable(target)
        return
    if held != digest:
        raise ConfigError(f"folder={target.place} holds another run, or a part of one: choose another folder")


def _read_head(source: ObjectStorage) -> tuple[bytes, str]:
    """Return the content of run.toml, which is written as it was checked, and the run's digest."""
    try:
        with source.stream(layout.RUN) as file:
            if (size := file.seek(0, io.SEEK_END)) > _MOST_HEAD:
                raise RunError(
                    f"{source.place}/{layout.RUN} has {size:,} bytes, at most {_MOST_HEAD:,} are read: it is none of a run"
                )
    except FileNotFoundError:
        pass  # the next reader says what is missing
    run = RunFolder.open_storage(source)
    head = source.read(layout.RUN)
    try:
        same = parse_toml(head) == run.meta
    except ValueError:
        same = False
    if not same:
        raise RunError(f"{source.place}/{layout.RUN} was changed while it was read: {_AGAIN}")
    return head, run.digest


def _copy(source: ObjectStorage, target: LocalStorage, name: str) -> int:
    """Copy a file whole, or leave what was there; return 1, or 0 for an answer of a shard that was finished meanwhile."""
    try:
        with source.stream(name) as file:
            target.write_from(name, cast(IO[bytes], _Measured(file)))
    except MemcoreError:
        raise
    except FileNotFoundError:
        if name.startswith(f"{layout.RECEIVED}/"):
            return 0
        raise StoreError(f"{source.place}/{name} was removed while the run was copied: {_AGAIN}") from None
    except Exception as error:  # each driver has errors of its own
        raise StoreError(
            f"{source.place}/{name} cannot be read: {redact(f'{type(error).__name__}: {error}')}; {_AGAIN}"
        ) from error
    return 1


class _Measured:
    """A file up to the length that it has now: it may be growing, for ever. One that ends earlier is none that is copied."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = self._left = file.seek(0, io.SEEK_END)

    def seek(self, offset: int) -> int:
        self._left = self._size - offset
        return self._file.seek(offset)

    def read(self, size: int) -> bytes:
        piece = self._file.read(min(size, self._left))
        if self._left and not piece:
            raise EOFError(f"it ends {self._left:,} bytes early")
        self._left -= len(piece)
        return piece


def _changed(
    source: ObjectStorage, target: LocalStorage, manifests: list[str], names: list[str]
) -> Iterator[str]:
    """Yield the names of files that may have changed since they were copied: an image never does.

    The findings of a shard change with its manifest, where failed prompts were sampled again, what was received grows until
    then, and the training images change with each match.
    """
    changed = {name for name in manifests if not _same(source, target, name)}
    matched_again = not _same(source, target, layout.MATCH)
    for name in names:
        folder, _, file = name.partition("/")
        if folder in (layout.FINDINGS, layout.QUARANTINE, layout.RECEIVED):
            if layout.manifest_name(file.partition(".")[0]) in changed:
                yield name
        elif folder == layout.TRAINING and matched_again:
            yield name


def _same(source: ObjectStorage, target: LocalStorage, name: str) -> bool:
    """Return whether two files hold the same bytes; False where one is missing, is no plain file or cannot be read."""
    try:
        with source.stream(name) as one, target.open(name) as other:
            if one.seek(0, io.SEEK_END) != other.seek(0, io.SEEK_END):
                return False
            one.seek(0)
            other.seek(0)
            while piece := one.read(_PIECE_BYTES):
                if piece != other.read(len(piece)):
                    return False
            return not other.read(1)
    except OSError:
        return False


def _names(storage: Storage, folder: str, left_out: list[str]) -> Iterator[str]:
    """Yield the names of the files in a folder of a run, and in its folders of numbers; ``left_out`` gets all others."""
    for name in storage.names(folder):
        if _FILE.fullmatch(name):
            yield f"{folder}/{name}"
        elif folder == layout.IMAGES and _FOLDER.fullmatch(name):
            yield from _names(storage, f"{folder}/{name}", left_out)
        else:
            left_out.append(name)
