"""Graphs to search for cliques: thresholded graphs of images, random and nearly complete ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import memcore
from memcore.bench import kinds
from memcore.types import Graph

Edges = NDArray[np.int32]


def from_edges(n: int, edges: Edges) -> Graph:
    """A graph with nothing known of its distances."""
    return Graph(n, edges, None, np.zeros(len(edges), np.float32), 0.0, 0)


def of_images(kind: str, n: int, threshold: float, size: int = 64) -> Graph:
    """The thresholded graph of ``n`` small images of a kind."""
    graph = memcore.tiled_l2_graph(kinds.images(kind, n, size), threshold, threads=1)
    return from_edges(n, graph.edges)


def random(n: int, density: float, seed: int) -> Graph:
    """G(n, p): every pair is an edge with the chance ``density``."""
    return from_edges(n, _edges(np.random.default_rng(seed).random((n, n)) < density))


def nearly_complete(n: int, group: int, missing: float, seed: int) -> Graph:
    """``group`` of ``n`` vertices are connected but for a share ``missing``; 2 % of the other pairs are."""
    dice = np.random.default_rng(seed).random((n, n))
    linked = dice < 0.02
    linked[:group, :group] = dice[:group, :group] >= missing
    return from_edges(n, _edges(linked))


def memorised(n: int, seed: int) -> Graph:
    """Like a prompt's graph: now and then a group of copies, some edges missing, and a few stray edges."""
    random = np.random.default_rng(seed)
    strays = np.sort(random.integers(n, size=(random.poisson(n / 4), 2)), axis=1)
    parts = [strays[strays[:, 0] != strays[:, 1]]]
    if seed % 4 == 0:
        size = int(random.integers(10, 1 + max(10, n // (1 + seed % 7))))
        group = np.sort(random.permutation(n)[:size])
        i, j = np.triu_indices(size, 1)
        kept = random.random(len(i)) < random.choice([1.0, 0.99, 0.9])
        parts.append(np.stack([group[i[kept]], group[j[kept]]], axis=1))
    return from_edges(n, np.unique(np.concatenate(parts), axis=0).astype(np.int32))


def _edges(linked: NDArray[np.bool_]) -> Edges:
    return np.stack(np.nonzero(np.triu(linked, 1)), axis=1).astype(np.int32)
