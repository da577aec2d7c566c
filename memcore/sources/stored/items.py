"""What every kind of storage of encoded images comes down to: items in order, each with a seed and a way to its bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from memcore.errors import ConfigError
from memcore.images import MAX_BYTES, UnreadableImage

#: The largest seed that a run can hold.
MAX_SEED = 2**63 - 1


class Item(NamedTuple):
    """One stored image: its name for people, its seed, and what reads its bytes (or raises UnreadableImage)."""

    source: str
    seed: int
    read: Callable[[], bytes | memoryview]


class Collection(Protocol):
    """Prompts whose images are stored alike. ``files`` are what the fingerprint is made of."""

    @property
    def prompts(self) -> Sequence[str]: ...

    @property
    def files(self) -> Sequence[Path]: ...

    def count(self, index: int) -> int:
        """Images of the prompt ``index`` of this collection, broken ones included."""
        ...

    def items(self, index: int) -> Iterator[Item]:
        """The prompt's images in order."""
        ...


def shown(name: str | Path) -> str:
    """A name that may not be UTF-8 as text that can be stored: foreign bytes become escapes.

    >>> shown(os.fsdecode(b"caf\\xe9.png"))
    'caf\\\\xe9.png'
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def number(stem: str) -> int | None:
    """The seed that a name stands for, if it is one."""
    if stem.isascii() and stem.isdecimal() and len(stem) < 20 and (value := int(stem)) <= MAX_SEED:
        return value
    return None


def seeds_of(stems: Sequence[str]) -> list[int]:
    """The numbers that the names are, if all are numbers and none comes twice; otherwise positions.

    >>> seeds_of(["7", "10"]), seeds_of(["7", "b"]), seeds_of(["7", "07"])
    ([7, 10], [0, 1], [0, 1])
    """
    numbers = [n for n in map(number, stems) if n is not None]
    if len(numbers) == len(stems) == len(set(numbers)):
        return numbers
    return list(range(len(stems)))


def read_part(path: str | Path, offset: int = 0, size: int | None = None) -> bytes:
    """``size`` bytes of a file, by default all; UnreadableImage where they are too many, not there, or cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if size is None:
                size = os.fstat(descriptor).st_size
            if size > MAX_BYTES:
                raise UnreadableImage("too-large", f"{size:,} bytes, at most {MAX_BYTES:,} are read")
            data = os.pread(descriptor, size, offset)
            while len(data) < size and (more := os.pread(descriptor, size - len(data), offset + len(data))):
                data += more
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UnreadableImage("unreadable", f"{type(error).__name__}: {error.strerror}") from None
    if len(data) < size:
        raise UnreadableImage("truncated", f"the file ends {size - len(data):,} bytes early")
    return data


def check_listing(listing: Path, count: int, place: Path) -> list[str] | None:
    """The lines of ``listing``, one a prompt; None if there is none."""
    if not listing.exists():
        return None
    try:
        names = listing.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{listing} cannot be read: {error}") from None
    if len(names) != count:
        raise ConfigError(f"{listing} has {len(names)} lines for {count} prompts in {place}")
    return names
