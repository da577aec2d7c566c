"""The steps of an audit on a run folder: sample or read, match, evaluate. The command line and programs call these."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memcore.audit.evaluate import check_truth, evaluate
from memcore.audit.labels import as_truth, from_annotations, from_matches
from memcore.audit.sweep import grid_of, sweep
from memcore.errors import ConfigError, RunError
from memcore.jobs.annotations import ANNOTATORS, Annotations
from memcore.jobs.config import Config
from memcore.jobs.files import write_atomic
from memcore.jobs.launch_local import lock, processors, run_local
from memcore.jobs.progress import Progress
from memcore.jobs.store import RunFolder
from memcore.jobs.stored import stored_prompts
from memcore.sampling.protocol import Sampler
from memcore.types import PromptStatus


def read_prompts(path: Path) -> list[str]:
    """One prompt a line, UTF-8; empty lines are refused, since a prompt's number is its line."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"prompts={path} cannot be read: {error}") from None
    empty = [n for n, line in enumerate(lines, 1) if not line.strip()]
    if empty:
        raise ConfigError(f"prompts={path} has an empty line, number {empty[0]}: remove it")
    if not lines:
        raise ConfigError(f"prompts={path} holds not a single prompt")
    return lines


def audit(
    run: Path,
    config: Config,
    *,
    sampler: Sampler | None = None,
    prompts: list[str] | None = None,
    workers: int | None = None,
    threads: int | None = None,
    part: tuple[int, int] | None = None,
    quiet: bool = False,
) -> RunFolder:
    """Samples, graphs and searches every prompt that is not done yet, and returns the run's folder.

    With ``sampler`` (any ``memcore.sampling.Sampler``) and ``prompts`` a program audits its own generator in this
    process, with ``Config(source="custom", ...)``. Otherwise ``config`` says what to load, once a worker process.
    ``workers`` defaults to the processors on a CPU and to one on a GPU; ``threads`` are threads a worker.

    Raises ConfigError (a changed configuration, with its difference), RunError, WorkerError.
    """
    if config.source == "custom":
        if sampler is None or prompts is None:
            raise ConfigError("source='custom' needs sampler and prompts")
        described: dict[str, str] = getattr(sampler, "describe", dict)()
        with lock(run):
            folder = RunFolder.create(run, config, sampler.fingerprint, described, prompts)
            _run(folder, lambda: sampler, 1, threads, part, quiet)
        return folder
    if prompts is None:
        if not config.prompts:
            raise ConfigError("prompts is missing: a text file with one prompt a line")
        prompts = read_prompts(Path(config.prompts))
    count = workers or (processors() if config.device == "cpu" else 1)
    per_worker = threads or (max(1, processors() // count) if config.device == "cpu" else None)
    own = make_sampler(config)
    with lock(run):
        folder = RunFolder.create(run, config, own.fingerprint, own.describe(), prompts)
        make = functools.partial(make_sampler, config) if count > 1 else (lambda: own)
        if count > 1:
            del own  # the workers load their own; this process keeps no second model in memory
        _run(folder, make, count, per_worker, part, quiet)
    return folder


def filter_stored(
    run: Path,
    config: Config,
    *,
    workers: int | None = None,
    threads: int | None = None,
    part: tuple[int, int] | None = None,
    quiet: bool = False,
) -> RunFolder:
    """The same over stored generations (see ``StoredPrompts`` for the layout that is read)."""
    stored = stored_prompts(config)
    count = workers or processors()
    with lock(run):
        folder = RunFolder.create(run, config, stored.fingerprint, stored.describe(), stored.prompts)
        total = sum(stored.count(i) for i in range(len(stored.prompts)))
        _run(folder, no_sampler, count, threads or 1, part, quiet, total)
    return folder


def no_sampler() -> None:
    """What makes a worker read stored generations instead of sampling."""


def make_sampler(config: Config) -> Any:
    """The diffusers pipeline that the configuration names, as a Sampler."""
    from memcore.sampling.diffusers import DiffusersSampler

    return DiffusersSampler.load(
        config.model,
        dtype=config.dtype,
        device=config.device,
        steps=config.steps,
        guidance_scale=config.guidance_scale,
        batch_size=config.batch_size,
        height=config.height or None,
        width=config.width or None,
    )


def _run(
    folder: RunFolder,
    make: Any,
    workers: int,
    threads: int | None,
    part: tuple[int, int] | None,
    quiet: bool,
    total: int | None = None,
) -> None:
    each = folder.config.generations
    whole = total if total is not None else each * len(folder.prompts)
    manifests = folder.manifests()
    # a prompt that stopped early counts in full: what it spared is not left to do
    done = sum(int(m["generated"]) if total is not None else each * len(m["prompt_ids"]) for m in manifests)
    progress = Progress(whole, f"audit {folder.path.name}", done=done, quiet=quiet)
    try:
        run_local(folder, make, workers=workers, threads=threads, part=part, progress=progress)
    finally:
        progress.close()


def evaluate_run(run: Path, truth: Path | None = None, *, against: str = "truth") -> dict[str, Any]:
    """Writes evaluation.json and returns it: precision and recall against planted ``truth``, "matches" or "annotations".

    With ``edges_up_to`` in the run's configuration, other thresholds and clique sizes are evaluated too.
    """
    folder = RunFolder.open(run)
    folder.require_complete("evaluate")
    findings = folder.findings()
    if against == "truth":
        entries = _planted(truth, folder.prompts)
        result = evaluate(findings, folder.matches(), entries)
    else:
        entries = as_truth(findings, _expected(folder, findings, against))
        result = {**evaluate(findings, None, entries), "against": against}
    config = folder.config
    if config.edges_up_to:
        early = config.budget == "sequential"
        # a prompt that stopped when its clique was complete says nothing of larger cliques
        largest = config.min_clique if early else None
        thresholds, sizes = grid_of(config.edges_up_to, config.threshold, config.min_clique, largest)
        expected = [entry["expected"] for entry in entries]
        cells = sweep(
            findings, expected, thresholds, sizes, ceiling=config.edges_up_to, node_limit=config.node_limit
        )
        result["sweep"] = {**cells, "stopped_early": early}
    write_atomic(folder.path / "evaluation.json", json.dumps(result, indent=1).encode())
    return result


def _planted(truth: Path | None, prompts: list[str]) -> list[dict[str, Any]]:
    if truth is None:
        raise ConfigError("truth is missing: a truth.json, or evaluate against 'matches' or 'annotations'")
    try:
        planted = json.loads(truth.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"truth={truth} cannot be read: {error}") from None
    return check_truth(planted, prompts)


def _expected(folder: RunFolder, findings: list[dict[str, Any]], against: str) -> list[bool | None]:
    if against == "matches":
        matches = folder.matches()
        if matches is None:
            raise RunError(f"{folder.path} was not matched: give memcore match first")
        return from_matches(findings, matches)
    if against != "annotations":
        raise ConfigError(f"against must be truth, matches or annotations, got {against!r}")
    with Annotations.open(folder.path, folder.digest) as annotations:
        items = {item.item: item.prompt_id for item in annotations.items()}
        said = [(items[i], label) for a in ANNOTATORS for i, label in annotations.labels(a).items()]
    return from_annotations(findings, said)


def summary(folder: RunFolder) -> dict[str, Any]:
    """Counts of a run, as ``--json`` prints them."""
    findings = folder.findings()
    matches = folder.matches()
    status = [row["status"] for row in findings]
    result: dict[str, Any] = {
        "run": str(folder.path),
        "digest": folder.digest,
        "prompts": len(folder.prompts),
        "done": len(findings),
        "generated": sum(int(row["generated"]) for row in findings),
        "excluded": sum(int(row["excluded"]) for row in findings),
        "candidates": status.count(PromptStatus.FINDING),
        "failed": status.count(PromptStatus.FAILED),
        "screened": status.count(PromptStatus.SCREENED),
        "stops": dict(sorted(Counter(str(row["stop"]) for row in findings if row["stop"]).items())),
        "quarantined": len(folder.quarantine()),
        "seconds": _seconds(folder.manifests()),
    }
    if matches is not None:
        result["extracted"] = len({row["prompt_id"] for row in matches if row["extracted"]})
    return result


def _seconds(manifests: list[dict[str, Any]]) -> Mapping[str, float]:
    total: dict[str, float] = {}
    for manifest in manifests:
        for stage, seconds in manifest["seconds"].items():
            total[stage] = round(total.get(stage, 0.0) + float(seconds), 3)
    return total
