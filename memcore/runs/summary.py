"""Count what a run holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from memcore.runs import layout
from memcore.runs.completeness import judge
from memcore.runs.failures import first_failure
from memcore.runs.folder import RunFolder
from memcore.runs.rows import ManifestRecord
from memcore.runs.shared_seeds import SharedSeeds
from memcore.types import PromptStatus


def summary(folder: RunFolder) -> dict[str, Any]:
    """Return the counts of a run, as ``--json`` prints them."""
    count: Counter[str] = Counter()
    stops: Counter[str] = Counter()
    shared = SharedSeeds(folder)
    named = ["prompt_id"] if shared.bits is not None else []
    for row in folder.iter_findings([*named, "status", "generated", "excluded", "stop"]):
        count["done"] += 1
        count[row["status"]] += 1
        count["generated"] += int(row["generated"])
        count["excluded"] += int(row["excluded"])
        if named:
            shared.add(row["prompt_id"], int(row["generated"]))
        if row["stop"]:
            stops[str(row["stop"])] += 1
    manifests = folder.manifests()
    reasons = Counter(str(entry["reason"]) for entry in folder.iter_quarantine())
    result: dict[str, Any] = {
        "run": folder.place,
        "digest": folder.digest,
        "prompts": len(folder.prompts),
        "done": count["done"],
        "generated": count["generated"],
        "excluded": count["excluded"],
        "candidates": count[PromptStatus.FINDING],
        "failed": count[PromptStatus.FAILED],
        "screened": count[PromptStatus.SCREENED],
        "stops": dict(sorted(stops.items())),
        "first_failure": first_failure(folder) if count[PromptStatus.FAILED] else None,
        "quarantined": sum(reasons.values()),
        "quarantine_reasons": dict(sorted(reasons.items())),
        "shards_given_up": len(folder.given_up()),
        "seconds": _seconds(manifests),
        "not_decided": judge(folder.storage, folder.meta).as_list(),
    }
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


def _seconds(manifests: list[ManifestRecord]) -> Mapping[str, float]:
    total: dict[str, float] = {}
    for manifest in manifests:
        for stage, seconds in manifest["seconds"].items():
            total[stage] = round(total.get(stage, 0.0) + float(seconds), 3)
    return total
