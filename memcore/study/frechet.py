"""The Frechet distance of two sets of images, on any function that gives features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ArgumentValueError


def frechet_distance(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Return |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of two sets of features, (n, d) and (m, d), n and m at least 2.

    The trace of the root is the sum of the roots of the eigenvalues of C1^(1/2) C2 C1^(1/2), which is symmetric: no
    logarithm, no complex root, and covariances of fewer images than features are no special case.

    >>> x = np.random.default_rng(0).normal(size=(50, 3))
    >>> round(frechet_distance(x, x + 2.0), 6)
    12.0

    Raises
    ------
    ArgumentValueError
        The shapes do not fit, or a feature is not finite.
    """
    a, b = (np.asarray(x, np.float64) for x in (first, second))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1:] != b.shape[1:] or min(len(a), len(b)) < 2:
        raise ArgumentValueError(
            f"features must be (n, d) and (m, d) of at least 2 images, got {a.shape}, {b.shape}"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ArgumentValueError("features must be finite")
    mean = a.mean(axis=0) - b.mean(axis=0)
    c1, c2 = (np.cov(x, rowvar=False).reshape(a.shape[1], a.shape[1]) for x in (a, b))
    values, vectors = np.linalg.eigh(c1)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ c2 @ root)
    distance = mean @ mean + np.trace(c1) + np.trace(c2) - 2 * np.sqrt(np.maximum(product, 0.0)).sum()
    return float(max(0.0, distance))
