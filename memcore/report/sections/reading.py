"""How to read the page: its terms and the paper that they come from."""

from __future__ import annotations

from typing import TypedDict

from memcore.matching.metric import metric_label
from memcore.report.subject import Subject

ORDER = 90
LABEL = "How to read this page"
PAPER = "https://arxiv.org/abs/2301.13188"


class Reading(TypedDict):
    """What the template shows."""

    metric: str
    paper: str


def context(subject: Subject) -> Reading:
    """Return the metric's name and the paper."""
    return {"metric": metric_label(subject.run.distance), "paper": PAPER}
