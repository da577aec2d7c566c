"""Training images and what the model draws for their captions, side by side at the top of the page."""

from __future__ import annotations

from typing import TypedDict

from memcore.report.finding import Finding
from memcore.report.subject import Subject

ORDER = -20
LABEL = None
#: Pairs shown; a wall of fewer than LEAST is left out.
MOST, LEAST = 10, 3


class Wall(TypedDict):
    """What the template shows."""

    pairs: list[Finding]


def context(subject: Subject) -> Wall | None:
    """Return the pairs, None where there are too few."""
    shown = [f for f in subject.findings if f.extracted and f.training and f.copies and f.copies[0].picture]
    return {"pairs": shown[:MOST]} if len(shown) >= LEAST else None
