"""Read what the report shows of a run, a shard at a time. No other module of the report knows the formats."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from memcore.conditions import Condition
from memcore.errors import MissingExtraError, RunError
from memcore.evaluation.result import Evaluation
from memcore.graphs.findings import rank
from memcore.report.evaluation_json import read_evaluation
from memcore.runs import layout
from memcore.runs.completeness import Completeness, Tally
from memcore.runs.derived import read_match
from memcore.runs.freshness import RunState, Stale, find_stale, stale_match
from memcore.runs.rows import FindingRow, ManifestRecord, MatchRecord, MatchRow, QuarantineRow
from memcore.sampling.screen import SCORES
from memcore.sources.coverage import Coverage
from memcore.storage.base import Storage
from memcore.storage.digests import FileDigest


@dataclasses.dataclass(frozen=True)
class Budget:
    """How many images each prompt was given; ``generations`` is None where the run does not record it."""

    rule: str
    generations: int | None
    copy_rate: float
    miss_rate: float


@dataclasses.dataclass(frozen=True)
class Screen:
    """The score that decided which prompts were sampled; a ``threshold`` of 0 only records it."""

    score: str
    threshold: float


@dataclasses.dataclass(frozen=True)
class Quarantined:
    """The entries that were quarantined for one reason, and the first of them as an example."""

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
    """What the report needs of a run: counts over all prompts, and rows only of prompts with a finding or a failure.

    ``prompts`` is how many the run has in all, ``done`` how many its finished shards hold. ``findings`` are ranked by the
    mean distance of the prompt's largest clique. ``matches`` is None where the run was not matched with a training set;
    ``match`` is the content of match.json, None without one. ``stale`` are files that were made from something else than the
    run holds now: their content is not in here. ``state`` is what a file that is made now is made from. ``coverage`` is the
    account of stored generations, None of other runs, of unfinished ones, and of those that an earlier version made.
    """

    path: Path
    settings: Mapping[str, Any]
    prompts: int
    done: int
    generated: int
    excluded: int
    excluded_prompts: int
    findings: list[FindingRow]
    failures: list[FindingRow]
    matches: Mapping[int, list[MatchRow]] | None
    match: MatchRecord | None
    evaluation: Evaluation | None
    quarantine: list[Quarantined]
    seconds: Mapping[str, float]
    state: RunState
    stale: Sequence[Stale] = ()
    completeness: Completeness = dataclasses.field(default_factory=Completeness)
    coverage: Coverage | None = None
    stops: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    scores: ScreenScores | None = None
    #: What a hosted model gave and cost, as ``Spent.as_dict`` makes it; None of any other.
    spent: Mapping[str, Any] | None = None
    #: Generations that were left out since they repeat the image that they were made from; they do not count as excluded.
    given_near: int = 0
    #: Returns what a prompt's images were made from besides it.
    condition: Callable[[int], Condition | None] = dataclasses.field(default_factory=lambda: _none)

    @property
    def has_given_images(self) -> bool:
        """Whether images were made from given ones."""
        return "image" in self.settings["prompts"].get("conditions", ())

    @property
    def threshold(self) -> float:
        """Return the largest distance of an edge."""
        return float(self.settings["graph"]["threshold"])

    @property
    def grid(self) -> tuple[int, int]:
        """Return the rows and columns of tiles."""
        rows, columns = self.settings["graph"]["grid"]
        return int(rows), int(columns)

    @property
    def min_clique(self) -> int:
        """Return the smallest clique that is a finding."""
        return int(self.settings["graph"]["min_clique"])

    @property
    def digest(self) -> str:
        """Return the run's digest."""
        return str(self.settings["run"].get("digest", ""))

    @property
    def created(self) -> str:
        """Return when the run was started."""
        return str(self.settings["run"].get("created", ""))

    @property
    def version(self) -> str:
        """Return the version of memcore that made the run."""
        return str(self.settings["run"].get("memcore", ""))

    @property
    def sampler(self) -> str:
        """Return the kind of the sampler: diffusers, stored, callable."""
        return str(self.settings.get("sampler", {}).get("kind", ""))

    @property
    def pipeline(self) -> str:
        """Return the class of the pipeline, or the kind of the sampler where there is none."""
        describe = self.settings.get("sampler", {}).get("describe", {})
        return str(describe.get("pipeline") or self.sampler)

    @property
    def budget(self) -> Budget:
        """Return how many images each prompt was given."""
        table = self.settings.get("budget", {})
        made = table.get("generations")
        return Budget(
            rule=str(table.get("rule", "fixed")),
            generations=made if isinstance(made, int) else None,
            copy_rate=float(table.get("copy_rate", 0)),
            miss_rate=float(table.get("miss_rate", 0)),
        )

    @property
    def screen(self) -> Screen | None:
        """Return the screen, None without one."""
        table = self.settings.get("screen")
        return Screen(str(table["score"]), float(table["threshold"])) if table else None

    @property
    def distance(self) -> str | None:
        """Return the distance that decided the matches: l2 or tiled_l2. None before matching."""
        return self.match.get("distance") if self.match else None

    @property
    def delta(self) -> float | None:
        """Return the largest distance of an extraction. None before matching."""
        return self.match.get("delta") if self.match else None

    @property
    def training_images(self) -> int:
        """Return the number of training images that the run was matched with."""
        return int(self.match.get("count", 0)) if self.match else 0

    @property
    def not_compared(self) -> int:
        """Return the number of training images that were left out of the match."""
        return sum(gap.count for gap in self.completeness.gaps if gap.code == "training")

    @property
    def copies_known(self) -> bool:
        """Whether the match knew how often each image is in the training set: else k is of the distinct images."""
        return bool(self.match and self.match.get("copies") is not None)

    @property
    def extracted_prompts(self) -> int | None:
        """Return how many prompts have at least one extracted clique. None before matching."""
        if self.matches is None:
            return None
        return sum(any(m["extracted"] for m in own) for own in self.matches.values())

    @property
    def extracted_images(self) -> int:
        """Return how many different training images the extracted matches have."""
        own = (match for matches in (self.matches or {}).values() for match in matches)
        return len({int(match["training_index"]) for match in own if match["extracted"]})

    def image_path(self, prompt_id: int, seed: int) -> Path:
        """Return where a generated image is."""
        return self.path / layout.image_name(prompt_id, seed)

    def training_path(self, index: int) -> Path:
        """Return where a matched training image is."""
        return self.path / layout.training_image_name(index)

    def training_digest(self, index: int) -> FileDigest | None:
        """Return the digest of a matched training image; None where the match has none."""
        files = self.match.get("files", {}) if self.match is not None else {}
        return files.get(layout.training_image_name(index))


def read_run(path: Path) -> Run:
    """Read the run in ``path`` at any stage. Raises RunError, which names a missing, damaged or foreign file."""
    _require_pyarrow()
    from memcore.runs import reading
    from memcore.runs.coverage import coverage_of
    from memcore.runs.folder import RunFolder
    from memcore.runs.received import read_spent
    from memcore.runs.schema import ALL_FINDINGS
    from memcore.storage.local import LocalStorage

    storage = LocalStorage(path)
    manifests: dict[str, ManifestRecord] = {}
    columns = [
        name for name in ALL_FINDINGS.names if name != "pairs"
    ]  # which may be a thousand times the rest
    settings = reading.read_meta(storage)
    totals: Counter[str] = Counter()
    rows: list[FindingRow] = []
    seconds: dict[str, float] = {}
    quarantine: dict[str, Quarantined] = {}
    stops: dict[str, tuple[int, int]] = {}
    scores = ScreenScores()
    tally = Tally(settings)
    for shard in reading.finished(storage):  # a shard without a manifest is not done
        tables = reading.read_shard(storage, shard, columns)
        tally.add(tables)
        manifests[shard] = tables.manifest
        for stage, value in tables.manifest["seconds"].items():
            seconds[stage] = seconds.get(stage, 0.0) + float(value)
        rows.extend(_shard_rows(tables.findings, totals, stops, scores))
        _add_quarantine(tables.quarantine, quarantine)
    found = [row for row in rows if row["mean_distance"] is not None and row["cliques"]]
    order = rank([row["mean_distance"] for row in found], [int(row["prompt_id"]) for row in found])
    reading.check_finished(storage, settings, totals["done"])
    by_id = {int(row["prompt_id"]): row for row in found}
    hosted = storage.names(layout.RECEIVED) or any("received" in m for m in manifests.values())
    spent = read_spent(RunFolder.open_storage(storage)) if hosted else None
    match, matches, state = _read_state(storage, settings, manifests, by_id)
    stale = find_stale(state)
    old = {entry.file for entry in stale}
    return Run(
        path=path,
        settings=settings,
        prompts=int(settings["prompts"]["count"]),
        done=totals["done"],
        generated=totals["generated"],
        excluded=totals["excluded"] - totals["given_near"],
        given_near=totals["given_near"],
        condition=RunFolder.open_storage(storage).condition
        if settings["prompts"].get("conditions")
        else _none,
        excluded_prompts=totals["excluded_prompts"],
        findings=[found[i] for i in order],
        failures=sorted((r for r in rows if r["status"] == "failed"), key=lambda r: int(r["prompt_id"])),
        matches=matches,
        match=match,
        evaluation=None if layout.EVALUATION in old else read_evaluation(storage),
        quarantine=sorted(quarantine.values(), key=lambda q: (-q.count, q.reason)),
        seconds=seconds,
        coverage=coverage_of(RunFolder.open_storage(storage)) if _is_stored(settings) else None,
        state=state,
        stale=stale,
        completeness=tally.finish(match),
        stops=stops,
        scores=scores if scores.found else None,
        spent=None if spent is None else spent.as_dict(),
    )


def _none(prompt_id: int) -> None:
    return None


def _is_stored(settings: Mapping[str, Any]) -> bool:
    return bool(settings.get("sampler", {}).get("kind") == "stored" and settings["sampler"].get("describe"))


def _read_state(
    storage: Storage,
    settings: Mapping[str, Any],
    manifests: Mapping[str, ManifestRecord],
    findings: Mapping[int, FindingRow],
) -> tuple[MatchRecord | None, Mapping[int, list[MatchRow]] | None, RunState]:
    """Return the match of the run's findings and its rows by prompt, None without one, and the state of the run."""
    from memcore.runs import reading

    digest = reading.findings_digest(storage, manifests)
    match = read_match(storage)
    if stale_match(match, digest):
        match = None
    matches = _matches(reading.matches_table(storage), storage.place, findings) if match is not None else None

    def rows(prompt_ids: Collection[int]) -> Mapping[int, FindingRow]:
        return findings

    run_digest = str(settings["run"].get("digest", ""))
    return match, matches, RunState(storage, run_digest, digest, match, matches or {}, rows)


def _shard_rows(
    table: Any, totals: Counter[str], stops: dict[str, tuple[int, int]], scores: ScreenScores
) -> Iterator[FindingRow]:
    """Yield the rows with a finding or a failure; the others are only counted, so that 350,000 prompts take seconds."""
    import pyarrow.compute as pc

    totals["done"] += table.num_rows
    for name in ("generated", "excluded", "given_near"):
        totals[name] += pc.sum(table[name]).as_py() or 0
    blank = pc.subtract(table["excluded"], pc.fill_null(table["given_near"], 0))
    totals["excluded_prompts"] += pc.sum(pc.greater(blank, 0)).as_py() or 0
    _add_stops(table, stops)
    _add_scores(table, scores)
    shown = pc.is_in(table["status"], value_set=_strings("finding", "failed"))
    yield from table.filter(shown).to_pylist()


def _strings(*values: str) -> Any:
    import pyarrow as pa

    return pa.array(values, pa.string())


def _add_stops(table: Any, stops: dict[str, tuple[int, int]]) -> None:
    """Count prompts and their images by the reason why they ended; the oldest runs record no reasons."""
    grouped = table.group_by("stop").aggregate([("generated", "sum"), ("prompt_id", "count")])
    for row in grouped.to_pylist():
        if row["stop"] is not None:
            prompts, images = stops.get(row["stop"], (0, 0))
            stops[row["stop"]] = (prompts + row["prompt_id_count"], images + (row["generated_sum"] or 0))


def _add_scores(table: Any, into: ScreenScores) -> None:
    if all(table[name].null_count == table.num_rows for name in SCORES):
        return
    for row in table.select(["status", *SCORES]).to_pylist():
        if row["status"] in ("finding", "none") and all(row[name] is not None for name in SCORES):
            into.found.append(row["status"] == "finding")
            for name in SCORES:
                into.scores.setdefault(name, []).append(float(row[name]))


def _add_quarantine(table: Any, reasons: dict[str, Quarantined]) -> None:
    entries: list[QuarantineRow] = table.to_pylist()
    for entry in entries:
        reason = entry["reason"] or ""
        before = reasons.get(reason, Quarantined(reason, 0, entry["source"] or "", entry["detail"] or ""))
        reasons[reason] = dataclasses.replace(before, count=before.count + 1)


def _matches(table: Any, place: str, findings: Mapping[int, FindingRow]) -> dict[int, list[MatchRow]] | None:
    """Group matches by prompt, the strongest first: extracted before others, then larger cliques."""
    if table is None:
        return None
    grouped: dict[int, list[MatchRow]] = {}
    rows: list[MatchRow] = table.to_pylist()
    for match in rows:
        prompt_id, clique = int(match["prompt_id"]), int(match["clique"])
        cliques = findings[prompt_id]["cliques"] if prompt_id in findings else []
        if not 0 <= clique < len(cliques):
            raise RunError(
                f"{place}/{layout.MATCHES} names clique {clique} of prompt {prompt_id}, which this run does not have: "
                "it belongs to an earlier state of the run, so give memcore match again"
            )
        grouped.setdefault(prompt_id, []).append(match)
    for own in grouped.values():
        own.sort(key=lambda match: (not match["extracted"], int(match["clique"])))
    return grouped


def _require_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise MissingExtraError("pyarrow", "report", "The report") from None
