"""The nearest training image within delta of each image, exactly: sketches rule out, and the few others are read."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from memcore.errors import RunError
from memcore.images import UnreadableImage
from memcore.index.pairs import exact_ssd, pair_ssd
from memcore.index.points import Points
from memcore.index.reader import Index
from memcore.index.search import candidates, level_limits, nearest_points, rounds
from memcore.matching.metric import Criterion

#: No row: no training image is within the limit.
NONE = -1


@dataclasses.dataclass(frozen=True)
class Nearest:
    """For each image the row of its nearest training image within the limit (NONE without one) and the largest tile's ssd.

    ``unread[i]`` says why training images that may be nearer than that to image i could not be compared.
    """

    rows: NDArray[np.int64]
    ssd: NDArray[np.int64]
    unread: dict[int, str]


def nearest_within(
    index: Index, points: Points, near: Criterion, limits: NDArray[np.int64], threads: int = 0
) -> Nearest:
    """Return the nearest training image of each point among those whose tiles all have an ssd of at most ``limits``.

    Ties go to the smaller row. A training image that cannot be read, or that has changed, is named in the answer, and does
    not hide others. Raises DamagedFileError where a file of the index itself is damaged.
    """
    search = _Search(index, points, near, limits, threads)
    for point, rows, ssd, _ in candidates(index, points, search.ssd_max, threads):
        kept = search.tiles_allow(point, rows)
        for p, r, s in rounds(point[kept], rows[kept], ssd[kept]):
            useful = s <= level_limits(index.fine, search.ssd_max[p])
            if useful.any():
                search.compare(p[useful], r[useful])
    return Nearest(search.rows, search.ssd, search.unread)


def nearest_of_all(index: Index, points: Points, near: Criterion, threads: int = 0) -> NDArray[np.int64]:
    """Return the ssd of each point's nearest training image (of its largest tile), whatever its distance."""
    found = nearest_points(index, points, 1, threads)
    if near.tiles == 1:
        return found.ssd[:, 0].astype(np.int64)
    everyone = np.arange(len(points.coarse))
    limits = exact_ssd(index, points, everyone, found.indices[:, 0], near.cut, threads).astype(np.int64)
    closest = nearest_within(index, points, near, limits, threads)
    for text in closest.unread.values():
        raise RunError(text)
    return closest.ssd


class _Search:
    """The best pair of each point so far, and how near another must be to matter."""

    def __init__(
        self, index: Index, points: Points, near: Criterion, limits: NDArray[np.int64], threads: int
    ) -> None:
        self._index, self._points, self._near, self._threads = index, points, near, threads
        self._bound = index.fine.tiles(near.cut) if near.tiles > 1 else None
        self.rows = np.full(len(limits), NONE, np.int64)
        self.ssd = limits.copy()
        self.ssd_max = limits * near.tiles
        self.unread: dict[int, str] = {}

    def tiles_allow(self, point: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return False for pairs of which one tile's sketch proves that it is too far."""
        if self._bound is None or not len(point):
            return np.ones(len(point), np.bool_)
        unique, at = np.unique(rows, return_inverse=True)
        used, left = np.unique(point, return_inverse=True)
        sketches = self._bound.cut(self._index.fine_sketches(unique))
        ssd = pair_ssd(self._bound.cut(self._points.fine[used]), sketches, left, at, self._threads)
        most = np.array([self._bound.limit(limit) for limit in self.ssd[used].tolist()], np.uint64)
        allowed: NDArray[np.bool_] = ssd <= most[left]
        return allowed

    def compare(self, point: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Compare pairs pixel by pixel, and keep what is better."""
        try:
            self._keep(point, rows, self._exact(point, rows))
            return
        except (RunError, OSError, UnreadableImage):
            pass  # one training image is enough for that: the others still count
        for row in np.unique(rows).tolist():
            mine = rows == row
            try:
                self._keep(point[mine], rows[mine], self._exact(point[mine], rows[mine]))
            except (RunError, OSError, UnreadableImage) as error:
                for p in point[mine].tolist():
                    self.unread.setdefault(p, str(error))

    def _exact(self, point: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
        ssd = exact_ssd(self._index, self._points, point, rows, self._near.cut, self._threads)
        return ssd.astype(np.int64)

    def _keep(self, point: NDArray[np.int64], rows: NDArray[np.int64], ssd: NDArray[np.int64]) -> None:
        for p, row, value in zip(point.tolist(), rows.tolist(), ssd.tolist(), strict=True):
            best = self.ssd[p]
            if value < best or (value == best and (self.rows[p] == NONE or row < self.rows[p])):
                self.rows[p], self.ssd[p] = row, value
                self.ssd_max[p] = value * self._near.tiles
