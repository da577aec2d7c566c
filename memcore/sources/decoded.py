"""A source's images as pixels: decoded a few batches ahead by threads, and resized if requested."""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.images import MAX_PIXELS, Background, UnreadableImage
from memcore.images.payload import Payload, decode_payload
from memcore.images.resize import Resize
from memcore.sources.base import Source
from memcore.sources.entries import Batch
from memcore.system.threads import Threads

_AHEAD = 2  # pieces of batches that are being decoded while one is used
#: Bytes of decoded images in flight: those being decoded, and those being used.
IN_FLIGHT_BYTES = 192 << 20
Pixels: TypeAlias = NDArray[np.uint8]
#: A batch's images, in order: pixels, or why there are none.
Decoded: TypeAlias = "Pixels | Sequence[Pixels | UnreadableImage]"


class DecodedSource:
    """A source's batches with their pixels; decoders release the interpreter's lock.

    ``shape``, once known, is the shape that every image must have; others are refused.
    """

    def __init__(
        self, source: Source, resize: Resize | None, background: Background | None, threads: int
    ) -> None:
        self.source, self.resize, self.background, self.threads = source, resize, background, threads
        self.shape: tuple[int, int, int] | None = None

    def first_shape(self) -> tuple[int, int, int]:
        """Return the shape of the first image that can be read; raise ConfigError if none can."""
        first, decode = "", self._decoder()
        for part in range(len(self.source.parts)):
            for batch in self.source.read(part, 0):
                for i, payload in enumerate(batch.payloads):
                    pixels = decode(payload)
                    if not isinstance(pixels, UnreadableImage):
                        return int(pixels.shape[0]), int(pixels.shape[1]), int(pixels.shape[2])
                    first = first or f": {name_of(batch, i)} is refused ({pixels.reason}: {pixels})"
        raise ConfigError(f"{self.source.path} holds not one readable image{first}")

    def read(self, part: int, position: int) -> Iterator[tuple[Batch, Decoded]]:
        """Yield the batches of one part from a position on, with their pixels; a batch of large images in pieces."""
        decode, ahead = self._decoder(), self._ahead()
        if self.threads == 1:  # handing a small image to a pool takes longer than decoding it
            for piece, pixels in self._pieces(part, position):
                yield piece, pixels if pixels is not None else [decode(p) for p in piece.payloads]
            return
        with Threads(self.threads) as pool:
            waiting: deque[tuple[Batch, Decoded | list[Future[Any]]]] = deque()
            for piece, pixels in self._pieces(part, position):
                work = pixels if pixels is not None else [pool.submit(decode, p) for p in piece.payloads]
                waiting.append((piece, work))
                if len(waiting) > ahead:
                    yield self._collect(*waiting.popleft())
            while waiting:
                yield self._collect(*waiting.popleft())

    def _pieces(self, part: int, position: int) -> Iterator[tuple[Batch, Pixels | None]]:
        """Yield a part's batches with their pixels if these can be used unchanged; otherwise so many as may be decoded."""
        step = max(1, IN_FLIGHT_BYTES // (_AHEAD + 2) // self._image_bytes())
        for batch in self.source.read(part, position):
            pixels = self._as_they_are(batch)
            if pixels is not None or len(batch) <= step:
                yield batch, pixels
                continue
            for start in range(0, len(batch), step):
                yield batch.piece(start, start + step), None

    def _image_bytes(self) -> int:
        """Return the bytes of a decoded image; before the shape is known, of the largest that is decoded."""
        if self.shape is not None:
            return max(1, math.prod(self.shape))
        return 3 * (self.resize.height * self.resize.width if self.resize is not None else MAX_PIXELS)

    def _ahead(self) -> int:
        """Return how many pieces are decoded ahead: none of images that take the whole budget."""
        return _AHEAD if self._image_bytes() * (_AHEAD + 2) <= IN_FLIGHT_BYTES else 0

    def _as_they_are(self, batch: Batch) -> Pixels | None:
        """Return a batch's pixels if they can be used unchanged, otherwise None."""
        pixels = batch.payloads
        fits = isinstance(pixels, np.ndarray) and pixels.shape[1:] == self.shape and pixels.dtype == np.uint8
        return pixels if fits and isinstance(pixels, np.ndarray) else None

    def _collect(self, batch: Batch, work: Decoded | list[Future[Any]]) -> tuple[Batch, Decoded]:
        if isinstance(work, np.ndarray):
            return batch, work
        return batch, [w.result() if isinstance(w, Future) else w for w in work]

    def _decoder(self) -> Callable[[Payload], Pixels | UnreadableImage]:
        """Return a function that decodes one image to pixels."""
        return functools.partial(
            decode_payload, resize=self.resize, background=self.background, shape=self.shape
        )


def name_of(batch: Batch, i: int) -> str:
    """Return the name of a batch's entry, or its number if the source has no names."""
    return batch.names[i] if batch.names is not None else str(batch.places["offset"][i])
