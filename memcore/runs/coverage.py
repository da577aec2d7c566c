"""The account of a filter's run: what lay at the path of its images, and what became of each."""

from __future__ import annotations

from collections import Counter

import pyarrow.compute as pc

from memcore.errors import RunError
from memcore.images import REASONS
from memcore.runs import layout
from memcore.runs.folder import RunFolder
from memcore.runs.reading import read_shard
from memcore.runs.run_toml import read_left_out
from memcore.sources.coverage import Coverage, count_reasons, make_coverage
from memcore.types import PromptStatus

#: Reasons of prompts that failed, whose images are not told one by one.
_UNTOLD = ("changed", "error", "crash")


def coverage_of(folder: RunFolder) -> Coverage | None:
    """Return the account of a finished run of stored generations; None of another run, or of an earlier version's.

    Raises AccountError where it does not add up.
    """
    described = folder.meta.get("sampler", {}).get("describe", {})
    if folder.config.source != "stored" or "pointed_at" not in described or folder.pending():
        return None
    used = 0
    try:
        pointed_at, texts = int(described["pointed_at"]), int(described["texts"])
    except (KeyError, ValueError) as error:
        raise RunError(f"{folder.place}/{layout.RUN} is damaged: {error} in [sampler.describe]") from None
    reasons: Counter[str] = Counter(read_left_out(described))
    untold = False
    for shard in folder.done():  # each is read once
        tables = read_shard(folder.storage, shard.task, ("status", "generated", "excluded", "reason"))
        rows = tables.findings
        excluded = pc.sum(rows["excluded"]).as_py() or 0
        used += (pc.sum(rows["generated"]).as_py() or 0) - excluded
        reasons["constant"] += excluded
        told = zip(rows["status"].to_pylist(), rows["reason"].to_pylist(), strict=True)
        untold |= any(status == PromptStatus.FAILED and reason in _UNTOLD for status, reason in told)
        if tables.quarantine.num_rows:
            reasons.update(count_reasons(q for q in tables.quarantine.to_pylist() if q["reason"] in REASONS))
    if untold:
        reasons["failed"] += max(0, pointed_at - used - texts - reasons.total())
    return make_coverage(pointed_at, used, texts, reasons, folder.config.images)
