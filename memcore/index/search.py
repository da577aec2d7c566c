"""Search an index exactly: sketches rule out what cannot be near, and the images themselves decide, in integers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore import _core
from memcore.arrays import as_images, check_threads
from memcore.distance import ssd_to_distance
from memcore.errors import ArgumentValueError
from memcore.index.pairs import exact_ssd, pair_ssd
from memcore.index.points import Points, check_shape
from memcore.index.reader import Index
from memcore.index.shard_files import ShardFiles
from memcore.index.sketch import Level, reaches
from memcore.types import Neighbors

#: Most hits of one call of the native search, which bounds the memory; where there are more, a call searches fewer rows.
_MAX_HITS = 1 << 23
#: Below this many rows a search is not cut further.
_LEAST_ROWS = 2048
#: In a large index, a first guess is taken from about this many rows, and this many times the rows that are wanted.
_GUESSED_FROM, _GUESSES = 1 << 19, 4


class _LevelSearch:
    """What the native search reads of one level: points, centres of groups, and how near a row must be to each."""

    def __init__(self, level: Level, sketches: NDArray[np.uint8], points: Points) -> None:
        self._level, self._points, self._firsts = level, sketches, points.offsets[:-1]
        self._centres = np.ascontiguousarray(sketches[points.centres])
        centre_of = points.centres[np.repeat(np.arange(len(points.centres)), np.diff(points.offsets))]
        every = sketches[:, None]
        self._to_centre = pair_ssd(every, every, centre_of, np.arange(len(sketches)))
        self._limits, self._reaches = (np.zeros(len(sketches), np.uint32) for _ in range(2))

    def update(self, changed: NDArray[np.int64], ssd_max: NDArray[np.int64]) -> None:
        """Set some points' ``ssd_max``."""
        limits = level_limits(self._level, ssd_max)
        self._limits[changed] = limits
        self._reaches[changed] = reaches(limits, self._to_centre[changed])
        self._centre_limits = np.maximum.reduceat(self._reaches, self._firsts)

    def over(self, corpus: NDArray[np.uint8]) -> tuple[NDArray[Any], ...]:
        """Return what the native search reads, for some rows of the level."""
        return self._centres, self._centre_limits, self._points, self._limits, corpus


def candidates(
    index: Index, points: Points, ssd_max: NDArray[np.int64], threads: int = 0, first_shard: int = 0
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64], ShardFiles]]:
    """Yield (points, rows, ssd of the fine sketches, shard), a shard or less at a time.

    Every pair of a point and a training image with an ssd of at most ``ssd_max[point]`` is among them, and few others.
    ``ssd_max`` is read again for each shard: the caller may lower it on the way.
    """
    if not len(points.coarse):
        return
    coarse = _LevelSearch(index.coarse, points.coarse, points)
    fine = _LevelSearch(index.fine, points.fine, points)
    used: NDArray[np.int64] | None = None
    room: tuple[list[NDArray[np.uint8]], ...] = ([np.empty(0, np.uint8)], [np.empty(0, np.uint8)])
    for shard in index.shards[first_shard:]:
        changed = np.arange(len(ssd_max)) if used is None else np.flatnonzero(used != ssd_max)
        if len(changed):
            used = ssd_max.copy()
            coarse.update(changed, used[changed])
            fine.update(changed, used[changed])
        of_coarse, of_fine = shard.coarse.load(room[0]), shard.fine.load(room[1])
        start, step = 0, max(1, shard.images)
        while start < shard.images:
            rows = slice(start, start + step)
            found = _core.index_range(
                coarse.over(of_coarse[rows]),
                fine.over(of_fine[rows]),
                points.offsets,
                # with so few rows left, a call must take all of their hits
                _MAX_HITS if step > _LEAST_ROWS else 1 << 40,
                threads,
            )
            if found is None:
                step = max(_LEAST_ROWS, step // 4)
                continue
            point, inside, ssd = found
            if len(point):
                yield point, inside + (start + shard.start), ssd, shard
            start += step


def level_limits(level: Level, ssd_max: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return ``level.limit`` of each ssd_max."""
    values, at = np.unique(ssd_max, return_inverse=True)
    return np.array([level.limit(v) for v in values.tolist()], dtype=np.uint64)[at]


def nearest(index: Index, images: NDArray[np.uint8], k: int, *, threads: int | None = None) -> Neighbors:
    """Return the k training images nearest to each image in l2, exactly; ties go to the smaller row. As ``memcore.knn``.

    ``images`` (Q, H, W, C) uint8 of the index's shape.

    Raises ArgumentValueError, RunError.
    """
    pixels = as_images(images, "images", channels="last", ndims=(4,)).pixels[0]
    check_shape(index, pixels)
    points = Points.of(index, lambda i: np.ascontiguousarray(pixels[i]), np.ones(len(images), np.int64))
    return nearest_points(index, points, k, check_threads(threads))


def nearest_points(index: Index, points: Points, k: int, threads: int = 0) -> Neighbors:
    """Return the k training images nearest to each point, exactly.

    Some whose sketches are near are compared first; then every other image whose sketch does not prove that it lies
    farther than the k-th best so far.
    """
    if not 1 <= k <= len(index):
        raise ArgumentValueError(f"k must be in [1, {len(index)}], the images of {index.path}, got {k}")
    q = len(points.coarse)
    rows, ssd = _first_guess(index, points, k, threads)
    best = Best(q, k)
    flat = np.repeat(np.arange(q), rows.shape[1])

    def compare(point: NDArray[np.int64], row: NDArray[np.int64], ssd: NDArray[np.uint64]) -> None:
        for p, r, s in rounds(point, row, ssd):
            near = s <= level_limits(index.fine, best.limits)[p]
            p, r = p[near], r[near]
            best.add(p, r, exact_ssd(index, points, p, r, threads=threads))

    compare(flat, rows.ravel(), ssd.ravel())
    known = np.sort(flat * len(index) + rows.ravel())
    for point, row, of_sketches, _ in candidates(index, points, best.limits, threads):
        key = point * len(index) + row
        new = known[np.minimum(np.searchsorted(known, key), len(known) - 1)] != key
        compare(point[new], row[new], of_sketches[new])
    d = int(np.prod(index.image_shape))
    return Neighbors(ssd_to_distance(best.ssd, d), best.rows, best.ssd)


def rounds(
    point: NDArray[np.int64], rows: NDArray[np.int64], ssd: NDArray[np.uint64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]]:
    """Yield the pairs in a few rounds, nearest sketches first, so that what they decide can save the others."""
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
        """Take in pairs of a query and a row."""
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


def _first_guess(
    index: Index, points: Points, k: int, threads: int
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return (Q, k or more) different rows of a part of the index, near by both sketches, and their fine ssd.

    The closer they come to the answer, the fewer images must be read for it.
    """
    held = [shard for shard in index.shards if shard.images]
    stride = max(1, sum(shard.images for shard in held) // max(_GUESSED_FROM, k))
    shards = held[::stride] if sum(s.images for s in held[::stride]) >= k else held
    kept = min(_GUESSES * k, sum(min(_GUESSES * k, shard.images) for shard in shards))
    q = len(points.coarse)
    ssd, rows = np.empty((q, 0), np.uint64), np.empty((q, 0), np.int64)
    room = [np.empty(0, np.uint8)]
    for shard in shards:
        near = _core.knn(points.coarse, shard.coarse.load(room), min(_GUESSES * k, shard.images), threads)[1]
        flat = np.repeat(np.arange(q), near.shape[1])
        unique, at = np.unique(near, return_inverse=True)
        own = pair_ssd(points.fine[:, None], shard.fine.take(unique)[:, None], flat, at.ravel(), threads)
        ssd = np.concatenate([ssd, own.reshape(near.shape)], axis=1)
        rows = np.concatenate([rows, near + shard.start], axis=1)
        if rows.shape[1] > kept:
            best = np.argpartition(ssd, kept - 1, axis=1)[:, :kept]
            ssd, rows = np.take_along_axis(ssd, best, 1), np.take_along_axis(rows, best, 1)
    return rows, ssd
