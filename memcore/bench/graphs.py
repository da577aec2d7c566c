"""Make graphs to search for cliques: thresholded graphs of images, random and nearly complete ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import memcore
from memcore.bench import kinds
from memcore.types import Graph

Edges = NDArray[np.int32]


def from_edges(n: int, edges: Edges) -> Graph:
    """Return a graph whose distances are not known."""
    return Graph(n, edges, None, np.zeros(len(edges), np.float32), 0.0, 0)


def of_images(kind: str, n: int, threshold: float, size: int = 64) -> Graph:
    """Return the thresholded graph of ``n`` small images of a kind."""
    graph = memcore.tiled_l2_graph(kinds.images(kind, n, size), threshold, threads=1)
    return from_edges(n, graph.edges)


def random(n: int, density: float, seed: int) -> Graph:
    """Return G(n, p): every pair is an edge with the chance ``density``."""
    return from_edges(n, _edges(np.random.default_rng(seed).random((n, n)) < density))


def nearly_complete(n: int, group: int, missing: float, seed: int) -> Graph:
    """Return a graph with a group of vertices that lacks a share ``missing`` of its edges, and 2 % of the other pairs."""
    dice = np.random.default_rng(seed).random((n, n))
    linked = dice < 0.02
    linked[:group, :group] = dice[:group, :group] >= missing
    return from_edges(n, _edges(linked))


def memorised(n: int, seed: int) -> Graph:
    """Return a graph like a prompt's: a few stray edges and, for every fourth seed, copies of one image.

    A copy is the image with noise of its own level s; the distance of two is sqrt(s_i^2 + s_j^2) within 1 %,
    and up to 0.15 an edge. The best copies are a clique, the worse ones a fringe around it.
    """
    random = np.random.default_rng(seed)
    strays = np.sort(random.integers(n, size=(random.poisson(n / 4), 2)), axis=1)
    parts = [strays[strays[:, 0] != strays[:, 1]]]
    if seed % 4 == 0:
        size = int(random.integers(10, 1 + max(10, n // (2 + seed % 7))))
        group = np.sort(random.permutation(n)[:size])
        i, j = np.triu_indices(size, 1)
        level = random.uniform(0.02, 0.14, size)
        distance = np.hypot(level[i], level[j]) * (1 + 0.01 * random.standard_normal(len(i)))
        near = distance <= 0.15
        parts.append(np.stack([group[i[near]], group[j[near]]], axis=1))
    return from_edges(n, np.unique(np.concatenate(parts), axis=0).astype(np.int32))


def _edges(linked: NDArray[np.bool_]) -> Edges:
    return np.stack(np.nonzero(np.triu(linked, 1)), axis=1).astype(np.int32)
