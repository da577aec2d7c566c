"""The findings in rank order: the first with their pictures, further ones as rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from memcore.matching.metric import metric_column, metric_label
from memcore.report.finding import PICTURED, Finding
from memcore.report.subject import Subject

ORDER = 20
LABEL = "Findings"


class Findings(TypedDict):
    """``others`` have no pictures; ``left_out`` more are in neither list. ``distinct`` counts extracted training images."""

    findings: Sequence[Finding]
    others: Sequence[Finding]
    left_out: int
    distinct: int
    key: str
    metric: str


def context(subject: Subject) -> Findings:
    """Return the findings, split by how they are shown."""
    return {
        "findings": subject.pictured,
        "others": subject.findings[PICTURED:],
        "left_out": len(subject.run.findings) - len(subject.findings),
        "distinct": subject.run.extracted_images,
        "key": metric_column(subject.run.distance),
        "metric": metric_label(subject.run.distance),
    }
