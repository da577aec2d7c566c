"""(f) Labels that are unique for each image raise what leaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from memcore.report.wording import percent
from memcore.study.findings.base import Measured, Part
from memcore.study.findings.contrast import COPIES, Contrast, measure_contrast
from memcore.study.findings.over_seeds import RATIO, points_of_100
from memcore.study.findings.reading import Study

LETTER = "f"
TITLE = "Labels unique to each image raise it"
CONTRAST = Contrast(
    letter=LETTER,
    factor="labels",
    more="unique",
    less="none",
    names={"none": "no labels", "class": "class labels", "unique": "unique labels"},
    rule=RATIO,
    quantities=(COPIES,),
    claim="training with a label of its own for each image gives more {}",
    lacking="no two models of this study differ in their labels alone (unique against none).",
)


def measure(study: Study) -> Measured:
    """Return how much more leaks with a label for each image than without labels."""
    return measure_contrast(study, CONTRAST, _sentence)


def _sentence(means: Mapping[Any, float], parts: Sequence[Part]) -> str:
    return (
        f"With unique labels {percent(max(0.0, means['unique']))} of the samples are copies beyond the "
        f"control, without labels "
        f"{percent(max(0.0, means['none']))}: {points_of_100(parts[0].estimate)}."
    )
