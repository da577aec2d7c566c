"""Compare findings with an index: the answers of brute force, without reading the whole training set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from memcore.arrays import check_threads
from memcore.distance import ssd_to_distance
from memcore.index.pairs import exact_ssd, pair_ssd
from memcore.index.points import Load, Points
from memcore.index.reader import Index
from memcore.index.search import candidates, level_limits, nearest_points, rounds
from memcore.index.sketch import Tiles
from memcore.matching.adaptive import ADAPTIVE_NEIGHBORS
from memcore.matching.metric import Criterion, Grid, MetricName, check_delta, find_metric
from memcore.matching.result import Closest, IndexAnswer, Match, make_matches
from memcore.types import DEFAULT_THRESHOLD

_NONE = np.iinfo(np.int64).max


def match_index(
    index: Index,
    load: Load,
    sizes: Sequence[int],
    medoids: Sequence[int],
    *,
    delta: float = DEFAULT_THRESHOLD,
    metric: MetricName = "l2",
    grid: Grid = (4, 4),
    neighbors: int = 5,
    adaptive: bool = False,
    threads: int | None = None,
    copies: NDArray[np.int64] | None = None,
) -> list[Match]:
    """Return each finding's nearest training image by an index, as ``match_findings`` does by brute force.

    ``load(i)`` gives the images (len(i), H, W, C) of all findings' members, counted over all findings; finding f has
    ``sizes[f]`` of them, and ``medoids[f]`` says which of these is its medoid. ``copies`` is as in ``match_findings``.
    """
    find_metric(metric)
    check_delta(delta)
    if not len(sizes):
        return []
    near_enough = Criterion.of(metric, delta, index.image_shape, grid)
    k = min(max(neighbors, ADAPTIVE_NEIGHBORS if adaptive else 1), len(index))
    matching = _Matching(index, load, sizes, medoids, near_enough, grid, check_threads(threads), copies)
    return make_matches(matching.run(neighbors, k), min(neighbors, k), adaptive)


class _Matching:
    """One call of ``match_index``."""

    def __init__(
        self,
        index: Index,
        load: Load,
        sizes: Sequence[int],
        medoids: Sequence[int],
        near_enough: Criterion,
        grid: Grid,
        threads: int,
        copies: NDArray[np.int64] | None,
    ) -> None:
        self.copies = copies
        self.index, self.threads, self.grid = index, threads, grid
        self.near_enough, self.limit, self.tiles = near_enough, near_enough.limit, near_enough.tiles
        self.bound: Tiles | None = index.fine.tiles(near_enough.cut) if self.tiles > 1 else None
        self.points = Points.of(index, load, sizes, medoids)
        self.finding = np.repeat(np.arange(len(sizes)), sizes)

    def run(self, neighbors: int, k: int) -> IndexAnswer:
        """Search for the ``k`` nearest of each medoid; the first ``neighbors`` are compared with all members at first."""
        index, points = self.index, self.points
        medoids = points.alone(points.centres)
        near = nearest_points(index, medoids, k, self.threads)
        extracted, closest, best = self._search(near.indices[:, : max(1, min(neighbors, k))])
        chosen = np.where(best[:, 0] <= self.limit, best[:, 1], near.indices[:, 0])
        within = self._exact(points, np.arange(len(self.finding)), chosen[self.finding]) <= self.limit
        eidetic = self._eidetic(chosen)
        all_medoids = np.arange(len(chosen))
        pixels = int(np.prod(index.image_shape))
        l2, tiled_l2 = (
            ssd_to_distance(
                exact_ssd(index, medoids, all_medoids, chosen, cut, self.threads),
                pixels // (cut[0] * cut[1]),
            )
            for cut in ((1, 1), self.grid)
        )
        return IndexAnswer(
            near,
            chosen,
            l2,
            tiled_l2,
            best[:, 0] <= self.limit,
            np.bincount(self.finding, within, minlength=len(chosen)).astype(np.int64),
            np.array([eidetic[row] for row in chosen.tolist()]),
            np.bincount(self.finding, extracted, minlength=len(chosen)).astype(np.int64),
            [self._closest(f, *closest[f].tolist()) for f in range(len(chosen))],
        )

    def _closest(self, finding: int, ssd: int, row: int, point: int) -> Closest | None:
        """Return a finding's closest pair, if it is within delta."""
        if ssd > self.limit:
            return None
        return Closest(point - int(self.points.offsets[finding]), row, self.near_enough.distance(ssd))

    def _exact(self, points: Points, point: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        return exact_ssd(self.index, points, point, rows, self.near_enough.cut, self.threads)

    def _search(
        self, near: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
        """Return (members with a training image within delta, each finding's smallest (ssd, row, point), each medoid's).

        The last two are undefined above the limit. A pair is compared pixel by pixel only if it could change one of the
        three.
        """
        points = self.points
        extracted = np.zeros(len(self.finding), np.bool_)
        closest, best = (np.full((len(points.centres), 3), _NONE) for _ in range(2))
        is_medoid = np.zeros(len(self.finding), np.bool_)
        is_medoid[points.centres] = True

        ssd_max = np.full(len(self.finding), self.limit * self.tiles)

        def compare(point: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
            ssd = self._exact(points, point, rows).astype(np.int64)
            extracted[point[ssd <= self.limit]] = True
            _lower(closest, self.finding[point], ssd, rows, point)
            mine = is_medoid[point]
            _lower(best, self.finding[point[mine]], ssd[mine], rows[mine], point[mine])

        def lower_needs() -> None:
            """Limit extracted members to rows that are nearer than what is known of their finding."""
            own = np.where(is_medoid, best[self.finding, 0], closest[self.finding, 0])
            needed = np.minimum(own, self.limit) * self.tiles
            ssd_max[extracted] = needed[extracted]

        everyone = np.arange(len(self.finding))
        compare(np.repeat(everyone, near.shape[1]), near[self.finding].ravel())
        lower_needs()
        for point, row, ssd, _ in candidates(self.index, points, ssd_max, self.threads):
            kept = self._tiles_allow(points, point, row)
            for p, r, s in rounds(point[kept], row[kept], ssd[kept]):
                useful = s <= level_limits(self.index.fine, ssd_max[p])
                compare(p[useful], r[useful])
                lower_needs()
        return extracted, closest, best

    def _tiles_allow(
        self, points: Points, point: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return False for pairs of which one tile's sketch proves that the distance is above delta."""
        if self.bound is None or not len(point):
            return np.ones(len(point), np.bool_)
        unique, at = np.unique(rows, return_inverse=True)
        used, left = np.unique(point, return_inverse=True)
        sketches = self.bound.cut(self.index.fine_sketches(unique))
        ssd = pair_ssd(self.bound.cut(points.fine[used]), sketches, left, at, self.threads)
        allowed: NDArray[np.bool_] = ssd <= self.bound.limit(self.limit)
        return allowed

    def _eidetic(self, chosen: NDArray[np.int64]) -> dict[int, int]:
        """Return, for each of these training images, how many lie within delta of it, itself included."""
        rows = np.unique(chosen)
        points = Points.of(self.index, lambda i: self.index.fetch(rows[i]), np.ones(len(rows), np.int64))
        counts = np.zeros(len(rows), np.int64)
        ssd_max = np.full(len(rows), self.limit * self.tiles)
        for point, row, ssd, _ in candidates(self.index, points, ssd_max, self.threads):
            kept = self._tiles_allow(points, point, row)
            point, row, ssd = point[kept], row[kept], ssd[kept]
            sure = np.zeros(len(point), np.bool_)
            if self.tiles == 1:
                unique, at = np.unique(row, return_inverse=True)
                near = self.index.fine_sketches(unique)[at]
                sure = self.index.fine.surely_within(points.fine[point], near, ssd, self.limit)
            counts += self._count(point[sure], row[sure], len(rows))
            open_points, open_rows = point[~sure], row[~sure]
            within = self._exact(points, open_points, open_rows) <= self.limit
            counts += self._count(open_points[within], open_rows[within], len(rows))
        return dict(zip(rows.tolist(), counts.tolist(), strict=True))

    def _count(self, point: NDArray[np.int64], row: NDArray[np.int64], points: int) -> NDArray[np.int64]:
        """Return how many pairs each point has, a row counted as often as it is in the training set."""
        weights = None if self.copies is None else self.copies[row]  # exact: their sum is below 2^31
        return np.bincount(point, weights, minlength=points).astype(np.int64)


def _lower(
    best: NDArray[np.int64],
    group: NDArray[np.int64],
    ssd: NDArray[np.int64],
    rows: NDArray[np.int64],
    point: NDArray[np.int64],
) -> None:
    """Replace each group's (ssd, row, point) by the smallest of it and those given."""
    order = np.lexsort((point, rows, ssd, group))
    first = order[np.unique(group[order], return_index=True)[1]]
    for i in first.tolist():
        entry = (int(ssd[i]), int(rows[i]), int(point[i]))
        if entry < tuple(best[group[i]].tolist()):
            best[group[i]] = entry
