"""The oracle: NumPy in int64, written to be read. Every other backend must equal it, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.arrays import ssd_dtype


def tiles(images: NDArray[Any], tile: tuple[int, int]) -> NDArray[Any]:
    """Return the tiles (N, T, K) of images (N, H, W, C), row by row, each flattened."""
    n, h, w, c = images.shape
    th, tw = tile
    cut = images.reshape(n, h // th, th, w // tw, tw, c).transpose(0, 1, 3, 2, 4, 5)
    return cut.reshape(n, (h // th) * (w // tw), th * tw * c)


def tiled_l2_ssd(
    images: NDArray[np.uint8], other: NDArray[np.uint8] | None, tile: tuple[int, int]
) -> NDArray[np.unsignedinteger[Any]]:
    """Return (B, N, M), the largest tile's sum of squared differences of images (B, N, H, W, C), (B, M, H, W, C)."""
    other = images if other is None else other
    b, n, m = images.shape[0], images.shape[1], other.shape[1]
    k = tile[0] * tile[1] * images.shape[-1]
    out = np.zeros((b, n, m), dtype=ssd_dtype(k))
    for batch in range(b):
        left = tiles(images[batch], tile).astype(np.int64)
        right = tiles(other[batch], tile).astype(np.int64)
        for i in range(n):
            out[batch, i] = ((left[i] - right) ** 2).sum(axis=-1).max(axis=-1)
    return out


def tiled_l2_float(
    images: NDArray[Any], other: NDArray[Any] | None, tile: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the distances (B, N, M) of float images in [0, 1] in float64, with which float32 kernels are compared."""
    other = images if other is None else other
    b, n, m = images.shape[0], images.shape[1], other.shape[1]
    out = np.zeros((b, n, m), dtype=np.float64)
    for batch in range(b):
        left = tiles(images[batch], tile).astype(np.float64)
        right = tiles(other[batch], tile).astype(np.float64)
        for i in range(n):
            out[batch, i] = np.sqrt(((left[i] - right) ** 2).mean(axis=-1).max(axis=-1))
    return out


def tiled_l2_graph(
    images: NDArray[np.uint8], tile: tuple[int, int], ssd_max: int
) -> tuple[NDArray[np.int32], NDArray[np.unsignedinteger[Any]]]:
    """Return edges (E, 2) with i < j, sorted, and their ssd, of images (N, H, W, C)."""
    ssd = tiled_l2_ssd(images[None], None, tile)[0]
    i, j = np.nonzero(np.triu(ssd <= ssd_max, 1))
    return np.stack([i, j], axis=1).astype(np.int32), ssd[i, j]


def knn(
    queries: NDArray[np.uint8], corpus: NDArray[np.uint8], k: int
) -> tuple[NDArray[np.unsignedinteger[Any]], NDArray[np.int64]]:
    """Return ssd (Q, k) and indices (Q, k), ascending by (ssd, index), of queries (Q, D) and a corpus (N, D)."""
    ssd = np.empty((len(queries), k), dtype=ssd_dtype(queries.shape[1]))
    indices = np.empty((len(queries), k), dtype=np.int64)
    wide = corpus.astype(np.int64)
    for q, query in enumerate(queries.astype(np.int64)):
        all_ssd = ((wide - query) ** 2).sum(axis=1)
        indices[q] = np.argsort(all_ssd, kind="stable")[:k]
        ssd[q] = all_ssd[indices[q]]
    return ssd, indices


def max_clique(adjacency: NDArray[np.bool_]) -> tuple[int, ...]:
    """Return the lexicographically smallest maximum clique by enumeration, for small graphs only.

    Cliques grow in ascending order of their vertices, so they appear in lexicographic order: the first that reaches a
    size is the smallest of that size.
    """
    neighbors = [{int(v) for v in np.nonzero(row)[0]} - {u} for u, row in enumerate(adjacency)]
    best: tuple[int, ...] = ()

    def grow(clique: tuple[int, ...], candidates: set[int]) -> None:
        nonlocal best
        if len(clique) > len(best):
            best = clique
        for v in sorted(candidates):
            later = {u for u in candidates if u > v} & neighbors[v]
            if len(clique) + 1 + len(later) > len(best):
                grow((*clique, v), later)

    grow((), set(range(len(adjacency))))
    return best


def find_cliques(adjacency: NDArray[np.bool_], min_size: int) -> list[tuple[int, ...]]:
    """Return vertex-disjoint cliques of at least min_size, each the maximum clique of the vertices that remain."""
    rest = np.array(adjacency, dtype=np.bool_)
    found: list[tuple[int, ...]] = []
    while len(clique := max_clique(rest)) >= min_size:
        found.append(clique)
        rest[list(clique), :] = False
        rest[:, list(clique)] = False
    return found
