"""Why prompts failed: each failed row with the entry of the quarantine that says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict

from memcore.runs.folder import RunFolder
from memcore.runs.reading import findings_table, quarantine_table
from memcore.runs.rows import QuarantineRow
from memcore.types import PromptStatus


class FailureRecord(TypedDict):
    """A prompt that failed: the reason's code, and its cause in one line."""

    prompt_id: int
    prompt: str
    reason: str
    cause: str


def iter_failures(folder: RunFolder) -> Iterator[FailureRecord]:
    """Yield the failed prompts of all finished shards, by prompt id, a shard at a time."""
    for shard in folder.with_failures():
        rows = findings_table(folder.storage, shard.task, ["prompt_id", "prompt", "status", "reason"])
        entries: list[QuarantineRow] = quarantine_table(folder.storage, shard.task).to_pylist()
        of_prompt = {
            (q["prompt_id"], q["reason"]): q["detail"]
            for q in reversed(entries)
            if q["prompt_id"] is not None
        }
        of_shard = {q["reason"]: q["detail"] for q in entries if q["prompt_id"] is None}
        for row in rows.to_pylist():
            if row["status"] != PromptStatus.FAILED:
                continue
            reason = row["reason"] or ""
            detail = of_prompt.get((row["prompt_id"], reason)) or of_shard.get(reason) or ""
            yield {
                "prompt_id": row["prompt_id"],
                "prompt": row["prompt"],
                "reason": reason,
                "cause": first_cause(detail),
            }


def first_cause(detail: str) -> str:
    """Return the line of a detail that says what happened: of a traceback the last, else the first.

    >>> first_cause("Traceback (most recent call last):\\n  ...\\nValueError: no such voice")
    'ValueError: no such voice'
    """
    lines = [line.strip() for line in detail.splitlines() if line.strip()]
    if not lines:
        return ""
    return lines[-1] if lines[0].startswith("Traceback ") else lines[0]
