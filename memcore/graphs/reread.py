"""Images that are read twice instead of kept: block sums decide most pairs, and the images of the others are read again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from memcore.backends import cpu
from memcore.errors import ImagesChangedError

#: (indices (k,) of generations, ascending; out (k, H, W, C) to fill). Raises what it cannot read.
Reread: TypeAlias = Callable[[NDArray[np.int64], NDArray[np.uint8]], None]

#: Images that are read again before they are compared with what they were.
_AT_ONCE = 8
_NOWHERE = np.iinfo(np.uint32).max


class StreamedImages:
    """The block sums of images that are not kept, and the few images that were read again.

    Bounds follow from the sums alone, and an image that is read again must have the same sums, bit for bit. So every pair
    is decided as if all images were kept: those that were read again as they are now, the others as they were.
    """

    def __init__(
        self,
        tile: tuple[int, int],
        reread: Reread,
        workers: int,
        buffer: NDArray[np.uint8],
        expected: int = 0,
    ) -> None:
        self._features = cpu.Features(*tile, expected)
        self._reread = reread
        self._workers = workers
        self._buffer = buffer  # never empty: an array without elements has no strides
        self._used = 0
        self._positions = np.empty(0, dtype=np.uint32)  # of each image in the buffer

    def append(self, images: NDArray[np.uint8]) -> None:
        """Take the block sums of images (M, H, W, C)."""
        self._features.append(images, self._workers)

    def read(self, descriptor: int, offset: int, count: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Read images as ``PromptGraph.extend_from`` does; return which of them are constant (k,) and therefore left out."""
        height, width, channels = shape
        return self._features.read(descriptor, offset, count, height, width, channels, self._workers)

    def connect(
        self, ssd_max: int, since: int, vertices: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.unsignedinteger[Any]], Mapping[str, float | int]]:
        """Return edges, ssd and counts of the pairs with an image from ``since`` on; image i is generation vertices[i]."""
        candidates = self._features.screen(ssd_max, self._workers, since)
        before = self._used
        self._fetch(candidates.images, vertices)
        edges, ssd, stats = self._features.decide(candidates, self._buffer, self._positions)
        counts = cast("Mapping[str, float | int]", stats)
        return edges, ssd, {**counts, "read_again": self._used - before}

    def image(self, position: int, vertices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return one image (H, W, C); read it again unless that was done before."""
        self._fetch(np.array([position]), vertices)
        image: NDArray[np.uint8] = self._buffer[self._positions[position]]
        return image

    def _fetch(self, positions: NDArray[np.int64], vertices: NDArray[np.int64]) -> None:
        """Read the missing images again, each once: at most, all of a prompt is read twice and then kept."""
        if len(self._positions) < len(vertices):
            more = np.full(len(vertices) - len(self._positions), _NOWHERE, dtype=np.uint32)
            self._positions = np.concatenate([self._positions, more])
        missing = positions[self._positions[positions] == _NOWHERE]
        end = self._used + len(missing)
        if end > len(self._buffer):
            larger = np.empty((max(end, 2 * self._used, 1), *self._buffer.shape[1:]), dtype=np.uint8)
            larger[: self._used] = self._buffer[: self._used]
            self._buffer = larger
        if not len(missing):
            return
        for begin in range(
            0, len(missing), _AT_ONCE
        ):  # a few at a time, compared while they are in the cache
            part = missing[begin : begin + _AT_ONCE]
            new = self._buffer[self._used : self._used + len(part)]
            self._reread(vertices[part], new)
            mismatch = self._features.first_mismatch(new, part, self._workers)
            if mismatch < len(part):
                raise ImagesChangedError(
                    f"generation {int(vertices[part[mismatch]])} is not the image that it was when it was first read: "
                    "its file was changed in the meantime"
                )
            self._positions[part] = np.arange(self._used, self._used + len(part), dtype=np.uint32)
            self._used += len(part)
