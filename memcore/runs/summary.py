"""Count what a run holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from memcore.runs import layout
from memcore.runs.completeness import judge
from memcore.runs.folder import RunFolder
from memcore.runs.rows import ManifestRecord
from memcore.types import PromptStatus


def summary(folder: RunFolder) -> dict[str, Any]:
    """Return the counts of a run, as ``--json`` prints them."""
    count: Counter[str] = Counter()
    stops: Counter[str] = Counter()
    for row in folder.iter_findings(["status", "generated", "excluded", "stop"]):
        count["done"] += 1
        count[row["status"]] += 1
        count["generated"] += int(row["generated"])
        count["excluded"] += int(row["excluded"])
        if row["stop"]:
            stops[str(row["stop"])] += 1
    manifests = folder.manifests()
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
        "quarantined": sum(1 for _ in folder.iter_quarantine()),
        "shards_given_up": len(folder.given_up()),
        "seconds": _seconds(manifests),
        "not_decided": judge(folder.storage, folder.meta).as_list(),
    }
    told = folder.meta["prompts"]
    result |= {f"prompts_{name}": told[name] for name in ("blank", "repeated") if name in told}
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
