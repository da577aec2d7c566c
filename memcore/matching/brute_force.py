"""Findings held against the training set: which training image was copied, and how closely."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from memcore.distance import pairwise_tiled_l2, ssd_to_distance
from memcore.errors import ArgumentValueError
from memcore.knn import knn
from memcore.types import DEFAULT_THRESHOLD, Threshold

Metric = Literal["l2", "tiled_l2"]
#: Carlini et al. 2023, section 5.1: the mean over the n = 50 nearest training images, and alpha = 0.5.
ADAPTIVE_NEIGHBORS = 50
ADAPTIVE_ALPHA = 0.5
#: Pairs of images compared at once; bounds the memory for the distances.
_BLOCK = 1 << 22


@dataclasses.dataclass(frozen=True)
class Closest:
    """The member of a finding that is nearest to any training image: its position among the members, the training image's
    index, and the chosen distance of the two. Ties: the smaller index, then the smaller position.
    """

    member: int
    index: int
    distance: float


@dataclasses.dataclass(frozen=True)
class Match:
    """One finding's nearest training image.

    ``index`` is the training image nearest to the medoid in the chosen metric, if that is within delta
    (``extracted``), and else the nearest in l2. ``l2`` and ``tiled_l2`` in [0, 1] are those of the medoid to it.
    ``copies`` counts the finding's members within delta of it; ``eidetic`` the training images within delta of it, itself
    included: the k of (k, l, delta)-eidetic memorization. ``neighbors`` are the nearest in l2, with distance.
    ``adaptive`` is the adaptive distance to it, where that was asked for. ``members_extracted`` counts members within
    delta of any training image, and ``closest`` is the closest such pair, or None.
    """

    index: int
    l2: float
    tiled_l2: float
    extracted: bool
    copies: int
    eidetic: int
    neighbors: tuple[tuple[int, float], ...]
    adaptive: float | None = None
    members_extracted: int = 0
    closest: Closest | None = None


def match_findings(
    medoids: NDArray[np.uint8],
    members: Sequence[NDArray[np.uint8]],
    training: NDArray[np.uint8],
    *,
    delta: float = DEFAULT_THRESHOLD,
    metric: Metric = "l2",
    grid: tuple[int, int] = (4, 4),
    neighbors: int = 5,
    adaptive: bool = False,
    threads: int | None = None,
) -> list[Match]:
    """Each finding's nearest training image, by exact brute force; extracted if its distance is at most ``delta``.

    ``medoids`` (F, H, W, C), ``members`` F arrays (size, H, W, C), ``training`` (N, H, W, C), all uint8. For training
    sets that are too large for this, ``memcore.index.match_index`` gives the same answer.

    Source: Carlini et al. 2023, section 4.1: (l2, delta)-extraction, delta = 0.15. ``metric`` "tiled_l2" is the stricter
    choice for small pictures on flat backgrounds, of which many lie within 0.15 of each other in plain l2.
    """
    check_metric(metric)
    if len(medoids) == 0:
        return []
    if medoids.shape[1:] != training.shape[1:]:
        raise ArgumentValueError(
            f"training must hold images of the generations' shape {medoids.shape[1:]}, got {training.shape[1:]}; "
            "resize the training set beforehand, with the method that made the model's training images, or make an "
            "index with a resize (memcore index)"
        )
    k = min(max(neighbors, ADAPTIVE_NEIGHBORS if adaptive else 1), len(training))
    near = knn(medoids, training, k, threads=threads)
    pixels = int(np.prod(medoids.shape[1:]))
    cut = (1, 1) if metric == "l2" else grid
    tile_bytes = pixels // (cut[0] * cut[1])
    limit = Threshold(delta).ssd_max(tile_bytes)

    result = []
    for f, medoid in enumerate(medoids):
        ssd = _ssd(medoid[None], training, cut, threads)[0]
        extracted = int(ssd.min()) <= limit
        index = int(ssd.argmin()) if extracted else int(near.indices[f, 0])
        chosen = training[index][None]
        of_members = _ssd(members[f], training, cut, threads)
        eidetic = int((_ssd(chosen, training, cut, threads)[0] <= limit).sum())
        pair = {
            name: _distance(int(_ssd(medoid[None], chosen, g, threads)[0, 0]), pixels // (g[0] * g[1]))
            for name, g in (("l2", (1, 1)), ("tiled_l2", grid))
        }
        listed = tuple((int(i), float(d)) for i, d in zip(near.indices[f], near.distances[f], strict=True))
        result.append(
            Match(
                index,
                pair["l2"],
                pair["tiled_l2"],
                extracted,
                int((of_members[:, index] <= limit).sum()),
                eidetic,
                listed[: min(neighbors, k)],
                adaptive_distance(pair["l2"], near.distances[f]) if adaptive else None,
                int((of_members.min(axis=1) <= limit).sum()),
                _closest(of_members, limit, tile_bytes),
            )
        )
    return result


def check_metric(metric: str) -> None:
    """Raises ArgumentValueError unless it is one of ``Metric``."""
    if metric not in ("l2", "tiled_l2"):
        raise ArgumentValueError(f"metric must be 'l2' or 'tiled_l2', got {metric!r}")


def adaptive_distance(l2: float, nearest: NDArray[np.float32]) -> float | None:
    """l2 / (alpha * mean l2 to the nearest training images), alpha = 0.5; None where that mean is 0.

    Source: Carlini et al. 2023, section 5.1, for images so small that a fixed threshold finds too much. A training image
    that stands there many times fills the mean with itself: deduplicate the training set first.
    """
    mean = float(np.mean(nearest[:ADAPTIVE_NEIGHBORS], dtype=np.float64))
    return l2 / (ADAPTIVE_ALPHA * mean) if mean > 0 else None


def _closest(ssd: NDArray[np.unsignedinteger], limit: int, tile_bytes: int) -> Closest | None:
    """Of (members, training images), the smallest ssd, ties by training image, then member."""
    least = int(ssd.min())
    if least > limit:
        return None
    index, member = (int(v) for v in np.argwhere(least == ssd.T)[0])
    return Closest(member, index, _distance(least, tile_bytes))


def _ssd(
    left: NDArray[np.uint8], right: NDArray[np.uint8], grid: tuple[int, int], threads: int | None
) -> NDArray[np.unsignedinteger]:
    """(len(left), len(right)) ssd of the largest tile, ``right`` a block at a time (it may be a memory map)."""
    step = max(1, _BLOCK // max(1, len(left)))
    parts = [
        pairwise_tiled_l2(left, np.asarray(right[s : s + step]), grid=grid, output="ssd", threads=threads)
        for s in range(0, len(right), step)
    ]
    return np.concatenate(parts, axis=1)


def _distance(ssd: int, tile_bytes: int) -> float:
    return float(ssd_to_distance(np.array([ssd], dtype=np.uint64), tile_bytes)[0])
