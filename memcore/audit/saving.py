"""Save what a kill would lose of a shard: rows of finished prompts, and images of those in flight."""

from __future__ import annotations

import dataclasses
import time

from memcore.audit.in_flight import PromptInFlight
from memcore.audit.journal import ImageJournal
from memcore.runs.completeness import PROMPT_FAILURES
from memcore.runs.folder import RunFolder, Shard, ShardRecord


class Saver:
    """Write a shard's checkpoint and journal every ``seconds`` seconds, or when the shard is interrupted.

    ``in_flight`` are the prompts that are being sampled, until their rows are in the record; ``unconfirmed`` those that
    failed for what may be no fault of theirs, and ``device`` where the sampler has its images ("" for NumPy). ``journal``
    is None where images are read and not made.
    """

    def __init__(self, folder: RunFolder, shard: Shard, record: ShardRecord, seconds: float) -> None:
        self._folder = folder
        self._shard = shard
        self._record = record
        self._seconds = seconds
        self._saved = time.monotonic()
        self._written = len(self.finished())
        self.journal: ImageJournal | None = None
        self.in_flight: dict[int, PromptInFlight] = {}
        self.unconfirmed: set[int] = set()
        self.device = ""

    def finished(self) -> set[int]:
        """Return the prompts that need not be done again: those with a row, and those that the sampler refused."""
        return {int(row["prompt_id"]) for row in self._record.rows} | failed_prompts(self._record)

    def on_finished(self, prompt_id: int) -> None:
        """Note that a prompt's row is in the record, and save if it is time."""
        self.in_flight.pop(prompt_id, None)
        self.save_if_due()

    def save_if_due(self, ahead: float = 0.0) -> None:
        """Save if it is time, or would be before the next ``ahead`` seconds are over."""
        if time.monotonic() - self._saved + ahead >= self._seconds:
            self.save()

    def save(self) -> None:
        """Save everything."""
        finished = self.finished() - self.unconfirmed
        if len(finished) != self._written:
            rows = [row for row in self._record.rows if row["prompt_id"] in finished]
            notes = [
                e for e in self._record.quarantine if e["prompt_id"] in finished or e["prompt_id"] is None
            ]
            self._folder.write_partial(
                self._shard, dataclasses.replace(self._record, rows=rows, quarantine=notes)
            )
            self._written = len(finished)
        if self.journal is not None:
            self.journal.save(
                [prompt for prompt in self.in_flight.values() if prompt.prompt_id not in finished],
                self.device,
            )
            self.journal.finish(finished)
        self._saved = time.monotonic()


def failed_prompts(record: ShardRecord) -> set[int]:
    """Return the prompts that the sampler refused: their rows are made when the shard is complete."""
    return {
        q["prompt_id"]
        for q in record.quarantine
        if q["reason"] in PROMPT_FAILURES and q["prompt_id"] is not None
    }
