"""The adaptive distance: for images so small that a fixed threshold of l2 finds too many."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

#: Carlini et al. 2023, section 5.1: the mean over the n = 50 nearest training images, and alpha = 0.5.
ADAPTIVE_NEIGHBORS = 50
ADAPTIVE_ALPHA = 0.5


def adaptive_distance(l2: float, nearest: NDArray[np.float32]) -> float | None:
    """Return l2 / (alpha * mean l2 to the nearest training images), alpha = 0.5; None where that mean is 0.

    Source: Carlini et al. 2023, section 5.1. A training image with many copies dominates the mean: deduplicate the training
    set first.
    """
    value = float(adaptive_distances(np.array([l2]), nearest[None, :ADAPTIVE_NEIGHBORS])[0])
    return None if math.isnan(value) else value


def adaptive_distances(l2: NDArray[np.floating], nearest: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the adaptive distance of many images, (n,); NaN where the mean is 0.

    ``l2`` (n,) are their distances to one training image each, ``nearest`` (n, k) those of which the mean is taken.
    """
    mean = np.mean(nearest, axis=1, dtype=np.float64)
    answer = np.full(len(mean), np.nan)
    np.divide(l2, ADAPTIVE_ALPHA * mean, out=answer, where=mean > 0)
    return answer
