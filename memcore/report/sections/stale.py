"""Files of the run that the page does not use, since they were made from something that has changed."""

from __future__ import annotations

from typing import TypedDict

from memcore.report.subject import Subject
from memcore.runs import layout

ORDER = -28
LABEL = None


class StaleSection(TypedDict):
    """What the template shows."""

    texts: list[str]


def context(subject: Subject) -> StaleSection | None:
    """Return which files they are, why, and what to do; None where there are none."""
    # the page that is being written is no longer stale
    texts = [entry.text for entry in subject.run.stale if entry.file != layout.REPORT_PAGE]
    return {"texts": texts} if texts else None
