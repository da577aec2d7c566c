"""What a source yields: entries with their places, in batches of a part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from memcore.images import UnreadableImage
from memcore.images.payload import Content, Payload
from memcore.sources.content import FileContent

#: Where an image is: part (a file of the source), offset and length in bytes; for rows and listings the offset is an index.
PLACE = np.dtype([("part", "<i4"), ("bytes", "<i4"), ("offset", "<i8")])


class QuarantineEntry(TypedDict):
    """An image that could not be read: its name, a code of ``memcore.images.REASONS``, and the detail."""

    source: str
    reason: str
    detail: str


class Place(NamedTuple):
    """One record of ``PLACE``."""

    part: int
    bytes: int
    offset: int


class Beside(NamedTuple):
    """What is counted with an entry: the texts that were used, and what was left out of its archive, folder or sample."""

    texts: int = 0
    left_out: tuple[QuarantineEntry, ...] = ()


ALONE = Beside()


class Entry(NamedTuple):
    """One stored image before its bytes are read.

    ``after`` is the position in its part at which the next entry begins. ``group`` names its prompt if it has no caption.
    ``content`` reads it (or raises UnreadableImage), or says why there is nothing to read.
    """

    place: Place
    after: int
    name: str
    caption: str | None
    seed: int | None
    group: str
    content: Callable[[], Content] | UnreadableImage
    beside: Beside = ALONE
    #: Why its caption cannot be read, if it cannot.
    uncaptioned: UnreadableImage | None = None

    def load(self) -> Payload:
        """Read the image, or return why it cannot be read."""
        if isinstance(self.content, UnreadableImage):
            return self.content
        try:
            return self.content()
        except UnreadableImage as error:
            return error


@dataclass(frozen=True)
class Part:
    """One file of a source, or a whole folder of images: its name relative to the source, and its size in bytes."""

    name: str
    bytes: int


@dataclass(frozen=True, eq=False)
class Batch:
    """Consecutive entries of one part. ``after[i]`` is the position in the part at which entry i + 1 begins."""

    places: NDArray[Any]
    after: NDArray[np.int64]
    payloads: Sequence[Payload] | NDArray[np.uint8]
    names: Sequence[str] | None = None
    captions: Sequence[str | None] | None = None
    beside: Sequence[Beside] | None = None
    #: What the entries' own files held when they were read, where each entry is a file.
    files: Sequence[FileContent | None] | None = None

    def __repr__(self) -> str:
        """Return one line, without the entries."""
        return f"Batch(entries={len(self)})"

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self.places)

    def piece(self, start: int, stop: int) -> Batch:
        """Return some consecutive entries as a batch of their own."""
        some = slice(start, stop)
        return Batch(
            self.places[some],
            self.after[some],
            self.payloads[some],
            None if self.names is None else self.names[some],
            None if self.captions is None else self.captions[some],
            None if self.beside is None else self.beside[some],
        )


def make_places(part: int, offsets: NDArray[np.int64], sizes: Any = 0) -> NDArray[Any]:
    """Return the PLACE records of images in one part."""
    places = np.zeros(len(offsets), PLACE)
    places["part"], places["offset"], places["bytes"] = part, offsets, sizes
    return places
