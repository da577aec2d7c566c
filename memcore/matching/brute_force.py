"""Compare findings with a training set that fits into memory: which training image was copied, and how closely."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from memcore.distance import pairwise_tiled_l2, ssd_to_distance
from memcore.errors import ArgumentValueError
from memcore.knn import knn
from memcore.matching.adaptive import ADAPTIVE_NEIGHBORS, adaptive_distance
from memcore.matching.copies import count_within
from memcore.matching.metric import Criterion, Grid, MetricName, check_delta, find_metric
from memcore.matching.result import Closest, Match
from memcore.types import DEFAULT_THRESHOLD

#: Pairs of images compared at once; bounds the memory for the distances.
_BLOCK = 1 << 22


class Members(Protocol):
    """The images of each finding's members, (size, H, W, C) uint8: a list, or what reads them on demand."""

    def __getitem__(self, finding: int, /) -> NDArray[np.uint8]:
        """Return the members of one finding."""


def match_findings(
    medoids: NDArray[np.uint8],
    members: Members,
    training: NDArray[np.uint8],
    *,
    delta: float = DEFAULT_THRESHOLD,
    metric: MetricName = "l2",
    grid: Grid = (4, 4),
    neighbors: int = 5,
    adaptive: bool = False,
    threads: int | None = None,
    copies: NDArray[np.int64] | None = None,
) -> list[Match]:
    """Return each finding's nearest training image, by exact brute force; extracted if it is at most ``delta`` away.

    ``medoids`` (F, H, W, C), ``members`` F arrays (size, H, W, C), ``training`` (N, H, W, C), all uint8. For training
    sets that are too large for this, ``memcore.index.match_index`` gives the same answer.

    ``copies`` says how often each of them is in the training set, once by default: for ``Match.eidetic``.

    Source: Carlini et al. 2023, section 4.1: (l2, delta)-extraction, delta = 0.15. ``metric`` "tiled_l2" is the stricter
    choice for small pictures on flat backgrounds, of which many lie within 0.15 of each other in plain l2.
    """
    find_metric(metric)
    check_delta(delta)
    if len(medoids) == 0:
        return []
    if medoids.shape[1:] != training.shape[1:]:
        raise ArgumentValueError(
            f"training must hold images of the generations' shape {medoids.shape[1:]}, got {training.shape[1:]}; "
            "resize the training set beforehand, with the method that made the model's training images, or make an "
            "index with a resize (memcore index)"
        )
    height, width, channels = medoids.shape[1:]
    near_enough = Criterion.of(metric, delta, (height, width, channels), grid)
    cut, limit = near_enough.cut, near_enough.limit
    k = min(max(neighbors, ADAPTIVE_NEIGHBORS if adaptive else 1), len(training))
    near = knn(medoids, training, k, threads=threads)

    result = []
    for f, medoid in enumerate(medoids):
        ssd = _ssd(medoid[None], training, cut, threads)[0]
        extracted = int(ssd.min()) <= limit
        index = int(ssd.argmin()) if extracted else int(near.indices[f, 0])
        chosen = training[index][None]
        of_members = _ssd(members[f], training, cut, threads)
        eidetic = count_within(_ssd(chosen, training, cut, threads)[0] <= limit, copies)
        l2, tiled_l2 = (
            float(ssd_to_distance(_ssd(medoid[None], chosen, g, threads), medoid.size // (g[0] * g[1]))[0, 0])
            for g in ((1, 1), grid)
        )
        listed = tuple((int(i), float(d)) for i, d in zip(near.indices[f], near.distances[f], strict=True))
        result.append(
            Match(
                index,
                l2,
                tiled_l2,
                extracted,
                int((of_members[:, index] <= limit).sum()),
                eidetic,
                listed[: min(neighbors, k)],
                adaptive_distance(l2, near.distances[f]) if adaptive else None,
                int((of_members.min(axis=1) <= limit).sum()),
                _closest(of_members, near_enough),
            )
        )
    return result


def _closest(ssd: NDArray[np.unsignedinteger], near_enough: Criterion) -> Closest | None:
    """Return the smallest of (members, training images) ssd within delta, ties by training image, then member."""
    least = int(ssd.min())
    if least > near_enough.limit:
        return None
    index, member = (int(v) for v in np.argwhere(least == ssd.T)[0])
    return Closest(member, index, near_enough.distance(least))


def _ssd(
    left: NDArray[np.uint8], right: NDArray[np.uint8], cut: Grid, threads: int | None
) -> NDArray[np.unsignedinteger]:
    """Return the (len(left), len(right)) ssd of the largest tile; ``right``, maybe a memory map, is read in blocks."""
    step = max(1, _BLOCK // max(1, len(left)))
    parts = [
        pairwise_tiled_l2(left, np.asarray(right[s : s + step]), grid=cut, output="ssd", threads=threads)
        for s in range(0, len(right), step)
    ]
    return np.concatenate(parts, axis=1)
