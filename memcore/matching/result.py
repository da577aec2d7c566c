"""The result of a match, however the training set was searched."""

from __future__ import annotations

import dataclasses
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from memcore.matching.metric import Grid, MetricName

#: Carlini et al. 2023, section 5.1: the mean over the n = 50 nearest training images, and alpha = 0.5.
ADAPTIVE_NEIGHBORS = 50
ADAPTIVE_ALPHA = 0.5


class MatchOptions(TypedDict):
    """The options of both ``match_findings`` and ``match_index``."""

    delta: float
    metric: MetricName
    grid: Grid
    neighbors: int
    adaptive: bool
    threads: int | None


@dataclasses.dataclass(frozen=True)
class Closest:
    """The member of a finding that is nearest to any training image.

    ``member`` is its position among the members, ``index`` the training image, ``distance`` the chosen distance of the
    two. Ties: the smaller index, then the smaller position.
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


def adaptive_distance(l2: float, nearest: NDArray[np.float32]) -> float | None:
    """Return l2 / (alpha * mean l2 to the nearest training images), alpha = 0.5; None where that mean is 0.

    Source: Carlini et al. 2023, section 5.1, for images so small that a fixed threshold finds too many. A training image
    with many copies dominates the mean: deduplicate the training set first.
    """
    mean = float(np.mean(nearest[:ADAPTIVE_NEIGHBORS], dtype=np.float64))
    return l2 / (ADAPTIVE_ALPHA * mean) if mean > 0 else None
