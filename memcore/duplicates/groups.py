"""Find near-duplicates in a training set: exact groups, by the images themselves or by embeddings.

Two images are duplicates if they are within the threshold; groups are the connected components of that relation, and a
group is named by its smallest row. So the groups do not depend on an order, on threads or on the machine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from memcore.arrays import check_threads
from memcore.errors import MissingExtraError
from memcore.index.pairs import exact_ssd, pair_ssd
from memcore.index.points import Points
from memcore.index.reader import Index
from memcore.index.search import candidates, rounds
from memcore.matching.metric import Criterion, Grid, MetricName

#: Rows that are compared with all later ones at a time.
_BLOCK = 4096


class Components:
    """Connected components of numbered items, updated as pairs come in.

    Each item points to a smaller one of its component, or to itself; ``connect`` joins whole batches of pairs by
    ``scipy.sparse.csgraph``.
    """

    def __init__(self, count: int) -> None:
        self._parent = np.arange(count, dtype=np.int64)

    def find(self, items: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the smallest number that each item is known to be connected with."""
        roots = self._parent[items]
        while not np.array_equal(roots, higher := self._parent[roots]):
            roots = higher
        self._parent[items] = roots
        return roots

    def connect(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
        """Connect each of ``left`` with its partner in ``right``."""
        if not len(left):
            return
        roots, at = np.unique(np.concatenate([self.find(left), self.find(right)]), return_inverse=True)
        component = _components(len(roots), at[: len(left)], at[len(left) :])
        _, smallest = np.unique(component, return_index=True)  # roots ascend
        self._parent[roots] = roots[smallest[component]]

    def labels(self) -> NDArray[np.int64]:
        """Return the smallest number in the component of each item, (count,)."""
        return self.find(np.arange(len(self._parent), dtype=np.int64))


def _components(count: int, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the number of each vertex's component, in any order."""
    try:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components
    except ImportError:
        raise MissingExtraError("scipy", "audit", "Grouping duplicates") from None
    graph = coo_array((np.ones(len(left), np.bool_), (left, right)), shape=(count, count))
    component: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return component


def group_images(
    index: Index,
    threshold: float,
    *,
    metric: MetricName = "tiled_l2",
    grid: Grid = (4, 4),
    threads: int | None = None,
) -> NDArray[np.int64]:
    """Return, for each training image, the smallest row of its group of near-duplicates, (len(index),) int64.

    ``threshold`` in [0, 1] of the chosen distance; decided in integers. Images are read from their source only for pairs
    that sketches do not decide and that are not connected yet. Memory: a block of rows and the pairs that it meets.

    Raises ArgumentValueError, RunError.
    """
    near_enough = Criterion.of(metric, threshold, index.image_shape, grid)
    cut, limit, tiles = near_enough.cut, near_enough.limit, near_enough.tiles
    bound = index.fine.tiles(cut) if tiles > 1 else None
    groups = Components(len(index))
    workers = check_threads(threads)
    for shard in index.shards:
        for start in range(0, shard.images, _BLOCK):
            inside = slice(start, min(start + _BLOCK, shard.images))
            first, n = shard.start + start, inside.stop - start
            coarse, fine = (level.slice(inside.start, inside.stop) for level in (shard.coarse, shard.fine))

            def load(i: NDArray[np.int64], first: int = first) -> NDArray[np.uint8]:
                return index.fetch(first + i)

            points = Points(coarse, fine, load, np.arange(n), np.arange(n + 1))
            ssd_max = np.full(n, limit * tiles)
            for point, row, ssd, _ in candidates(index, points, ssd_max, workers, shard.number):
                later = row > point + first
                for p, r, _ssd in rounds(point[later], row[later], ssd[later]):
                    separate = groups.find(p + first) != groups.find(r)
                    p, r = p[separate], r[separate]
                    if bound is not None and len(p):
                        unique, at = np.unique(r, return_inverse=True)
                        near = bound.cut(index.fine_sketches(unique))
                        means = pair_ssd(bound.cut(fine), near, p, at, workers)
                        p, r = (v[means <= bound.limit(limit)] for v in (p, r))
                    within = exact_ssd(index, points, p, r, cut, workers) <= limit
                    groups.connect(p[within] + first, r[within])
    return groups.labels()
