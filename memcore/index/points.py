"""Images to search an index for, as sketches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ArgumentValueError
from memcore.index.reader import Index

_PIXEL_BYTES = 1 << 26

#: Return the images of some points, (n, H, W, C) uint8; only those that are compared pixel by pixel are loaded.
Load: TypeAlias = Callable[[NDArray[np.int64]], NDArray[np.uint8]]


@dataclasses.dataclass(frozen=True, eq=False)
class Points:
    """Images to search for, as sketches, in groups of images that resemble each other (a finding's members).

    Group g holds the points [offsets[g], offsets[g + 1]); ``centres[g]`` is one of them.
    """

    coarse: NDArray[np.uint8]
    fine: NDArray[np.uint8]
    load: Load
    centres: NDArray[np.int64]
    offsets: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        index: Index,
        load: Load,
        sizes: Sequence[int] | NDArray[np.int64],
        centres: Sequence[int] | NDArray[np.int64] | None = None,
    ) -> Points:
        """Return groups of ``sizes`` points, one after another; ``centres`` says which of its points is a group's centre."""
        offsets = np.concatenate([[0], np.cumsum(np.asarray(sizes, np.int64))]).astype(np.int64)
        count = int(offsets[-1])
        levels = (index.coarse, index.fine)
        sketches = [np.empty((count, level.numbers), np.uint8) for level in levels]
        for block in blocks(count, index):
            images = load(block)
            check_shape(index, images)
            for level, out in zip(levels, sketches, strict=True):
                out[block] = level.sketch(images)
        inside = np.zeros(len(offsets) - 1, np.int64) if centres is None else np.asarray(centres, np.int64)
        return cls(sketches[0], sketches[1], load, offsets[:-1] + inside, offsets)

    def alone(self, chosen: NDArray[np.int64]) -> Points:
        """Return some of the points, each a group of its own."""

        def load(i: NDArray[np.int64]) -> NDArray[np.uint8]:
            return self.load(chosen[i])

        n = len(chosen)
        return Points(self.coarse[chosen], self.fine[chosen], load, np.arange(n), np.arange(n + 1))


def blocks(count: int, index: Index) -> Iterator[NDArray[np.int64]]:
    """Yield 0 to ``count`` in pieces of as many images as fit the memory set aside for them."""
    step = max(1, _PIXEL_BYTES // int(np.prod(index.image_shape)))
    for start in range(0, count, step):
        yield np.arange(start, min(count, start + step))


def check_shape(index: Index, images: NDArray[np.uint8]) -> None:
    """Raise ArgumentValueError unless images have the index's shape."""
    if images.dtype != np.uint8 or images.shape[1:] != index.image_shape:
        raise ArgumentValueError(
            f"images must be uint8 of the shape {index.image_shape} that {index.path} was made with, got "
            f"{images.dtype} {images.shape[1:]}: make an index with a resize to this size"
        )
