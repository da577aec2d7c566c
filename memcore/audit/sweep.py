"""Other thresholds and clique sizes, from the pairs that a run stored: no image is made or read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from memcore.audit.evaluate import score
from memcore.audit.findings import describe
from memcore.clique import max_clique
from memcore.distance import ssd_to_distance
from memcore.errors import ArgumentValueError
from memcore.types import DEFAULT_NODE_LIMIT, Graph

#: Steps of the grid up to the run's ceiling, and the clique sizes; the run's own values are added.
STEPS = 12
SIZES = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20)


def grid_of(
    ceiling: float, threshold: float, min_clique: int, largest: int | None
) -> tuple[list[float], list[int]]:
    """Thresholds and clique sizes to try; sizes above ``largest`` are left out.

    >>> grid_of(0.24, 0.15, 10, 10)[1]
    [2, 3, 4, 5, 6, 8, 10]
    """
    steps = {round(ceiling * k / STEPS, 6) for k in range(1, STEPS + 1)} | {threshold}
    sizes = {size for size in SIZES if largest is None or size <= largest} | {min_clique}
    return sorted(t for t in steps if t <= ceiling), sorted(sizes)


def sweep(
    findings: Sequence[Mapping[str, Any]],
    expected: Sequence[bool | None],
    thresholds: Sequence[float],
    sizes: Sequence[int],
    *,
    ceiling: float,
    node_limit: int = DEFAULT_NODE_LIMIT,
) -> dict[str, Any]:
    """For each threshold and clique size: right, wrong and missed prompts, precision, recall with intervals, average
    precision, and the recall down the ranking before the first wrong prompt.

    ``findings`` are a run's rows with their pairs up to ``ceiling``, ``expected`` one entry a row. A prompt is reported if
    its largest clique has at least so many members, and ranked by that clique's mean distance. ``best`` is the cell with the
    largest recall at zero false positives, ties by the smaller threshold and the larger size.

    Source: Carlini et al. 2023, section 4.2: thresholds and clique sizes are choices; this shows what they decide.
    """
    if any(t > ceiling for t in thresholds):
        raise ArgumentValueError(f"thresholds must be at most ceiling={ceiling:g}, got {max(thresholds):g}")
    counted = [(row, e) for row, e in zip(findings, expected, strict=True) if e is not None]
    graphs = [_graph(row, ceiling) for row, _ in counted]
    cells = []
    for threshold in thresholds:
        cliques = [_largest(graph, threshold, node_limit) for graph in graphs]
        for size in sizes:
            prompts = [
                {
                    "prompt_id": int(row["prompt_id"]),
                    "expected": e,
                    "right_image": True,
                    "mean_distance": mean if found >= size else None,
                }
                for (row, e), (found, mean) in zip(counted, cliques, strict=True)
            ]
            stage = score(prompts, [p["mean_distance"] is not None for p in prompts])
            stage.pop("curve")
            cells.append({"threshold": threshold, "min_clique": size, **stage})
    best = max(cells, key=lambda c: (c["recall_at_zero_fp"], -c["threshold"], c["min_clique"]), default=None)
    chosen = None if best is None else {k: best[k] for k in ("threshold", "min_clique", "recall_at_zero_fp")}
    return {
        "ceiling": ceiling,
        "thresholds": list(thresholds),
        "sizes": list(sizes),
        "cells": cells,
        "best": chosen,
    }


def _graph(row: Mapping[str, Any], ceiling: float) -> Graph | None:
    """The stored pairs as a graph at the ceiling; None where there are none."""
    pairs = row["pairs"] or []
    if not pairs:
        return None
    edges = np.array([(p["i"], p["j"]) for p in pairs], dtype=np.int32)
    ssd = np.array([p["ssd"] for p in pairs], dtype=np.uint64)
    tile_bytes = int(row["tile_bytes"])
    return Graph(int(row["generated"]), edges, ssd, ssd_to_distance(ssd, tile_bytes), ceiling, tile_bytes)


def _largest(graph: Graph | None, threshold: float, node_limit: int) -> tuple[int, float | None]:
    """Size and mean distance of the largest clique at a threshold; one image is a clique of one."""
    part = graph.within(threshold) if graph is not None else None
    if part is None or not len(part):
        return 1, None
    clique = max_clique(part, node_limit=node_limit)
    return len(clique), describe(part, clique).mean_distance
