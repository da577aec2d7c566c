"""A prompt's row among a run's findings, and the images of its cliques."""

from __future__ import annotations

from typing import Any

from memcore.audit.in_flight import Prompt, Stages
from memcore.runs.folder import RunFolder
from memcore.runs.rows import CliqueRow, FindingRow, with_scores
from memcore.runs.schema import pairs_array
from memcore.types import Graph, PromptStatus, StopReason


def finish_prompt(folder: RunFolder, stages: Stages, prompt: Prompt) -> FindingRow:
    """The prompt's row; the members of its cliques are written as PNG."""
    with stages.timed("clique"):
        config = folder.config
        edges, found = prompt.outcome(config)
    seeds = prompt.seeds
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
    if folder.config.keep == "findings":
        for finding in found:
            for member in finding.members:
                with stages.timed("write"):
                    folder.write_image(prompt.prompt_id, seeds[member], prompt.graph.pixels(member))
    first = cliques[0] if cliques else None
    row: FindingRow = {
        "prompt_id": prompt.prompt_id,
        "prompt": prompt.prompt,
        "status": _status(prompt, bool(first)),
        "generated": prompt.graph.n,
        "excluded": prompt.graph.excluded,
        "edges": edges,
        "size": found[0].size if found else 0,
        "mean_distance": first["mean_distance"] if first else None,
        "medoid_seed": first["medoid_seed"] if first else None,
        "seeds": first["seeds"] if first else [],
        "proven": first["proven"] if first else True,
        "upper": first["upper"] if first else folder.config.min_clique - 1,
        "cliques": cliques,
        "stop": prompt.stop,
        "tile_bytes": prompt.graph.tile_bytes if folder.config.edges_up_to else None,
        "pairs": _pairs(prompt.graph.graph()) if folder.config.edges_up_to else None,
        "reason": None,
    }
    return with_scores(row, prompt.scores)


def _status(prompt: Prompt, found: bool) -> PromptStatus:
    if prompt.stop == StopReason.SCREENED:
        return PromptStatus.SCREENED
    return PromptStatus.FINDING if found else PromptStatus.NONE


def _pairs(graph: Graph) -> Any:
    """All edges of the widest graph, for other thresholds later."""
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
        "seeds": [],
        "proven": False,
        "upper": 0,
        "cliques": [],
        "stop": None,
        "tile_bytes": None,
        "pairs": None,
        "reason": reason,
    }
    return with_scores(row, {})
