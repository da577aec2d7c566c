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
#: Pairs of images compared at once; bounds the memory for the distances.
_BLOCK = 1 << 22


@dataclasses.dataclass(frozen=True)
class Match:
    """One finding's nearest training image.

    ``l2`` and ``tiled_l2`` in [0, 1] are those of the medoid to training image ``index``, the nearest in the chosen
    metric. ``copies`` counts the finding's members within delta of it; ``eidetic`` the training images within delta of
    it, itself included: the k of (k, l, delta)-eidetic memorization. ``neighbors`` are the nearest in l2, with distance.
    """

    index: int
    l2: float
    tiled_l2: float
    extracted: bool
    copies: int
    eidetic: int
    neighbors: tuple[tuple[int, float], ...]


def match_findings(
    medoids: NDArray[np.uint8],
    members: Sequence[NDArray[np.uint8]],
    training: NDArray[np.uint8],
    *,
    delta: float = DEFAULT_THRESHOLD,
    metric: Metric = "l2",
    grid: tuple[int, int] = (4, 4),
    neighbors: int = 5,
    threads: int | None = None,
) -> list[Match]:
    """Each finding's nearest training image, by exact brute force; extracted if its distance is at most ``delta``.

    ``medoids`` (F, H, W, C), ``members`` F arrays (size, H, W, C), ``training`` (N, H, W, C), all uint8.

    Source: Carlini et al. 2023, section 4.1: (l2, delta)-extraction, delta = 0.15. ``metric`` "tiled_l2" is the stricter
    choice for small pictures on flat backgrounds, of which many lie within 0.15 of each other in plain l2.
    """
    if metric not in ("l2", "tiled_l2"):
        raise ArgumentValueError(f"metric must be 'l2' or 'tiled_l2', got {metric!r}")
    if len(medoids) == 0:
        return []
    if medoids.shape[1:] != training.shape[1:]:
        raise ArgumentValueError(
            f"training must hold images of the generations' shape {medoids.shape[1:]}, got {training.shape[1:]}; "
            "resize the training set beforehand, with the method that made the model's training images"
        )
    k = min(neighbors, len(training))
    near = knn(medoids, training, k, threads=threads)
    pixels = int(np.prod(medoids.shape[1:]))
    cut = (1, 1) if metric == "l2" else grid
    tile_bytes = pixels // (cut[0] * cut[1])
    limit = Threshold(delta).ssd_max(tile_bytes)

    result = []
    for f, medoid in enumerate(medoids):
        ssd = _ssd(medoid[None], training, cut, threads)[0]
        index = int(ssd.argmin())
        chosen = training[index][None]
        copies = int((_ssd(chosen, members[f], cut, threads)[0] <= limit).sum())
        eidetic = int((_ssd(chosen, training, cut, threads)[0] <= limit).sum())
        pair = {
            name: _distance(int(_ssd(medoid[None], chosen, g, threads)[0, 0]), pixels // (g[0] * g[1]))
            for name, g in (("l2", (1, 1)), ("tiled_l2", grid))
        }
        listed = tuple((int(i), float(d)) for i, d in zip(near.indices[f], near.distances[f], strict=True))
        extracted = int(ssd[index]) <= limit
        result.append(Match(index, pair["l2"], pair["tiled_l2"], extracted, copies, eidetic, listed))
    return result


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
