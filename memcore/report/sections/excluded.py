"""What was left out: frames that were not compared, quarantined entries and failed prompts."""

from __future__ import annotations

import dataclasses
from typing import TypedDict

from memcore import images
from memcore.report.run import Quarantined
from memcore.report.subject import Subject
from memcore.report.wording import EXAMPLES
from memcore.runs.rows import FindingRow
from memcore.sampling.received import SERVER_REASONS

ORDER = 60
LABEL = "Left out"
REASONS = {
    "sampler": "the sampler raised for this prompt",
    "refused": "a prompt of which a content filter of the server refused every image",
    "refused-image": "images that a content filter of the server refused, left out of their prompts",
    **{code: f"answers of the server: {text}" for code, text in SERVER_REASONS.items()},
    "guarded": "images that the model's output filter withheld or replaced",
    "broken-image": "images of NaN or without a picture, left out of their prompts",
    "same-image": "a prompt with one image for several seeds: the sampler ignores seeds or answers from a cache",
    "unrepeatable": "a seed that gave two different images",
    "long-prompt": "a prompt with more tokens than the pipeline reads",
    "given-image": "a prompt with generations that repeat the image they were made from: what was given is no finding",
    "empty": "a prompt without a readable image",
    "error": "a shard that raised three times and was quarantined",
    "crash": "a shard whose workers died three times and that was quarantined",
    **images.REASONS,
}


@dataclasses.dataclass(frozen=True)
class Reason:
    """A reason for quarantine, in words, and its entries."""

    meaning: str
    entries: Quarantined


class Excluded(TypedDict):
    """``failures`` are examples; ``more_failures`` are not among them."""

    reasons: list[Reason]
    failures: list[FindingRow]
    more_failures: int


def context(subject: Subject) -> Excluded:
    """Return what was left out, and why."""
    run = subject.run
    return {
        "reasons": [Reason(_meaning(q.reason), q) for q in run.quarantine[:EXAMPLES]],
        "failures": run.failures[:EXAMPLES],
        "more_failures": max(0, len(run.failures) - EXAMPLES),
    }


def _meaning(reason: str) -> str:
    """Return a reason in words; a server's status is its own."""
    status = reason.removeprefix("http-")
    if status != reason and status.isdecimal():
        return f"answers of the server: HTTP status {status}"
    return REASONS.get(reason, "")
