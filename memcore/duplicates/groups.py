"""What stands in a training set more than once: exact groups of near-duplicates, by images or by embeddings.

Two images are duplicates if they are within the threshold; groups are the connected components of that relation, and a
group is named by its smallest row. So the groups do not depend on any order, on threads or on the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from memcore.arrays import check_threads
from memcore.errors import ArgumentTypeError, ArgumentValueError, MissingExtraError
from memcore.index.reader import Index
from memcore.index.search import Points, candidates, exact_ssd, rounds
from memcore.index.sketch import pair_ssd
from memcore.matching.brute_force import Metric, check_metric
from memcore.types import Threshold

#: Rows that are held against all later ones at a time.
_BLOCK = 4096

Engine = Literal["exact", "faiss"]
ENGINES: tuple[str, ...] = get_args(Engine)

_Rows = Callable[[NDArray[np.int64]], NDArray[np.float64]]
#: Pairs (earlier row, later row) that may be near, and what gives either side's unit vectors.
_Near = tuple[NDArray[np.int64], NDArray[np.int64], _Rows, _Rows]


class Components:
    """Connected components of numbered things, as pairs come in."""

    def __init__(self, count: int) -> None:
        self._parent = np.arange(count, dtype=np.int64)

    def find(self, things: NDArray[np.int64]) -> NDArray[np.int64]:
        """The smallest number that each is known to be connected with."""
        roots = self._parent[things]
        while not np.array_equal(roots, higher := self._parent[roots]):
            roots = higher
        self._parent[things] = roots
        return roots

    def connect(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            one, two = (int(v) for v in self.find(np.array([a, b])))
            self._parent[max(one, two)] = min(one, two)

    def labels(self) -> NDArray[np.int64]:
        """(count,) the smallest number of each one's component."""
        return self.find(np.arange(len(self._parent), dtype=np.int64))


def group_images(
    index: Index,
    threshold: float,
    *,
    metric: Metric = "tiled_l2",
    grid: tuple[int, int] = (4, 4),
    threads: int | None = None,
) -> NDArray[np.int64]:
    """(len(index),) int64: for each training image the smallest row of its group of near-duplicates.

    ``threshold`` in [0, 1] of the chosen distance; decided in integers. Images are read from their source only for pairs
    that sketches do not decide and that are not connected yet. Memory: a block of rows and the pairs that it meets.

    Raises ArgumentValueError, RunError.
    """
    check_metric(metric)
    cut = (1, 1) if metric == "l2" else grid
    tiles = cut[0] * cut[1]
    if index.image_shape[0] % cut[0] or index.image_shape[1] % cut[1]:
        raise ArgumentValueError(f"grid={grid} does not divide images of {index.image_shape}")
    limit = Threshold(threshold).ssd_max(int(np.prod(index.image_shape)) // tiles)
    bound = index.fine.tiles(grid) if tiles > 1 else None
    groups = Components(len(index))
    workers = check_threads(threads)
    for shard in index.shards:
        for start in range(0, shard.images, _BLOCK):
            inside = slice(start, min(start + _BLOCK, shard.images))
            first, n = shard.start + start, inside.stop - start
            coarse, fine = (np.ascontiguousarray(level[inside]) for level in (shard.coarse, shard.fine))

            def load(i: NDArray[np.int64], first: int = first) -> NDArray[np.uint8]:
                return index.fetch(first + i)

            points = Points(coarse, fine, load, np.arange(n), np.arange(n + 1))
            ssd_max = np.full(n, limit * tiles)
            for point, row, ssd, _ in candidates(index, points, ssd_max, workers, shard.number):
                later = row > point + first
                for p, r, _ssd in rounds(point[later], row[later], ssd[later]):
                    apart = groups.find(p + first) != groups.find(r)
                    p, r = p[apart], r[apart]
                    if bound is not None and len(p):
                        unique, at = np.unique(r, return_inverse=True)
                        near = bound.cut(index.fine_sketches(unique))
                        means = pair_ssd(bound.cut(fine), near, p, at, workers)
                        p, r = (v[means <= bound.limit(limit)] for v in (p, r))
                    within = exact_ssd(index, points, p, r, cut, workers) <= limit
                    groups.connect(p[within] + first, r[within])
    return groups.labels()


def group_embeddings(embeddings: Any, threshold: float, *, engine: Engine = "exact") -> NDArray[np.int64]:
    """(N,) int64: for each row of ``embeddings`` (N, D), a float array or memory map, the smallest row of its group.

    Rows are duplicates if their cosine is at least ``threshold``. float32 products with a margin for their rounding sort
    out; what is left is decided by a float64 sum. With ``engine`` "faiss" the products are those of faiss's flat index,
    which holds all rows as float32; margin and decision are the same, and so are the groups.

    Raises ArgumentTypeError, ArgumentValueError (a row of zeros or with NaN), MissingExtraError without faiss.

    >>> import numpy as np
    >>> group_embeddings(np.array([[1, 0], [0, 1], [2, 0.1], [0, 3]], np.float32), 0.99).tolist()
    [0, 1, 0, 1]
    """
    if not isinstance(embeddings, np.ndarray) or embeddings.dtype.kind != "f":
        raise ArgumentTypeError(f"embeddings must be a float array (N, D), got {type(embeddings).__name__}")
    if embeddings.ndim != 2 or 0 in embeddings.shape:
        raise ArgumentValueError(f"embeddings must have the shape (N, D), got {embeddings.shape}")
    if not -1 <= threshold <= 1:
        raise ArgumentValueError(f"threshold must be a cosine in [-1, 1], got {threshold}")
    n, d = embeddings.shape
    if engine not in ENGINES:
        raise ArgumentValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    groups = Components(n)
    margin = (d + 4) * 2.0**-23  # a sum of d products of unit vectors, each factor rounded to float32
    near_pairs = _faiss_pairs if engine == "faiss" else _pairs
    for i, j, left, right in near_pairs(embeddings, threshold - margin):
        apart = groups.find(i) != groups.find(j)
        i, j = i[apart], j[apart]
        for at in range(0, len(i), _BLOCK):
            x, y = i[at : at + _BLOCK], j[at : at + _BLOCK]
            near = (left(x) * right(y)).sum(axis=1) >= threshold
            groups.connect(x[near], y[near])
    return groups.labels()


def _pairs(embeddings: NDArray[Any], least: float) -> Iterator[_Near]:
    """Pairs of rows whose float32 product is at least ``least``, block against block."""
    n = len(embeddings)
    for a in range(0, n, _BLOCK):
        left = _unit(embeddings, a)
        for b in range(a, n, _BLOCK):
            right = left if a == b else _unit(embeddings, b)
            products = left.astype(np.float32) @ right.astype(np.float32).T
            i, j = np.nonzero(products >= least)
            later = j + b > i + a
            yield i[later] + a, j[later] + b, _rows_of(left, a), _rows_of(right, b)


def _faiss_pairs(embeddings: NDArray[Any], least: float) -> Iterator[_Near]:
    """The same from a flat index that grows block by block: each block is held against all rows up to its end."""
    try:
        import faiss
    except ImportError:
        raise MissingExtraError("faiss-cpu", "faiss", "engine='faiss'") from None
    index = faiss.IndexFlatIP(embeddings.shape[1])
    for a in range(0, len(embeddings), _BLOCK):
        block = _unit(embeddings, a)
        index.add(block.astype(np.float32))
        # a search is strict, and takes its radius as float32: the one below it loses nothing
        radius = np.nextafter(np.float32(least), np.float32(-2))
        limits, _, found = index.range_search(block.astype(np.float32), float(radius))
        j = np.repeat(np.arange(len(block), dtype=np.int64), (limits[1:] - limits[:-1]).astype(np.int64)) + a
        earlier = found < j
        yield found[earlier], j[earlier], lambda rows: _unit_rows(embeddings, rows), _rows_of(block, a)


def _rows_of(block: NDArray[np.float64], start: int) -> _Rows:
    return lambda rows: block[rows - start]


def _unit(embeddings: NDArray[Any], start: int) -> NDArray[np.float64]:
    return _unit_rows(embeddings, np.arange(start, min(start + _BLOCK, len(embeddings))))


def _unit_rows(embeddings: NDArray[Any], which: NDArray[np.int64]) -> NDArray[np.float64]:
    rows = np.asarray(embeddings[which], dtype=np.float64)
    norms = np.sqrt((rows * rows).sum(axis=1))
    bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if len(bad):
        raise ArgumentValueError(f"embeddings must have no row of zeros or NaN, got one at {which[bad[0]]}")
    unit: NDArray[np.float64] = rows / norms[:, None]
    return unit
