"""How long the run took, by stage."""

from __future__ import annotations

import dataclasses
from typing import TypedDict

from memcore.report.subject import Subject
from memcore.report.wording import duration, percent, rate, tidy
from memcore.runs.received import spent_lines

ORDER = 80
LABEL = "Cost"
STAGES = {
    "screen": "screening",
    "sample": "sampling",
    "graph": "distances and graph",
    "clique": "cliques",
    "write": "writing",
}


@dataclasses.dataclass(frozen=True)
class StageCost:
    """The time that a stage took over all workers; ``part`` is its share in [0, 1]."""

    name: str
    time: str
    share: str
    part: float


class Cost(TypedDict):
    """``rate`` and ``sampling_rate`` are images a second and worker; None where no time was recorded.

    ``spent`` says what the images of a hosted model cost; "" for any other.
    """

    stages: list[StageCost]
    total: str
    making: str
    sampling_rate: str | None
    rate: str | None
    spent: str


def context(subject: Subject) -> Cost:
    """Return the time of each stage."""
    run = subject.run
    total = sum(run.seconds.values())
    sampling = run.seconds.get("sample", 0.0)
    return {
        "stages": [
            StageCost(_named(name, run.sampler == "stored"), duration(s), percent(s / total), s / total)
            for name, s in run.seconds.items()
            if total and (s or name != "screen")
        ],
        "total": duration(total),
        "making": "Reading alone takes in" if run.sampler == "stored" else "Sampling alone makes",
        "sampling_rate": rate(run.generated / sampling) if sampling else None,
        "rate": rate(run.generated / total) if total else None,
        "spent": " ".join(spent_lines(run.spent)),
    }


def _named(stage: str, stored: bool) -> str:
    """Return a stage in words; stored images are read where others are sampled."""
    return "reading" if stored and stage == "sample" else STAGES.get(stage, tidy(stage))
