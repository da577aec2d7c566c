"""Images that were just read, sorted into good, constant and broken ones, and the memory they are read into."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from memcore.images.constant import flag_constant
from memcore.sources.entries import QuarantineEntry

Pixels: TypeAlias = NDArray[np.uint8]
#: (pixels (N, H, W, C), seeds, which are constant, what could not be read)
Batch: TypeAlias = tuple[Pixels, list[int], NDArray[np.bool_], list[QuarantineEntry]]

#: To the beginning of a page, the system copies a file's bytes two or three times as fast as elsewhere.
_PAGE_BYTES = 4096
_CONSTANT, _BROKEN = 1, 2


def pages(shape: tuple[int, ...], *, behind: int = 0) -> Pixels:
    """Return an array that begins at a page of memory, or ``behind`` bytes after its beginning.

    libjpeg-turbo bypasses the cache if rows begin at a multiple of 32 bytes, although they are read again at once. With
    16 bytes more it does not, and is as fast.
    """
    count = int(np.prod(shape))
    spare = np.empty(count + _PAGE_BYTES + behind, dtype=np.uint8)
    begin = -spare.ctypes.data % _PAGE_BYTES + behind
    return spare[begin : begin + count].reshape(shape)


class Chunk:
    """Images that were just read, in order: the good ones are moved together in ``pixels``, the others are separate."""

    def __init__(self, pixels: Pixels, seeds: list[int], broken: Sequence[QuarantineEntry | None]) -> None:
        gone = np.array([entry is not None for entry in broken], dtype=np.bool_)
        constant = flag_constant(pixels) & ~gone
        self._colours = pixels[:, 0, 0].copy()
        self._seeds = seeds
        self._broken = broken
        self._kinds = np.where(gone, 2, constant.astype(int)).tolist()
        kept = np.nonzero(~(gone | constant))[0].tolist()
        for to, at in enumerate(kept):
            if to != at:
                pixels[to] = pixels[at]
        self.pixels = pixels[: len(kept)]

    def batches(self) -> Iterator[Batch]:
        """Yield consecutive images of one kind, so that good images are not moved again."""
        used = at = 0
        shape = self.pixels.shape[1:]
        for kind, group in itertools.groupby(self._kinds):
            count = sum(1 for _ in group)
            span = slice(at, at + count)
            at += count
            if kind == _BROKEN:
                broken = [entry for entry in self._broken[span] if entry is not None]
                yield np.empty((0, *shape), np.uint8), [], np.empty(0, np.bool_), broken
            elif kind == _CONSTANT:
                flat = np.broadcast_to(self._colours[span, None, None], (count, *shape))
                yield flat, self._seeds[span], np.ones(count, np.bool_), []
            else:
                yield self.pixels[used : used + count], self._seeds[span], np.zeros(count, np.bool_), []
                used += count
