"""Exact search: sketches sort out what cannot be near, the images themselves decide in integers."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from memcore import _core
from memcore.distance import ssd_to_distance
from memcore.errors import ArgumentValueError
from memcore.index.reader import Index, ShardFiles
from memcore.index.sketch import Level, cut_tiles, pair_ssd, reach
from memcore.types import Neighbors

#: Hits of one call of the native search: what bounds the memory; fewer rows are searched at once where more are found.
_MAX_HITS = 1 << 23
#: Below this many rows a search is not cut further.
_LEAST_ROWS = 2048
_PIXEL_BYTES = 1 << 26


#: Gives the images of some points, (n, H, W, C) uint8; only those that are compared pixel by pixel are asked for.
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
        """Groups of ``sizes`` points, one after another; ``centres``: which of its points is a group's centre."""
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
        """Some of the points, each a group of its own."""

        def load(i: NDArray[np.int64]) -> NDArray[np.uint8]:
            return self.load(chosen[i])

        n = len(chosen)
        return Points(self.coarse[chosen], self.fine[chosen], load, np.arange(n), np.arange(n + 1))

    @functools.cached_property
    def _apart(self) -> NDArray[np.uint64]:
        groups = np.repeat(np.arange(len(self.centres)), np.diff(self.offsets))
        coarse = self.coarse[:, None]
        return pair_ssd(coarse, coarse, self.centres[groups], np.arange(len(groups)))

    def centre_limits(self, limits: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """How near a row must lie to a group's centre to be within ``limits`` of one of its points."""
        wide = [
            reach(limit, apart) for limit, apart in zip(limits.tolist(), self._apart.tolist(), strict=True)
        ]
        return np.maximum.reduceat(np.array(wide, dtype=np.uint32), self.offsets[:-1])


def blocks(count: int, index: Index) -> Iterator[NDArray[np.int64]]:
    """0 to ``count`` in pieces of as many images as fit the memory that is meant for them."""
    step = max(1, _PIXEL_BYTES // int(np.prod(index.image_shape)))
    for start in range(0, count, step):
        yield np.arange(start, min(count, start + step))


def check_shape(index: Index, images: NDArray[np.uint8]) -> None:
    """Images must have the index's shape."""
    if images.dtype != np.uint8 or images.shape[1:] != index.image_shape:
        raise ArgumentValueError(
            f"images must be uint8 of the shape {index.image_shape} that {index.path} was made with, got "
            f"{images.dtype} {images.shape[1:]}: make an index with a resize to this size"
        )


def candidates(
    index: Index, points: Points, ssd_max: NDArray[np.int64], threads: int = 0, first_shard: int = 0
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64], ShardFiles]]:
    """(points, rows, ssd of the fine sketches, shard), a shard or less at a time: every pair of a point and a training
    image with an ssd of at most ``ssd_max[point]`` is among them, and few others. ``ssd_max`` is read anew for each shard.
    """
    if not len(points.coarse):
        return
    centres = np.ascontiguousarray(points.coarse[points.centres])
    used: NDArray[np.int64] | None = None
    for shard in index.shards[first_shard:]:
        if used is None or not np.array_equal(used, ssd_max):
            used = ssd_max.copy()
            limits = limits_of(index.coarse, used).astype(np.uint32)
            wide, fine = points.centre_limits(limits), limits_of(index.fine, used)
        start, step = 0, max(1, shard.images)
        while start < shard.images:
            found = _core.index_range(
                centres,
                wide,
                points.coarse,
                points.offsets,
                limits,
                shard.coarse[start : start + step],
                # with few rows left the answer has to hold whatever comes
                _MAX_HITS if step > _LEAST_ROWS else 1 << 40,
                threads,
            )
            if found is None:
                step = max(_LEAST_ROWS, step // 4)
                continue
            point, inside = found[0].astype(np.int64), found[1] + start
            start += step
            if len(point):
                sketches, at = np.unique(inside, return_inverse=True)
                ssd = pair_ssd(points.fine[:, None], shard.fine[sketches][:, None], point, at, threads)
                kept = ssd <= fine[point]
                yield point[kept], inside[kept] + shard.start, ssd[kept], shard


def limits_of(level: Level, ssd_max: NDArray[np.int64]) -> NDArray[np.uint64]:
    """``level.limit`` of each."""
    values, at = np.unique(ssd_max, return_inverse=True)
    return np.array([level.limit(v) for v in values.tolist()], dtype=np.uint64)[at]


def exact_ssd(
    index: Index,
    points: Points,
    point: NDArray[np.int64],
    rows: NDArray[np.int64],
    cut: tuple[int, int] = (1, 1),
    threads: int = 0,
) -> NDArray[np.uint64]:
    """ssd of the largest tile of ``cut`` for each pair of a point and a training image; each row is read once."""
    out = np.empty(len(point), np.uint64)
    unique, at = np.unique(rows, return_inverse=True)
    order = np.argsort(at, kind="stable")
    bounds = np.searchsorted(at[order], np.arange(len(unique) + 1))
    for positions in blocks(len(unique), index):
        pixels = cut_tiles(index.fetch(unique[positions]), cut)
        chosen = order[bounds[positions[0]] : bounds[positions[-1] + 1]]
        used, left = np.unique(point[chosen], return_inverse=True)
        for some in blocks(len(used), index):
            mine = (left >= some[0]) & (left <= some[-1])
            pairs = chosen[mine]
            images = cut_tiles(points.load(used[some]), cut)
            out[pairs] = pair_ssd(images, pixels, left[mine] - some[0], at[pairs] - positions[0], threads)
    return out


def nearest(index: Index, images: NDArray[np.uint8], k: int, *, threads: int | None = None) -> Neighbors:
    """The k training images nearest to each image in l2, exactly; ties go to the smaller row. As ``memcore.knn``.

    ``images`` (Q, H, W, C) uint8 of the index's shape.

    Raises ArgumentValueError, RunError.
    """
    check_shape(index, images)
    points = Points.of(index, lambda i: images[i], np.ones(len(images), np.int64))
    return nearest_points(index, points, k, threads or 0)


def nearest_points(index: Index, points: Points, k: int, threads: int = 0) -> Neighbors:
    """``nearest`` of points. The k whose sketches are nearest are compared first; then every other image whose sketch does
    not prove that it lies farther.
    """
    if not 1 <= k <= len(index):
        raise ArgumentValueError(f"k must be in [1, {len(index)}], the images of {index.path}, got {k}")
    q = len(points.coarse)
    rows = _sketch_neighbors(index, points.coarse, k, threads)
    best = Best(q, k)
    flat = np.repeat(np.arange(q), k)
    best.add(flat, rows.ravel(), exact_ssd(index, points, flat, rows.ravel(), threads=threads))
    known = np.sort(flat * len(index) + rows.ravel())
    for point, row, ssd, _ in candidates(index, points, best.limits, threads):
        key = point * len(index) + row
        new = known[np.minimum(np.searchsorted(known, key), len(known) - 1)] != key
        for p, r, s in rounds(point[new], row[new], ssd[new]):
            near = s <= limits_of(index.fine, best.limits)[p]
            p, r = p[near], r[near]
            best.add(p, r, exact_ssd(index, points, p, r, threads=threads))
    d = int(np.prod(index.image_shape))
    return Neighbors(ssd_to_distance(best.ssd, d), best.rows, best.ssd)


def rounds(
    point: NDArray[np.int64], rows: NDArray[np.int64], ssd: NDArray[np.uint64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]]:
    """The pairs in a few rounds, nearest sketches first, so that what they decide can save the others."""
    order = np.lexsort((rows, ssd, point))
    first = np.searchsorted(point[order], point[order], side="left")
    rank = np.arange(len(order)) - first
    edge, size = 0, 4
    while edge <= (int(rank.max()) if len(rank) else -1):
        chosen = order[(rank >= edge) & (rank < edge + size)]
        yield point[chosen], rows[chosen], ssd[chosen]
        edge, size = edge + size, size * 4


class Best:
    """The k smallest (ssd, row) of each query so far."""

    def __init__(self, queries: int, k: int) -> None:
        self.ssd = np.full((queries, k), np.iinfo(np.uint64).max, np.uint64)
        self.rows = np.full((queries, k), np.iinfo(np.int64).max, np.int64)
        self.limits = np.full(queries, np.iinfo(np.int64).max, np.int64)

    def add(self, point: NDArray[np.int64], rows: NDArray[np.int64], ssd: NDArray[np.uint64]) -> None:
        k = self.ssd.shape[1]
        order = np.argsort(point, kind="stable")
        bounds = np.searchsorted(point[order], np.arange(len(self.ssd) + 1))
        for q in np.unique(point):
            chosen = order[bounds[q] : bounds[q + 1]]
            all_ssd = np.concatenate([self.ssd[q], ssd[chosen]])
            all_rows = np.concatenate([self.rows[q], rows[chosen]])
            kept = np.lexsort((all_rows, all_ssd))[:k]
            self.ssd[q], self.rows[q] = all_ssd[kept], all_rows[kept]
            self.limits[q] = min(int(self.ssd[q, -1]), np.iinfo(np.int64).max)


def _sketch_neighbors(index: Index, coarse: NDArray[np.uint8], k: int, threads: int) -> NDArray[np.int64]:
    """(Q, k) different rows with the nearest coarse sketches: no answer yet, but close to it."""
    ssd = np.empty((len(coarse), 0), np.uint64)
    rows = np.empty((len(coarse), 0), np.int64)
    for shard in index.shards:
        if shard.images:
            some = _core.knn(coarse, shard.coarse, min(k, shard.images), threads)
            ssd = np.concatenate([ssd, some[0].astype(np.uint64)], axis=1)
            rows = np.concatenate([rows, some[1] + shard.start], axis=1)
            if ssd.shape[1] > k:
                kept = np.argpartition(ssd, k - 1, axis=1)[:, :k]
                ssd, rows = np.take_along_axis(ssd, kept, 1), np.take_along_axis(rows, kept, 1)
    return rows
