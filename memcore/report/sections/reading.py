"""How to read the page: its terms and the paper that they come from."""

from __future__ import annotations

from typing import TypedDict

from memcore.report.subject import Subject
from memcore.report.wording import metric_name

ORDER = 90
LABEL = "How to read this page"
PAPER = "https://arxiv.org/abs/2301.13188"


class Reading(TypedDict):
    metric: str
    paper: str


def context(subject: Subject) -> Reading:
    return {"metric": metric_name(subject.run.distance), "paper": PAPER}
