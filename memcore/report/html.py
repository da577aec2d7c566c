"""Reads a run folder and renders the page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from memcore.audit.findings import rank
from memcore.errors import MissingExtraError
from memcore.jobs.config import difference
from memcore.jobs.files import write_atomic
from memcore.jobs.store import RunFolder
from memcore.report import plots
from memcore.report.pictures import Album

#: Findings shown with pictures; the rest are rows of a table.
PICTURED = 200
STRIP = 20
PICTURE_BYTES = 24 << 20
TABLE_ROWS = 5000
PAPER = "https://arxiv.org/abs/2301.13188"


def write_report(run: Path, *, compare: Sequence[Path] = ()) -> Path:
    """Writes RUN/report/index.html and returns its path.

    Works at any stage: without matches it shows candidates, without an evaluation no curve. ``compare`` are other runs
    of the same model, shown as cliques that are (or are not) extractions. The same run gives the same bytes.

    Raises RunError if a folder is no run, MissingExtraError without jinja2.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise MissingExtraError("jinja2", "report", "The report") from None
    folder = RunFolder.open(run)
    album = Album(PICTURE_BYTES)
    environment = Environment(
        loader=PackageLoader("memcore", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html").render(
        css=files("memcore.report").joinpath("page.css").read_text("utf-8"),
        paper=PAPER,
        **_content(folder, album),
        compared=[_compared(RunFolder.open(path), folder, album) for path in compare],
        refused=album.refused,
    )
    target = run / "report" / "index.html"
    write_atomic(target, page.encode())
    return target


def _content(folder: RunFolder, album: Album) -> dict[str, Any]:
    rows = folder.findings()
    matches = folder.matches()
    evaluation = _json(folder.path / "evaluation.json")
    match_info = _json(folder.path / "match.json")
    ranked = _ranked(rows)
    by_prompt = _matches_by_prompt(matches)
    truth = {int(p["prompt_id"]): p for p in evaluation["prompts"]} if evaluation else {}
    findings = [
        _finding(folder, row, number, by_prompt, truth, album if number <= PICTURED else None)
        for number, row in enumerate(ranked, 1)
    ]
    statuses = Counter(str(row["status"]) for row in rows)
    seconds = _seconds(folder)
    extracted = sum(f["extracted"] is True for f in findings)
    return {
        "meta": folder.meta,
        "describe": folder.meta["sampler"]["describe"],
        "config": folder.config.as_dict(),
        "pending": len(folder.pending()),
        "prompts": len(folder.prompts),
        "done": len(rows),
        "generated": sum(int(row["generated"]) for row in rows),
        "candidates": statuses["finding"],
        "failed": [row for row in rows if row["status"] == "failed"][:TABLE_ROWS],
        "matched": match_info,
        "extracted": extracted if matches is not None else None,
        "findings": findings[:PICTURED],
        "others": findings[PICTURED : PICTURED + TABLE_ROWS],
        "left_out": max(0, len(findings) - PICTURED - TABLE_ROWS),
        "evaluation": evaluation,
        "plots": _plots(folder, findings, evaluation),
        "excluded": sum(int(row["excluded"]) for row in rows),
        "quarantine": Counter(str(q["reason"]) for q in folder.quarantine()).most_common(),
        "seconds": seconds,
        "total_seconds": sum(seconds.values()),
        "threshold": folder.config.threshold,
    }


def _ranked(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    order = rank([row["mean_distance"] for row in rows], [int(row["prompt_id"]) for row in rows])
    return [rows[i] for i in order]


def _matches_by_prompt(matches: Sequence[dict[str, Any]] | None) -> dict[int, list[dict[str, Any]]]:
    grouped: dict[int, list[dict[str, Any]]] = {}
    for match in matches or []:
        grouped.setdefault(int(match["prompt_id"]), []).append(match)
    return grouped


def _finding(
    folder: RunFolder,
    row: dict[str, Any],
    number: int,
    matches: dict[int, list[dict[str, Any]]],
    truth: dict[int, dict[str, Any]],
    album: Album | None,
) -> dict[str, Any]:
    """One card: the strongest match of the prompt, the training image, and the first copies."""
    prompt_id = int(row["prompt_id"])
    own = sorted(matches.get(prompt_id, []), key=lambda m: (not m["extracted"], int(m["clique"])))
    match = own[0] if own else None
    clique = row["cliques"][int(match["clique"]) if match else 0]
    seeds = [int(s) for s in clique["seeds"]]
    medoid = int(clique["medoid_seed"])
    shown = [medoid, *[s for s in seeds if s != medoid]][:STRIP]
    planted = truth.get(prompt_id)
    return {
        "rank": number,
        "prompt_id": prompt_id,
        "prompt": str(row["prompt"]),
        "size": len(seeds),
        "generated": int(row["generated"]),
        "cliques": len(row["cliques"]),
        "mean_distance": float(clique["mean_distance"]),
        "proven": bool(clique["proven"]),
        "upper": int(clique["upper"]),
        "seeds": seeds,
        "medoid": medoid,
        "extracted": bool(match["extracted"]) if match else None,
        "match": match,
        "planted": planted,
        "copies": [(seed, album.uri(folder.image_path(prompt_id, seed))) for seed in shown] if album else [],
        "training": album.uri(_training_path(folder, match)) if album and match else None,
    }


def _training_path(folder: RunFolder, match: dict[str, Any]) -> Path:
    return folder.path / "training" / f"{int(match['training_index']):08d}.png"


def _plots(
    folder: RunFolder, findings: Sequence[dict[str, Any]], evaluation: dict[str, Any] | None
) -> list[tuple[str, str]]:
    """(caption, SVG) of what can be drawn at this stage."""
    drawn = []
    if evaluation:
        stage = evaluation["stages"].get("extracted") or evaluation["stages"]["candidates"]
        drawn.append(
            (
                "Precision and recall down the ranking by mean distance. Each dot is a finding.",
                plots.precision_recall(stage["curve"], evaluation["positives"]),
            )
        )
        drawn.append(
            (
                "Share of a prompt's generations that copy its training image, against the number of duplicates in the "
                "training set (logarithmic). Each dot is a prompt, the line joins the means.",
                plots.share_against_copies(evaluation["prompts"]),
            )
        )
    if findings:
        values = [(f["mean_distance"], bool(f["extracted"])) for f in findings]
        drawn.append(
            (
                "Mean tiled l2 inside each clique: the ranking key. The right edge is the threshold of an edge.",
                plots.histogram(values, folder.config.threshold or 1.0),
            )
        )
    return drawn


def _compared(folder: RunFolder, main: RunFolder, album: Album) -> dict[str, Any]:
    """Another run, as a section: what was set otherwise, and its findings with verdicts."""
    ignored = ("model", "prompts", "images", "shard_prompts")
    was, now = ({k: v for k, v in f.config.as_dict().items() if k not in ignored} for f in (main, folder))
    matches = _matches_by_prompt(folder.matches())
    ranked = _ranked(folder.findings())
    findings = [_finding(folder, row, n, matches, {}, album) for n, row in enumerate(ranked[:24], 1)]
    return {
        "name": folder.path.name,
        "changes": [line.replace("_", " ") for line in difference(was, now)],
        "prompts": len(folder.prompts),
        "findings": findings,
        "not_extracted": sum(f["extracted"] is False for f in findings),
    }


def _seconds(folder: RunFolder) -> dict[str, float]:
    total: dict[str, float] = {}
    for manifest in folder.manifests():
        for stage, value in manifest["seconds"].items():
            total[stage] = total.get(stage, 0.0) + float(value)
    return total


def _json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    loaded: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return loaded
