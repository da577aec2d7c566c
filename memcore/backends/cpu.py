"""The native core, with the interface of the oracle (``reference``) and threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from memcore import _core
from memcore.arrays import allocate, ssd_dtype
from memcore.errors import ArgumentValueError
from memcore.types import Clique

#: The block sums of a growing set of images, from which bounds of their distances follow.
Features = _core.Features
_ANSWER = "the distances of all pairs: compare fewer images at a time, or ask for tiled_l2_graph, which keeps edges alone"
CliqueTuple = tuple[list[int], int, int, bool, int]


def tiled_l2_ssd(
    images: NDArray[np.uint8],
    other: NDArray[np.uint8] | None,
    tile: tuple[int, int],
    threads: int,
    out: NDArray[Any] | None = None,
) -> NDArray[np.unsignedinteger[Any]]:
    """Return the ssd (B, N, M) of images (B, N, H, W, C) and (B, M, H, W, C): uint32, or uint64 for large tiles."""
    if out is None:
        k = tile[0] * tile[1] * images.shape[-1]
        m = images.shape[1] if other is None else other.shape[1]
        out = allocate((images.shape[0], images.shape[1], m), ssd_dtype(k), _ANSWER)
    _core.tiled_l2_ssd(images, other, tile[0], tile[1], out, threads)
    return out


def tiled_l2_float(
    images: NDArray[Any], other: NDArray[Any] | None, tile: tuple[int, int], threads: int, bfloat16: bool
) -> NDArray[np.float32]:
    """Return the distances (B, N, M) float32 of float images."""
    m = images.shape[1] if other is None else other.shape[1]
    out = allocate((images.shape[0], images.shape[1], m), np.float32, _ANSWER)
    _core.tiled_l2_float(images, other, tile[0], tile[1], out, threads, bfloat16=bfloat16)
    return out


def tiled_l2_graph(
    images: NDArray[np.uint8],
    tile: tuple[int, int],
    ssd_max: int,
    threads: int,
    min_clique: int,
    features: Features | None = None,
    since: int = 0,
    sums: bool = True,
) -> tuple[NDArray[np.int32], NDArray[np.unsignedinteger[Any]], Mapping[str, float | int]]:
    """Return edges, ssd and statistics of images (N, H, W, C), of pairs with j >= ``since`` only.

    ``features`` are those of all images, if they exist. Without ``sums`` the ssd are all 0.
    """
    edges, ssd, stats = _core.tiled_l2_graph(
        images, tile[0], tile[1], ssd_max, threads, min_clique, features, since, sums
    )
    return edges, ssd, cast("Mapping[str, float | int]", stats)


def knn(
    queries: NDArray[np.uint8], corpus: NDArray[np.uint8], k: int, threads: int
) -> tuple[NDArray[np.unsignedinteger[Any]], NDArray[np.int64]]:
    """Return ssd (Q, k) and indices (Q, k) of queries (Q, D) and a corpus (N, D)."""
    return _core.knn(queries, corpus, k, threads)


def knn_extend(
    queries: NDArray[np.uint8],
    part: NDArray[np.uint8],
    ssd: NDArray[np.unsignedinteger[Any]],
    indices: NDArray[np.int64],
    have: int,
    rows: int,
    threads: int,
) -> int:
    """Search the next part of a corpus, which follows ``rows`` rows.

    Updates ssd and indices (Q, k) in place, of which ``have`` places are filled, and returns how many are filled now.
    """
    return _core.knn_extend(queries, part, ssd, indices, have, rows, threads)


def max_clique(n: int, edges: NDArray[np.int32], node_limit: int) -> Clique:
    """Return the largest clique of a graph's edges."""
    try:
        found = _core.max_clique_as(Clique, n, edges, node_limit)
        if found is None:  # not in order in memory, or not where its numbers may begin
            found = _core.max_clique_as(Clique, n, np.array(edges, order="C", subok=False), node_limit)
    except ValueError as error:
        raise ArgumentValueError(str(error)) from None
    if found is None:
        raise ArgumentValueError(f"edges must be int32 of shape (E, 2), got {edges.dtype} of {edges.shape}")
    return found


def max_clique_adjacency(adjacency: NDArray[np.bool_], node_limit: int) -> CliqueTuple:
    """Return the largest clique of a symmetric (n, n) matrix."""
    return _core.max_clique_adjacency(np.ascontiguousarray(adjacency), node_limit)


def find_cliques(
    n: int, edges: NDArray[np.int32], min_size: int, node_limit: int
) -> tuple[list[CliqueTuple], int]:
    """Return vertex-disjoint cliques, largest first, and the most members that one of the remaining vertices may have."""
    try:
        return _core.find_cliques(n, np.ascontiguousarray(edges), min_size, node_limit)
    except ValueError as error:
        raise ArgumentValueError(str(error)) from None


def max_cliques(
    sizes: Sequence[int], edges: Sequence[NDArray[np.int32]], min_size: int, node_limit: int, threads: int
) -> list[CliqueTuple]:
    """Return the largest clique of each of many graphs of ``sizes`` vertices, solved in parallel."""
    offsets = np.zeros(len(edges) + 1, dtype=np.int64)
    np.cumsum([len(e) for e in edges], out=offsets[1:])
    together = np.concatenate([np.empty((0, 2), np.int32), *edges])
    try:
        return _core.max_cliques(np.array(sizes, np.int32), offsets, together, node_limit, threads, min_size)
    except ValueError as error:
        raise ArgumentValueError(str(error)) from None


def first_outside_unit_interval(images: NDArray[Any], bfloat16: bool) -> int:
    """Return the flat index of the first NaN or value outside [0, 1], or -1."""
    return _core.check_unit_interval(images, bfloat16=bfloat16)
