"""From cliques to findings: mean distance, medoid, rank."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from memcore.clique import find_cliques, max_clique
from memcore.errors import ArgumentValueError
from memcore.types import DEFAULT_MIN_CLIQUE, DEFAULT_NODE_LIMIT, Clique, Finding, Graph


def findings(
    graph: Graph, min_size: int = DEFAULT_MIN_CLIQUE, *, node_limit: int = DEFAULT_NODE_LIMIT
) -> list[Finding]:
    """Return the graph's vertex-disjoint cliques of at least ``min_size``, largest first, each with its medoid and mean.

    Source: Carlini et al. 2023, section 4.2.1: prompts are ranked by the mean distance inside the clique.

    >>> import numpy as np, memcore
    >>> images = np.full((4, 8, 8, 3), 100, dtype=np.uint8)
    >>> images[3] = 255
    >>> from memcore.graphs.findings import findings
    >>> findings(memcore.tiled_l2_graph(images, 0.1), 3)[0].members
    (0, 1, 2)
    """
    return search_findings(graph, min_size, node_limit=node_limit)[0]


def search_findings(graph: Graph, min_size: int, *, node_limit: int) -> tuple[list[Finding], int]:
    """Return the findings, and the most members that a clique beside them can have.

    That is ``min_size`` or more only where the search ended at ``node_limit``: then no finding does not mean that there is
    none.
    """
    cliques = find_cliques(graph, min_size, node_limit=node_limit)
    return [describe(graph, clique) for clique in cliques], cliques.upper


def search_all(
    graph: Graph, min_size: int, *, node_limit: int, largest_limit: int
) -> tuple[list[Finding], int, int]:
    """Return ``search_findings`` and the size of the largest clique that was found, also of one below ``min_size``.

    Without a finding it is searched with at most ``largest_limit`` nodes: it decides nothing.
    """
    found, upper = search_findings(graph, min_size, node_limit=node_limit)
    if found:
        return found, upper, found[0].size
    return found, upper, largest_clique(graph, node_limit=min(node_limit, largest_limit))[0]


def largest_clique(graph: Graph, *, node_limit: int = DEFAULT_NODE_LIMIT) -> tuple[int, int]:
    """Return bounds (lower, upper) of the size of the graph's largest clique.

    Equal where the search was proven within ``node_limit`` nodes. Cheap while edges are few. A generation that is not
    excluded is a clique of one.
    """
    if not len(graph):
        one = min(graph.n - int(graph.stats.get("excluded", 0)), 1)
        return one, one
    clique = max_clique(graph, node_limit=node_limit)
    return clique.lower, clique.upper


def describe(graph: Graph, clique: Clique) -> Finding:
    """Return mean distance and medoid of a clique of ``graph``.

    Every pair of a clique is an edge, so the graph has all its distances. Sums are exactly rounded (fsum), so they
    do not depend on an order, and distances are computed from the integers in float64.
    """
    members = clique.members
    position = {v: p for p, v in enumerate(members)}
    inside = np.isin(graph.edges, members).all(axis=1)
    edges = graph.edges[inside]
    if graph.ssd is None:
        if graph.distances is None:
            raise ArgumentValueError("graph was asked for its edges alone: findings need its distances")
        distances = graph.distances[inside].astype(np.float64)
    else:
        distances = np.sqrt(graph.ssd[inside].astype(np.float64) / (graph.tile_bytes * 255**2))
    to_others: list[list[float]] = [[] for _ in members]
    for (i, j), distance in zip(edges.tolist(), distances.tolist(), strict=True):
        to_others[position[i]].append(distance)
        to_others[position[j]].append(distance)
    sums = [math.fsum(d) for d in to_others]
    medoid = members[min(range(len(members)), key=lambda p: (sums[p], p))]
    mean = math.fsum(distances.tolist()) / len(distances) if len(distances) else 0.0
    return Finding(members, mean, medoid, clique.proven, clique.upper)


def rank(mean_distances: Sequence[float | None], prompt_ids: Sequence[int]) -> list[int]:
    """Return the positions of the prompts that have a finding, by ascending mean distance, ties by prompt id.

    >>> rank([0.1, None, 0.05], [7, 8, 9])
    [2, 0]
    """
    present = [
        (d, p, i) for i, (d, p) in enumerate(zip(mean_distances, prompt_ids, strict=True)) if d is not None
    ]
    return [i for _, _, i in sorted(present)]
