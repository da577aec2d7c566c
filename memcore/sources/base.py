"""The base of every kind of stored images: parts, entries in a fixed order, and random access to each image by its place.

``StoredSource.entries`` is what a kind implements. Batches (``read``), prompts (``by_prompt``), decoded images (``decoded``)
and whole sets (``in_memory``) are layers on top of it, so that every command sees the same images in the same order.
"""

from __future__ import annotations

import abc
import functools
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.images import MAX_BYTES, UnreadableImage
from memcore.images.payload import Content, Payload
from memcore.sources.content import FileContent, read_content, sample_bytes
from memcore.sources.entries import ALONE, PLACE, Batch, Entry, Part, Place, QuarantineEntry
from memcore.sources.walk import READ, every, head_of, judge, walk

#: The largest seed that a run can hold.
MAX_SEED = 2**63 - 1
_BATCH, _BATCH_BYTES = 256, 1 << 25
#: What an image of unknown size is taken for when bytes are counted.
_UNKNOWN_BYTES = 1 << 19
#: Names of quarantined entries that stand for several: images of an array that is cut short, rows of a damaged group.
_SEVERAL = re.compile(r"\.npy\[(\d{1,19}):(\d{1,19})\]$|\.parquet#(\d{1,19}) to (\d{1,19})$", re.IGNORECASE)


class Source(Protocol):
    """What ``build_index`` reads. A program may bring its own, provided that it yields the same images on every reading."""

    @property
    def kind(self) -> str:
        """Return the name of the source's kind."""
        ...

    @property
    def path(self) -> str:
        """Return where the source is, as text."""
        ...

    @property
    def options(self) -> dict[str, str]:
        """Return the options that the source was opened with, by name."""
        ...

    @property
    def parts(self) -> Sequence[Part]:
        """Return the parts of the source, in order."""
        ...

    def identity(self) -> str:
        """Return a digest that tells one state of the source from another: names and sizes, not the pixels."""
        ...

    def read(self, part: int, position: int) -> Iterator[Batch]:
        """Yield the entries of one part from a position on: 0, or an ``after`` of an earlier batch."""
        ...

    def fetch(self, places: NDArray[Any]) -> Sequence[Payload] | NDArray[np.uint8]:
        """Return the entries at these places, in order; used for the few images that are compared pixel by pixel.

        Several threads may call it at once.
        """
        ...


class StoredSource(abc.ABC):
    """One kind of stored images. A new kind implements ``entries`` and ``load`` and is listed in ``open.KINDS``."""

    #: The kind's name, the suffixes of its files, and the options that it takes.
    kind: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    option_names: ClassVar[tuple[str, ...]] = ()

    path: str
    options: dict[str, str]
    parts: Sequence[Part]
    #: What is in the source's folder but not part of the source.
    left_out: Sequence[QuarantineEntry] = ()

    @classmethod
    def open(cls, path: Path, options: Mapping[str, str]) -> Self:
        """Return the source at ``path``; ``options`` have names of ``option_names``."""
        made: Any = cls
        source: Self = made(path, **options)
        return source

    def __repr__(self) -> str:
        """Return one line."""
        return f"{type(self).__name__}({str(self.path)!r})"

    @abc.abstractmethod
    def identity(self) -> str:
        """Return a digest that tells one state of the source from another: names and sizes, not the pixels."""

    @abc.abstractmethod
    def entries(self, part: int, position: int = 0) -> Iterator[Entry]:
        """Yield the entries of one part in order, from a position on: 0, or ``after`` of an earlier entry."""

    @abc.abstractmethod
    def load(self, place: Place) -> Content:
        """Read one image by its place; raise UnreadableImage if it cannot be read. Several threads may call it at once."""

    @abc.abstractmethod
    def pointed_at(self, part: int) -> int:
        """Return how many files, members or rows a part holds; called once it has been read to its end."""

    def in_earlier_order(self) -> Self | None:
        """Return the source as earlier versions listed it, if that differs: their indexes number files in that order."""
        return None

    def as_recorded(self, options: Mapping[str, str]) -> Self:
        """Return the source with the options that an index was begun with, where none were given."""
        return self

    def reader(self, place: Place) -> Callable[[], Content]:
        """Return a function that reads one image, possibly in another thread."""
        return functools.partial(self.load, place)

    def check_random_access(self) -> None:
        """Raise ConfigError if images cannot be read in any order, as those of a prompt are."""
        return

    def label(self, place: Place) -> str | None:
        """Return an image's name in a run's quarantine if it follows from its place; None means the entry's own name."""
        return None

    def read(self, part: int, position: int) -> Iterator[Batch]:
        """Yield the entries of one part with their bytes, in batches."""
        entries: list[Entry] = []
        payloads: list[Payload] = []
        held = 0
        most = _BATCH if position else 1  # the first image alone, since its shape is often all that is wanted
        for entry in self.entries(part, position):
            payload = entry.load()
            entries.append(entry)
            payloads.append(payload)
            held += payload.nbytes if isinstance(payload, memoryview | np.ndarray) else _length(payload)
            if len(entries) == most or held >= _BATCH_BYTES:
                yield _batch(entries, payloads)
                entries, payloads, held, most = [], [], 0, _BATCH
        if entries:
            yield _batch(entries, payloads)

    def fetch(self, places: NDArray[Any]) -> Sequence[Payload]:
        """Return the images at these places, in order."""
        return [self._payload(Place(*map(int, place))) for place in places]

    def few(self, places: NDArray[Any]) -> Iterator[slice]:
        """Yield spans of these places that ``fetch`` may hold the bytes of at a time."""
        start = held = 0
        for i, size in enumerate(places["bytes"].tolist()):
            held += size or _UNKNOWN_BYTES
            if held >= _BATCH_BYTES:
                yield slice(start, i + 1)
                start, held = i + 1, 0
        if start < len(places):
            yield slice(start, len(places))

    def _payload(self, place: Place) -> Payload:
        try:
            return self.load(place)
        except UnreadableImage as error:
            return error


class FileParts(StoredSource):
    """The base of sources made of files: each file is a part."""

    def __init__(self, path: Path, *, files: Sequence[Path] | None = None) -> None:
        self.path = str(path)
        self.root = path if path.is_dir() else path.parent
        if files is None:
            self.files, self.left_out = self._found(path)
        else:
            self.files = [f for f in files if not (f.is_dir() or f.is_fifo())]
        if not self.files:
            hint = next(
                (f"; {e['source']}: {e['detail']}" for e in self.left_out if e["reason"] == "archive"), ""
            )
            raise ConfigError(f"{shown(path)} holds no {' or '.join(self.suffixes)} file{hint}")
        self.options = {}
        self.parts = [Part(f.relative_to(self.root).as_posix(), size_of(f)) for f in self.files]

    def _found(self, path: Path) -> tuple[list[Path], list[QuarantineEntry]]:
        """Return the files of this kind at ``path``, and what else is there."""
        if path.is_file():
            return [path], []
        if not path.is_dir():
            return [], []
        folders = walk(path)
        names, gone = every(folders, lambda name: True)
        own = [name for name in names if os.path.splitext(name)[1].lower() in self.suffixes]
        chosen = set(own)
        gone += [(name, judge_file(path / name)) for name in names if name not in chosen]
        return [path / name for name in own], [
            quarantined(shown(name), why) for name, why in sorted_by_name(gone)
        ]

    def identity(self) -> str:
        """Return a digest of the files' names and sizes."""
        return digest_of(f"{part.name}:{part.bytes}" for part in self.parts)

    def keep(self, chosen: Sequence[int]) -> None:
        """Keep only the chosen parts: those that an index does not hold yet."""
        self.files = [self.files[i] for i in chosen]
        self.parts = [self.parts[i] for i in chosen]

    def in_earlier_order(self) -> Self | None:
        """Return the source with its files in the order of earlier versions, or None if that is the same."""
        path = Path(self.path)
        files = list_files(path, self.suffixes)
        return None if not files or files == self.files else self._reopened(path, files)

    def _reopened(self, path: Path, files: Sequence[Path]) -> Self:
        return type(self)(path, files=files)


def list_files(path: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return ``path`` itself, or the files below it with one of the suffixes, as earlier versions listed them.

    They sorted relative names as a whole, and did not follow links to folders.
    """
    if path.is_file():
        return [path]
    found = [f for f in path.rglob("*") if f.suffix.lower() in suffixes]
    return sorted((f for f in found if f.is_file()), key=lambda f: f.relative_to(path).as_posix())


def judge_file(path: str | Path) -> UnreadableImage:
    """Return the reason why a file of another kind than the source's is left out."""
    head = head_of(path)
    if not head and not os.path.exists(path):
        return UnreadableImage("unreadable", "a link that leads nowhere")
    return judge(head) or UnreadableImage("other", "a file of another kind than the source's")


def sorted_by_name(gone: list[tuple[str, UnreadableImage]]) -> list[tuple[str, UnreadableImage]]:
    """Return the files that are left out, sorted by name."""
    return sorted(gone, key=lambda item: os.fsencode(item[0]).split(b"/"))


def stands_for(entry: Mapping[str, Any]) -> int:
    """Return how many images or rows a quarantined entry stands for.

    >>> stands_for({"source": "a.npy[12:30]"}), stands_for({"source": "a.parquet#7 to 9"}), stands_for({"source": "a.png"})
    (18, 3, 1)
    """
    found = _SEVERAL.search(str(entry["source"]))
    if found is None:
        return 1
    first, last, row, end = found.groups()
    return max(1, int(last) - int(first) if first is not None else int(end) - int(row) + 1)


def size_of(path: str | Path) -> int:
    """Return a file's size; 0 for a broken link."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def read_bytes(
    path: str | Path,
    offset: int = 0,
    size: int | None = None,
    *,
    most: int = MAX_BYTES,
    note: Callable[[os.stat_result], None] | None = None,
) -> bytes:
    """Return ``size`` bytes of a file, by default all; ``note`` is told what the system says of a file that is read whole.

    Raises UnreadableImage if they are too many, missing, or cannot be read.
    """
    try:
        descriptor = os.open(path, READ)
        try:
            if size is None:
                about = os.fstat(descriptor)
                if not stat.S_ISREG(about.st_mode):
                    raise UnreadableImage("path", "no plain file")
                size = about.st_size
                if note is not None:
                    note(about)
            if size > most:
                raise UnreadableImage("too-large", f"{size:,} bytes, at most {most:,} are read")
            data = os.pread(descriptor, size, offset)
            while len(data) < size and (more := os.pread(descriptor, size - len(data), offset + len(data))):
                data += more
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unreadable(error) from None
    if len(data) < size:
        raise UnreadableImage("truncated", f"the file ends {size - len(data):,} bytes early")
    return data


class WholeFile:
    """Reads a file that is one image; ``found`` then says what it held."""

    __slots__ = ("found", "modified", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.modified = 0
        self.found: FileContent | None = None

    def __repr__(self) -> str:
        """Return one line."""
        return f"WholeFile({self.path!r})"

    def __call__(self) -> bytes:
        """Return the content; raise UnreadableImage as ``read_bytes`` does."""
        try:
            data = read_bytes(self.path, note=self._note)
        except UnreadableImage:
            self.found = read_content(self.path)
            raise
        self.found = FileContent(len(data), self.modified, sample_bytes(data))
        return data

    def _note(self, about: os.stat_result) -> None:
        self.modified = about.st_mtime_ns


def unreadable(error: OSError) -> UnreadableImage:
    """Return a failed system call as the reason why an image is unreadable."""
    return UnreadableImage("unreadable", f"{type(error).__name__}: {error.strerror}")


def quarantined(name: str, error: UnreadableImage) -> QuarantineEntry:
    """Return the quarantine entry of an image that is not used."""
    return {"source": name, "reason": error.reason, "detail": str(error)}


def shown(name: str | Path) -> str:
    """Return a name as text that can be stored: bytes that are not UTF-8 become escapes.

    >>> shown(os.fsdecode(b"caf\\xe9.png"))
    'caf\\\\xe9.png'
    """
    if isinstance(name, str) and name.isascii():
        return name
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def number(stem: str) -> int | None:
    """Return a file name's stem as a seed, or None if it is not one."""
    if stem.isascii() and stem.isdecimal() and len(stem) < 20 and (value := int(stem)) <= MAX_SEED:
        return value
    return None


def digest_of(lines: Iterator[str]) -> str:
    """Return the sha256 of some lines of text."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


def _length(payload: bytes | UnreadableImage) -> int:
    return 0 if isinstance(payload, UnreadableImage) else len(payload)


def _batch(entries: Sequence[Entry], payloads: Sequence[Payload]) -> Batch:
    files = [entry.content.found if isinstance(entry.content, WholeFile) else None for entry in entries]
    return Batch(
        np.array([tuple(entry.place) for entry in entries], PLACE),
        np.array([entry.after for entry in entries], np.int64),
        payloads,
        [entry.name for entry in entries],
        [entry.caption for entry in entries],
        [entry.beside for entry in entries] if any(entry.beside is not ALONE for entry in entries) else None,
        files if any(found is not None for found in files) else None,
    )
