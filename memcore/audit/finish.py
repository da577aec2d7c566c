"""Finish a prompt: make its row of the findings, and write the images of its cliques."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from memcore.audit.context import ShardContext
from memcore.audit.given_images import distances_to
from memcore.audit.in_flight import PromptInFlight, count_near
from memcore.graphs.growing import GraphOutcome
from memcore.runs import layout
from memcore.runs.config import Config
from memcore.runs.rows import CliqueRow, FindingRow, with_scores
from memcore.runs.tables import images_array, pairs_array
from memcore.types import Graph, PromptStatus, StopReason


def finish_prompt(context: ShardContext, prompt: PromptInFlight) -> int:
    """Write the members of the prompt's cliques as PNG, add its row to the shard's record, and return its id."""
    with context.stages.timed("clique"):
        outcome = prompt.graphs.outcome(prompt.prompt_id)
    if context.config.keep == "findings":
        for member in (member for finding in outcome.findings for member in finding.members):
            with context.stages.timed("write"):
                pixels, seed = outcome.pixels(member), prompt.seeds[member]
                prompt.written[seed] = context.folder.write_image(prompt.prompt_id, seed, pixels)
    row = {**_make_row(context.config, prompt, outcome), **_beside_given(context, prompt, outcome)}
    context.record.rows.append(cast(FindingRow, row))
    return prompt.prompt_id


def _beside_given(context: ShardContext, prompt: PromptInFlight, outcome: GraphOutcome) -> dict[str, Any]:
    """Return how many generations are near the given image, and how far the largest clique is from it on average.

    Both are None without a given image. Where a mask hides a part of it from the model, no generation counts as near.
    """
    condition = context.folder.condition(prompt.prompt_id)
    if condition is None or condition.image is None:
        return {"given_near": None, "given_distance": None}
    distance = None
    if outcome.findings:
        members = np.stack([outcome.pixels(member) for member in outcome.findings[0].members])
        distance = float(distances_to(condition.image, members, context.config.grid).mean(dtype=np.float64))
    return {"given_near": count_near(prompt), "given_distance": distance}


def _make_row(config: Config, prompt: PromptInFlight, outcome: GraphOutcome) -> FindingRow:
    """Return the prompt's row: its largest clique, and all of them."""
    seeds, found = prompt.seeds, outcome.findings
    cliques: list[CliqueRow] = [
        {
            "seeds": [seeds[m] for m in f.members],
            "mean_distance": f.mean_distance,
            "medoid_seed": seeds[f.medoid],
            "proven": f.proven,
            "upper": f.upper,
        }
        for f in found
    ]
    # With pairs kept, the graph is always on the host.
    pairs = outcome.pairs if config.edges_up_to else None
    first = cliques[0] if cliques else None
    row: FindingRow = {
        "prompt_id": prompt.prompt_id,
        "prompt": prompt.prompt,
        "status": _status(prompt, bool(first)),
        "generated": outcome.generated,
        "excluded": outcome.excluded,
        "edges": outcome.edges,
        "size": found[0].size if found else 0,
        "mean_distance": first["mean_distance"] if first else None,
        "medoid_seed": first["medoid_seed"] if first else None,
        "medoid_image": layout.image_name(prompt.prompt_id, first["medoid_seed"]) if first else None,
        "seeds": first["seeds"] if first else [],
        "proven": first["proven"] if first else outcome.upper < config.min_clique,
        "upper": first["upper"] if first else max(outcome.upper, config.min_clique - 1),
        "largest": found[0].size if found else outcome.largest,
        "cliques": cliques,
        "stop": prompt.stop,
        "tile_bytes": pairs.tile_bytes if pairs is not None else None,
        "pairs": _pairs(pairs) if pairs is not None else None,
        "reason": None,
        "images": images_array(prompt.written),
        "given_near": None,
        "given_distance": None,
    }
    return with_scores(row, prompt.scores)


def _status(prompt: PromptInFlight, found: bool) -> PromptStatus:
    if prompt.stop == StopReason.SCREENED:
        return PromptStatus.SCREENED
    return PromptStatus.FINDING if found else PromptStatus.NONE


def _pairs(graph: Graph) -> Any:
    """Return all pairs of the graph, for other thresholds later."""
    assert graph.ssd is not None
    return pairs_array(graph.edges, graph.ssd)


def failed_row(prompt_id: int, prompt: str, reason: str) -> FindingRow:
    """Return the row of a prompt that got no image, or none that could be used."""
    row: FindingRow = {
        "prompt_id": prompt_id,
        "prompt": prompt,
        "status": PromptStatus.FAILED,
        "generated": 0,
        "excluded": 0,
        "edges": 0,
        "size": 0,
        "mean_distance": None,
        "medoid_seed": None,
        "medoid_image": None,
        "seeds": [],
        "proven": False,
        "upper": 0,
        "largest": 0,
        "cliques": [],
        "stop": None,
        "tile_bytes": None,
        "pairs": None,
        "reason": reason,
        "images": [],
        "given_near": None,
        "given_distance": None,
    }
    return with_scores(row, {})
