"""A source's images as pixels: decoded a few batches ahead by threads, and resized if requested."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.images import Background, UnreadableImage
from memcore.images.payload import Payload, decode_payload
from memcore.images.resize import Resize
from memcore.sources.base import Batch, Source

_AHEAD = 2  # batches that are being decoded while one is used
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
        """Yield the batches of one part from a position on, with their pixels."""
        decode = self._decoder()
        if self.threads == 1:  # handing a small image to a pool takes longer than decoding it
            for batch in self.source.read(part, position):
                pixels = self._as_they_are(batch)
                yield batch, pixels if pixels is not None else [decode(p) for p in batch.payloads]
            return
        with ThreadPoolExecutor(self.threads) as pool:
            waiting: deque[tuple[Batch, Decoded | list[Future[Any]]]] = deque()
            for batch in self.source.read(part, position):
                waiting.append((batch, self._submit(batch, pool)))
                if len(waiting) > _AHEAD:
                    yield self._collect(*waiting.popleft())
            while waiting:
                yield self._collect(*waiting.popleft())

    def _submit(self, batch: Batch, pool: ThreadPoolExecutor) -> Decoded | list[Future[Any]]:
        pixels, decode = self._as_they_are(batch), self._decoder()
        return pixels if pixels is not None else [pool.submit(decode, p) for p in batch.payloads]

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
