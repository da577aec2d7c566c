"""The account of a filter's run: what lay at the path of its images, and what became of each."""

from __future__ import annotations

import json
from collections import Counter

from memcore.images import REASONS
from memcore.runs.folder import RunFolder
from memcore.sources.coverage import Coverage, count_reasons, make_coverage
from memcore.types import PromptStatus

#: Reasons of prompts that failed, whose images are not told one by one.
_UNTOLD = ("changed", "error", "crash")


def coverage_of(folder: RunFolder) -> Coverage | None:
    """Return the account of a finished run of stored generations; None of another run, or of an earlier version's.

    Raises AccountError where it does not add up.
    """
    described = folder.meta["sampler"]["describe"]
    if folder.config.source != "stored" or "pointed_at" not in described or folder.pending():
        return None
    used = 0
    reasons: Counter[str] = Counter(json.loads(described["left_out"]))
    untold = False
    for row in folder.iter_findings(["status", "generated", "excluded", "reason"]):
        used += int(row["generated"]) - int(row["excluded"])
        reasons["constant"] += int(row["excluded"])
        untold |= row["status"] == PromptStatus.FAILED and row["reason"] in _UNTOLD
    reasons.update(count_reasons(q for q in folder.iter_quarantine() if q["reason"] in REASONS))
    pointed_at, texts = int(described["pointed_at"]), int(described["texts"])
    if untold:
        reasons["failed"] += max(0, pointed_at - used - texts - reasons.total())
    return make_coverage(pointed_at, used, texts, reasons, folder.config.images)
