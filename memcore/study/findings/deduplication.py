"""(e) Deduplication of the training set lowers what leaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from memcore.report.wording import percent
from memcore.study.findings.base import Measured, Part
from memcore.study.findings.contrast import COPIES, FOUND, Contrast, measure_contrast
from memcore.study.findings.over_seeds import ADAPTIVE, points_of_100
from memcore.study.findings.reading import Study

LETTER = "e"
TITLE = "Deduplication lowers it"
CONTRAST = Contrast(
    letter=LETTER,
    factor="deduplicated",
    more=False,
    less=True,
    names={False: "with duplicates", True: "deduplicated"},
    rule=ADAPTIVE,
    quantities=(COPIES, FOUND),
    claim="the set with its duplicates gives more {}",
    lacking="no two models of this study differ in deduplication alone.",
)


def measure(study: Study) -> Measured:
    """Return how much more leaks of a set with its duplicates than of the same images once each."""
    return measure_contrast(study, CONTRAST, _sentence)


def _sentence(means: Mapping[Any, float], parts: Sequence[Part]) -> str:
    return (
        f"With its duplicates {percent(max(0.0, means[False]))} of the samples are copies beyond the control, deduplicated "
        f"{percent(max(0.0, means[True]))}; the share of unique images found differs by {points_of_100(parts[1].estimate)}."
    )
