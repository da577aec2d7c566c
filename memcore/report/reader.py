"""Gathers what the report shows of a run, a shard at a time. The only file of the report that knows the formats."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from memcore.errors import MissingExtraError, RunError
from memcore.graphs.findings import rank
from memcore.sampling.diffusers.first_step import SCORES

Row: TypeAlias = dict[str, Any]

EVALUATION_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Quarantined:
    """The entries that were put aside for one reason, and the first of them as an example."""

    reason: str
    count: int
    source: str
    detail: str


@dataclasses.dataclass
class ScreenScores:
    """The scores of the screened prompts that were sampled, and whether the full attack found them."""

    scores: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    found: list[bool] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Run:
    """A run as the report sees it: counts over all prompts, and rows only of those that found something or failed.

    ``prompts`` is what the run set out to do and ``done`` what finished shards hold. ``findings`` are ranked by the mean
    distance of the prompt's largest clique. ``matches`` is None where the run was not matched with a training set.
    """

    path: Path
    settings: Mapping[str, Any]
    prompts: int
    done: int
    generated: int
    excluded: int
    excluded_prompts: int
    findings: list[Row]
    failures: list[Row]
    matches: Mapping[int, list[Row]] | None
    match: Mapping[str, Any]
    evaluation: Row | None
    quarantine: list[Quarantined]
    seconds: Mapping[str, float]
    stops: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    screen: ScreenScores | None = None

    @property
    def threshold(self) -> float:
        return float(self.settings["graph"]["threshold"])

    @property
    def grid(self) -> tuple[int, int]:
        rows, columns = self.settings["graph"]["grid"]
        return int(rows), int(columns)

    @property
    def min_clique(self) -> int:
        return int(self.settings["graph"]["min_clique"])

    def image_path(self, prompt_id: int, seed: int) -> Path:
        return self.path / "images" / f"{prompt_id:06d}" / f"{seed}.png"

    def training_path(self, index: int) -> Path:
        return self.path / "training" / f"{index:08d}.png"


def read_run(path: Path) -> Run:
    """The run in ``path``, at whatever stage it is. RunError says which file is missing, damaged or foreign."""
    _needs_pyarrow()
    from memcore.runs import reading
    from memcore.runs.schema import FINDINGS
    from memcore.storage.local import LocalStorage

    storage = LocalStorage(path)
    columns = [name for name in FINDINGS.names if name != "pairs"]  # which may be a thousand times the rest
    settings = reading.read_meta(storage)
    _check_settings(settings, storage.place)
    totals: Counter[str] = Counter()
    rows: list[Row] = []
    seconds: dict[str, float] = {}
    quarantine: dict[str, Quarantined] = {}
    stops: dict[str, tuple[int, int]] = {}
    screen = ScreenScores()
    for shard in reading.finished(storage):  # a shard without a manifest is not done
        for stage, value in reading.read_manifest(storage, shard)["seconds"].items():
            seconds[stage] = seconds.get(stage, 0.0) + float(value)
        rows.extend(_shard_rows(reading.findings_table(storage, shard, columns), totals, stops, screen))
        _add_quarantine(reading.quarantine_table(storage, shard), quarantine)
    found = [row for row in rows if row["mean_distance"] is not None and row["cliques"]]
    order = rank([row["mean_distance"] for row in found], [int(row["prompt_id"]) for row in found])
    match_file = path / "match.json"
    return Run(
        path=path,
        settings=settings,
        prompts=int(settings["prompts"]["count"]),
        done=totals["done"],
        generated=totals["generated"],
        excluded=totals["excluded"],
        excluded_prompts=totals["excluded_prompts"],
        findings=[found[i] for i in order],
        failures=sorted((r for r in rows if r["status"] == "failed"), key=lambda r: int(r["prompt_id"])),
        matches=_matches(
            reading.matches_table(storage), storage.place, {int(row["prompt_id"]): row for row in found}
        ),
        match=_json(match_file) if match_file.exists() else {},
        evaluation=_evaluation(path / "evaluation.json"),
        quarantine=sorted(quarantine.values(), key=lambda q: (-q.count, q.reason)),
        seconds=seconds,
        stops=stops,
        screen=screen if screen.found else None,
    )


def _check_settings(settings: Row, place: str) -> None:
    for table, name in (
        ("graph", "threshold"),
        ("graph", "grid"),
        ("graph", "min_clique"),
        ("prompts", "count"),
    ):
        if name not in settings.get(table, {}):
            raise RunError(f"{place}/run.toml has no {name!r} in its table [{table}]")


def _shard_rows(
    table: Any, totals: Counter[str], stops: dict[str, tuple[int, int]], screen: ScreenScores
) -> Iterator[Row]:
    """Rows with a finding or a failure; the others are only counted, so that a run of 350,000 prompts is read in seconds."""
    import pyarrow.compute as pc

    totals["done"] += table.num_rows
    for name in ("generated", "excluded"):
        totals[name] += pc.sum(table[name]).as_py() or 0
    totals["excluded_prompts"] += pc.sum(pc.greater(table["excluded"], 0)).as_py() or 0
    _add_stops(table, stops)
    _add_scores(table, screen)
    told = pc.is_in(table["status"], value_set=_strings("finding", "failed"))
    yield from table.filter(told).to_pylist()


def _strings(*values: str) -> Any:
    import pyarrow as pa

    return pa.array(values, pa.string())


def _add_stops(table: Any, stops: dict[str, tuple[int, int]]) -> None:
    """Prompts and their images by the reason why they ended; runs from before there were reasons have none."""
    grouped = table.group_by("stop").aggregate([("generated", "sum"), ("prompt_id", "count")])
    for row in grouped.to_pylist():
        if row["stop"] is not None:
            prompts, images = stops.get(row["stop"], (0, 0))
            stops[row["stop"]] = (prompts + row["prompt_id_count"], images + (row["generated_sum"] or 0))


def _add_scores(table: Any, screen: ScreenScores) -> None:
    if all(table[name].null_count == table.num_rows for name in SCORES):
        return
    for row in table.select(["status", *SCORES]).to_pylist():
        if row["status"] in ("finding", "none") and all(row[name] is not None for name in SCORES):
            screen.found.append(row["status"] == "finding")
            for name in SCORES:
                screen.scores.setdefault(name, []).append(float(row[name]))


def _add_quarantine(table: Any, reasons: dict[str, Quarantined]) -> None:
    for entry in table.to_pylist():
        reason, source, detail = (str(entry[name] or "") for name in ("reason", "source", "detail"))
        before = reasons.get(reason, Quarantined(reason, 0, source, detail))
        reasons[reason] = dataclasses.replace(before, count=before.count + 1)


def _matches(table: Any, place: str, findings: Mapping[int, Row]) -> dict[int, list[Row]] | None:
    """Each prompt's matches, the strongest first: extracted before others, then larger cliques."""
    if table is None:
        return None
    grouped: dict[int, list[Row]] = {}
    for match in table.to_pylist():
        prompt_id, clique = int(match["prompt_id"]), int(match["clique"])
        cliques = findings[prompt_id]["cliques"] if prompt_id in findings else []
        if not 0 <= clique < len(cliques):
            raise RunError(
                f"{place}/matches.parquet names clique {clique} of prompt {prompt_id}, which this run does not have: "
                "it belongs to an earlier state of the run, so give memcore match again"
            )
        grouped.setdefault(prompt_id, []).append(match)
    for own in grouped.values():
        own.sort(key=lambda match: (not match["extracted"], int(match["clique"])))
    return grouped


def _evaluation(file: Path) -> Row | None:
    if not file.exists():
        return None
    evaluation = _json(file)
    if evaluation.get("format") != EVALUATION_FORMAT or "candidates" not in evaluation.get("stages", {}):
        raise RunError(f"{file} is no evaluation of format {EVALUATION_FORMAT}: give memcore evaluate again")
    return evaluation


def _needs_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise MissingExtraError("pyarrow", "report", "The report") from None


def _json(file: Path) -> Row:
    try:
        loaded = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read: {error}") from None
    if not isinstance(loaded, dict):
        raise RunError(f"{file} must hold a JSON object, got {type(loaded).__name__}")
    return loaded
