"""(d) Augmentation by flips lowers what leaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from memcore.report.wording import percent
from memcore.study.findings.base import Measured, Part
from memcore.study.findings.contrast import COPIES, Contrast, measure_contrast
from memcore.study.findings.over_seeds import RATIO, points_of_100
from memcore.study.findings.reading import Study

LETTER = "d"
TITLE = "Augmentation by flips lowers it"
CONTRAST = Contrast(
    letter=LETTER,
    factor="flips",
    more=False,
    less=True,
    names={False: "no flips", True: "flips"},
    rule=RATIO,
    quantities=(COPIES,),
    claim="training without flips gives more {}",
    lacking="no two models of this study differ in their flips alone.",
)


def measure(study: Study) -> Measured:
    """Return how much more leaks without flips than with them."""
    return measure_contrast(study, CONTRAST, _sentence)


def _sentence(means: Mapping[Any, float], parts: Sequence[Part]) -> str:
    return (
        f"Without flips {percent(max(0.0, means[False]))} of the samples are copies beyond the control, with flips "
        f"{percent(max(0.0, means[True]))}: {points_of_100(parts[0].estimate)}."
    )
