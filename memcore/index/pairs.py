"""Compare pairs of images, or of sketches, tile by tile in integers."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from memcore import _core
from memcore.index.points import Points, blocks
from memcore.index.reader import Index

_Rows: TypeAlias = NDArray[np.signedinteger]


def exact_ssd(
    index: Index,
    points: Points,
    point: NDArray[np.int64],
    rows: NDArray[np.int64],
    cut: tuple[int, int] = (1, 1),
    threads: int = 0,
) -> NDArray[np.uint64]:
    """Return the ssd of the largest tile of ``cut`` for each pair of a point and a training image; each row is read once."""
    out = np.empty(len(point), np.uint64)
    unique, at = np.unique(rows, return_inverse=True)
    order = np.argsort(at, kind="stable")
    bounds = np.searchsorted(at[order], np.arange(len(unique) + 1))
    for positions in blocks(len(unique), index):
        pixels = cut_tiles(index.fetch(unique[positions], threads), cut)
        chosen = order[bounds[positions[0]] : bounds[positions[-1] + 1]]
        used, left = np.unique(point[chosen], return_inverse=True)
        for some in blocks(len(used), index):
            mine = (left >= some[0]) & (left <= some[-1])
            pairs = chosen[mine]
            images = cut_tiles(points.load(used[some]), cut)
            out[pairs] = pair_ssd(images, pixels, left[mine] - some[0], at[pairs] - positions[0], threads)
    return out


def cut_tiles(images: NDArray[np.uint8], grid: tuple[int, int]) -> NDArray[np.uint8]:
    """Return images by tile, (N, H, W, C) to (N, tiles, bytes of a tile)."""
    n, h, w, c = images.shape
    tiles = images.reshape(n, grid[0], h // grid[0], grid[1], w // grid[1], c).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(tiles).reshape(n, grid[0] * grid[1], -1)


def pair_ssd(
    left: NDArray[np.uint8], right: NDArray[np.uint8], i: _Rows, j: _Rows, threads: int = 0
) -> NDArray[np.uint64]:
    """Return the ssd of the largest tile of each pair (left[i], right[j]) of arrays (N, tiles, bytes)."""
    return _core.index_pair_ssd(
        np.ascontiguousarray(left),
        np.ascontiguousarray(right),
        np.ascontiguousarray(i, dtype=np.int64),
        np.ascontiguousarray(j, dtype=np.int64),
        threads,
    )
