"""Exact k nearest neighbours of uint8 rows, by brute force."""

from __future__ import annotations

from typing import Any

import numpy as np

from memcore import arrays
from memcore.backends import reference
from memcore.distance import choose_backend, ssd_to_distance
from memcore.errors import ArgumentTypeError, ArgumentValueError
from memcore.types import Backend, Neighbors


def knn(
    queries: Any, corpus: Any, k: int, *, backend: Backend = "auto", threads: int | None = None
) -> Neighbors:
    """The k rows of ``corpus`` nearest to each row of ``queries`` in l2, exactly; ties go to the smaller index.

    Parameters
    ----------
    queries, corpus
        (Q, D) and (N, D) uint8, or images (Q, H, W, C) and (N, H, W, C), which are compared as flat rows, pixel for
        pixel: both must have the same shape, and so the same order of channels. NumPy (memory maps too) or torch, CPU.
    k
        1 <= k <= N.
    backend, threads
        As in ``pairwise_tiled_l2``; "cpu" or "reference".

    Returns
    -------
    Neighbors
        distances (Q, k) float32: l2 = sqrt(ssd / (D * 255^2)) in [0, 1]; indices (Q, k) int64; ssd (Q, k).

    Raises
    ------
    ArgumentTypeError, ArgumentValueError, DeviceError

    Source: Carlini et al. 2023, sections 4.1 (l2) and 5.1 (the n = 50 nearest training images).

    >>> import numpy as np, memcore
    >>> corpus = np.array([[0, 0], [255, 255], [10, 0]], dtype=np.uint8)
    >>> memcore.knn(corpus[:1], corpus, 2).indices
    array([[0, 2]])
    """
    workers = arrays.check_threads(threads)
    left, right = arrays.as_rows(queries, "queries"), arrays.as_rows(corpus, "corpus")
    if left.library != right.library:
        raise ArgumentTypeError(
            f"corpus must be of the library of queries ({left.library}), got {right.library}"
        )
    if tuple(left.source.shape[1:]) != tuple(right.source.shape[1:]):
        raise ArgumentValueError(
            f"corpus must have rows of the shape of queries {tuple(left.source.shape[1:])}, "
            f"got {tuple(right.source.shape[1:])}"
        )
    chosen = choose_backend(backend, left)
    count = arrays.check_count(k, "k", 1)
    n, d = right.pixels.shape
    if count > n:
        raise ArgumentValueError(f"k must be at most the number of rows of corpus, {n}, got {count}")
    if chosen == "reference":
        ssd, indices = reference.knn(left.pixels, right.pixels, count)
    else:
        from memcore.backends import cpu

        ssd, indices = cpu.knn(left.pixels, right.pixels, count, workers)
    return Neighbors(
        left.give_back(ssd_to_distance(ssd, d)), left.give_back(np.asarray(indices)), left.give_back(ssd)
    )
