"""The first thing that failed in a run, for those who look at a line and not into the quarantine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from memcore.runs.folder import RunFolder
from memcore.runs.reading import quarantine_table
from memcore.types import PromptStatus

#: Letters of a cause that are shown on a line.
_LONGEST = 300


class Failure(TypedDict):
    """A prompt that failed: its number (None: a whole shard), the reason code, and the last line of what was said."""

    prompt_id: int | None
    reason: str
    cause: str


def first_failure(folder: RunFolder) -> Failure | None:
    """Return the first failed prompt of the run and why it failed; None if none did."""
    row = next(
        (
            r
            for r in folder.iter_findings(["prompt_id", "status", "reason"])
            if r["status"] == PromptStatus.FAILED
        ),
        None,
    )
    if row is None:
        return None
    prompt_id, reason = int(row["prompt_id"]), str(row["reason"])
    shard = next(shard for shard in folder.done() if prompt_id in shard.prompt_ids)
    entries = [e for e in quarantine_table(folder.storage, shard.task).to_pylist() if e["reason"] == reason]
    own = [e for e in entries if e["prompt_id"] == prompt_id] or [
        e for e in entries if e["prompt_id"] is None
    ]
    cause = own[0]["detail"].strip().rpartition("\n")[2] if own else ""
    return {"prompt_id": prompt_id, "reason": reason, "cause": cause}


def failure_line(failure: Mapping[str, object]) -> str:
    """Return a failure as a line.

    >>> failure_line({"prompt_id": 3, "reason": "sampler", "cause": "HTTP 401: said no"})
    'the first failure: prompt 3 (sampler): HTTP 401: said no'
    """
    cause = str(failure["cause"])
    shown = cause if len(cause) <= _LONGEST else f"{cause[:_LONGEST]} ..."
    return f"the first failure: prompt {failure['prompt_id']} ({failure['reason']})" + (
        f": {shown}" if shown else ""
    )
