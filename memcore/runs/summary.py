"""Count what a run holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow.compute as pc

from memcore.runs import layout
from memcore.runs.completeness import COLUMNS, judge_shards
from memcore.runs.failures import first_failure
from memcore.runs.folder import RunFolder
from memcore.runs.reading import ShardTables, finished, read_shard
from memcore.runs.received import read_spent
from memcore.runs.shared_seeds import SharedSeeds
from memcore.types import PromptStatus


def summary(folder: RunFolder) -> dict[str, Any]:
    """Return the counts of a run, as ``--json`` prints them."""
    done = {shard.task for shard in folder.done()}
    shared = SharedSeeds(folder)
    counts = _Counts(shared)

    def shards() -> Iterator[tuple[str, ShardTables]]:  # each is read once
        for name in finished(folder.storage):
            tables = read_shard(folder.storage, name, COLUMNS)
            if name in done:
                counts.add(tables)
            yield name, tables

    gaps = judge_shards(folder.storage, folder.meta, shards())
    count = counts.prompts
    result: dict[str, Any] = {
        "run": folder.place,
        "digest": folder.digest,
        "prompts": len(folder.prompts),
        "done": count["done"],
        "generated": count["generated"],
        "excluded": count["excluded"] - count["given_near"],
        "candidates": count[PromptStatus.FINDING],
        "failed": count[PromptStatus.FAILED],
        "screened": count[PromptStatus.SCREENED],
        "stops": dict(sorted(counts.stops.items())),
        "first_failure": first_failure(folder) if count[PromptStatus.FAILED] else None,
        "quarantined": sum(counts.reasons.values()),
        "quarantine_reasons": dict(sorted(counts.reasons.items())),
        "shards_given_up": counts.given_up,
        "seconds": counts.seconds,
        "not_decided": gaps.as_list(),
    }
    if (spent := read_spent(folder)) is not None:
        result["spent"] = spent.as_dict()
    if count["given_near"]:
        result["given_near"] = count["given_near"]
    told = folder.meta["prompts"]
    result |= {f"prompts_{name}": told[name] for name in ("blank", "repeated") if name in told}
    if shared.bits is not None:
        result |= {"seed_bits": shared.bits, "seeds_shared": shared.count()}
    stale = folder.stale()
    result["stale"] = [entry.as_dict() for entry in stale]
    matches = None if any(entry.file == layout.MATCHES for entry in stale) else folder.matches()
    if matches is not None:
        result["extracted"] = len({row["prompt_id"] for row in matches if row["extracted"]})
    return result


class _Counts:
    """What is counted in the tables of all finished shards."""

    def __init__(self, shared: SharedSeeds) -> None:
        self._shared = shared
        self.prompts: Counter[str] = Counter()
        self.stops: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.given_up = 0
        self.seconds: dict[str, float] = {}

    def add(self, tables: ShardTables) -> None:
        rows = tables.findings
        self.prompts["done"] += rows.num_rows
        self.prompts.update(rows["status"].to_pylist())
        for name in ("generated", "excluded", "given_near"):
            self.prompts[name] += pc.sum(rows[name]).as_py() or 0
        self.stops.update(str(stop) for stop in rows["stop"].to_pylist() if stop)
        if tables.quarantine.num_rows:
            self.reasons.update(map(str, tables.quarantine["reason"].to_pylist()))
        if self._shared.bits is not None:
            for row in rows.select(["prompt_id", "generated"]).to_pylist():
                self._shared.add(row["prompt_id"], int(row["generated"]))
        self.given_up += bool(tables.manifest.get("given_up"))
        for stage, seconds in tables.manifest["seconds"].items():
            self.seconds[stage] = round(self.seconds.get(stage, 0.0) + float(seconds), 3)
