"""Evaluate other thresholds and clique sizes from the pairs that a run stored: no image is made or read again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from memcore.clique import max_clique
from memcore.distance import ssd_to_distance
from memcore.errors import ArgumentValueError
from memcore.evaluation.result import BestCell, RankedPrompt, Sweep, SweepCell
from memcore.evaluation.score import count_ranked
from memcore.evaluation.truth import Expected
from memcore.graphs.findings import describe
from memcore.runs.rows import FindingRow
from memcore.types import DEFAULT_NODE_LIMIT, Graph

#: Steps of the grid up to the run's ceiling, and the clique sizes; the run's own values are added.
STEPS = 12
SIZES = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20)


def make_grid(
    ceiling: float, threshold: float, min_clique: int, largest: int | None
) -> tuple[list[float], list[int]]:
    """Return thresholds and clique sizes to try; sizes above ``largest`` are left out.

    >>> make_grid(0.24, 0.15, 10, 10)[1]
    [2, 3, 4, 5, 6, 8, 10]
    """
    steps = {round(ceiling * k / STEPS, 6) for k in range(1, STEPS + 1)} | {threshold}
    sizes = {size for size in SIZES if largest is None or size <= largest} | {min_clique}
    return sorted(t for t in steps if t <= ceiling), sorted(sizes)


def sweep(
    findings: Iterable[FindingRow],
    expected: Iterable[Expected],
    thresholds: Sequence[float],
    sizes: Sequence[int],
    *,
    ceiling: float,
    node_limit: int = DEFAULT_NODE_LIMIT,
) -> Sweep:
    """Return the counts of each threshold and clique size.

    These are right, wrong and missed prompts, precision and recall with intervals, average precision, and the recall down
    the ranking before the first wrong prompt. ``findings`` are a run's rows with their pairs up to ``ceiling``,
    ``expected`` one entry a row; both are read once, and one row's pairs are held at a time. A prompt is reported if its
    largest clique is at least of that size, and ranked by that clique's mean distance. ``best`` is the cell with the
    largest recall at zero false positives, ties by the smaller threshold and the larger size.

    Source: Carlini et al. 2023, section 4.2: thresholds and clique sizes are choices; this shows what they decide.
    """
    if any(t > ceiling for t in thresholds):
        raise ArgumentValueError(f"thresholds must be at most ceiling={ceiling:g}, got {max(thresholds):g}")
    shown = [
        _Prompt(int(row["prompt_id"]), e, [_largest(graph, t, node_limit) for t in thresholds])
        for row, e in zip(findings, expected, strict=True)
        # a prompt that must not be found and has no pair is right in every cell: it is not kept
        if e is not None and ((graph := _graph(row, ceiling)) is not None or e)
    ]
    cells: list[SweepCell] = []
    for column, threshold in enumerate(thresholds):
        for size in sizes:
            prompts = [p.at(column, size) for p in shown]
            cells.append({"threshold": threshold, "min_clique": size, **count_ranked(prompts)})
    best = max(cells, key=lambda c: (c["recall_at_zero_fp"], -c["threshold"], c["min_clique"]), default=None)
    chosen: BestCell | None = None
    if best is not None:
        chosen = {
            "threshold": best["threshold"],
            "min_clique": best["min_clique"],
            "recall_at_zero_fp": best["recall_at_zero_fp"],
        }
    return {
        "ceiling": ceiling,
        "thresholds": list(thresholds),
        "sizes": list(sizes),
        "cells": cells,
        "best": chosen,
    }


class _Prompt(NamedTuple):
    """A prompt and, for each threshold, the size and the mean distance of its largest clique."""

    prompt_id: int
    expected: bool
    largest: list[tuple[int, float | None]]

    def at(self, column: int, size: int) -> RankedPrompt:
        """Return the prompt as it is scored at a threshold and a smallest clique."""
        found, mean = self.largest[column]
        return {
            "prompt_id": self.prompt_id,
            "expected": self.expected,
            "right_image": True,
            "mean_distance": mean if found >= size else None,
        }


def _graph(row: FindingRow, ceiling: float) -> Graph | None:
    """Return the stored pairs as a graph at the ceiling; None where there are none."""
    pairs = row["pairs"] or []
    if not pairs:
        return None
    edges = np.array([(p["i"], p["j"]) for p in pairs], dtype=np.int32)
    ssd = np.array([p["ssd"] for p in pairs], dtype=np.uint64)
    tile_bytes = row["tile_bytes"]
    assert tile_bytes is not None  # written with the pairs
    return Graph(int(row["generated"]), edges, ssd, ssd_to_distance(ssd, tile_bytes), ceiling, tile_bytes)


def _largest(graph: Graph | None, threshold: float, node_limit: int) -> tuple[int, float | None]:
    """Return size and mean distance of the largest clique at a threshold; one image is a clique of one."""
    part = graph.within(threshold) if graph is not None else None
    if part is None or not len(part):
        return 1, None
    clique = max_clique(part, node_limit=node_limit)
    return len(clique), describe(part, clique).mean_distance
