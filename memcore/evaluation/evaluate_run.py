"""Evaluate a run: compare its findings with planted truth, with its matches, or with annotations."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import cast

from memcore.errors import ConfigError, RunError
from memcore.evaluation.labels import as_truth, from_annotations, from_matches
from memcore.evaluation.result import Evaluation
from memcore.evaluation.score import evaluate
from memcore.evaluation.sweep import make_grid, sweep
from memcore.evaluation.truth import Expected, check_truth, read_truth_file
from memcore.runs import layout
from memcore.runs.annotations import ANNOTATORS, Annotations
from memcore.runs.derived import match_digest, read_match
from memcore.runs.folder import RunFolder
from memcore.runs.freshness import stale_annotations
from memcore.runs.rows import MadeFrom, MatchRow
from memcore.storage.digests import seal
from memcore.system.atomic_files import write_output

_SCORED = ("prompt_id", "prompt", "size", "generated", "mean_distance")


def evaluate_run(run: Path, truth: Path | None = None, *, against: str = "truth") -> Evaluation:
    """Write evaluation.json and return it: precision and recall against planted ``truth``, "matches" or "annotations".

    With ``edges_up_to`` in the run's configuration, other thresholds and clique sizes are evaluated too.
    """
    folder = RunFolder.open(run)
    folder.require_complete("evaluate")
    made_from: MadeFrom = {"run": folder.digest, "findings": folder.findings_digest()}
    matches = None
    if against != "annotations":
        matches = folder.matches()
        made_from["matches"] = match_digest(folder.storage, read_match(folder.storage))
    if against == "truth":
        if truth is None:
            raise ConfigError(
                "truth is missing: a truth.json, or evaluate against 'matches' or 'annotations'"
            )
        content, made_from["truth"] = read_truth_file(truth)
        entries = check_truth(content, folder.prompts)
        expected = [entry["expected"] for entry in entries]
        result = evaluate(folder.iter_findings(_SCORED), matches, entries)
    else:
        expected = _expected(folder, against, matches, made_from)
        result = evaluate(folder.iter_findings(_SCORED), None, as_truth(expected))
        result["against"] = against
        for stage in result[
            "stages"
        ].values():  # true by construction: only findings were matched, or shown to people
            stage["recall"] = {"value": None, "low": 0.0, "high": 1.0}
    config = folder.config
    if config.edges_up_to:
        early = config.budget == "sequential"
        # a prompt that stopped when its clique was complete has no evidence about larger cliques
        largest = config.min_clique if early else None
        thresholds, sizes = make_grid(config.edges_up_to, config.threshold, config.min_clique, largest)
        swept = folder.iter_findings(("prompt_id", "generated", "tile_bytes", "pairs"))
        result["sweep"] = sweep(
            swept, expected, thresholds, sizes, ceiling=config.edges_up_to, node_limit=config.node_limit
        )
        result["sweep"]["stopped_early"] = early
    result["made_from"] = made_from
    sealed = seal(result)
    write_output(folder.path / layout.EVALUATION, json.dumps(sealed, indent=1).encode())
    return cast(Evaluation, sealed)


def _expected(
    folder: RunFolder, against: str, matches: list[MatchRow] | None, made_from: MadeFrom
) -> list[Expected]:
    """Return what the run's matches or annotations say of each prompt; ``made_from`` gets the digest of the latter."""
    rows = folder.iter_findings(("prompt_id",))
    if against == "matches":
        if matches is None:
            raise RunError(f"{folder.path} was not matched: give memcore match first")
        return from_matches(rows, matches)
    if against != "annotations":
        raise ConfigError(f"against must be truth, matches or annotations, got {against!r}")
    with Annotations.open(folder.path, folder.digest) as annotations:
        if stale := stale_annotations(annotations, folder.state()):
            raise RunError(f"{folder.path}/{stale.text}")
        made_from["annotations"] = annotations.head
        items = {item.item: item.prompt_id for item in annotations.items()}
        said = [(items[i], label) for a in ANNOTATORS for i, label in annotations.labels(a).items()]
    expected = from_annotations(rows, said)
    if all(e is None for e in expected):
        given = f"none of the {len(said)} labels decides" if said else "nobody has labelled"
        raise RunError(
            f"{folder.path}: {given} a single prompt, so that nothing can be evaluated: "
            f"memcore annotate {shlex.quote(str(folder.path))} serves the page on which two people say copy or no"
        )
    return expected
