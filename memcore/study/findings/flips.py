"""(d) Augmentation by flips lowers what leaks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from memcore.report.wording import percent
from memcore.study.findings.base import Measured, Part
from memcore.study.findings.contrast import COPIES, Contrast, measure_contrast
from memcore.study.findings.over_seeds import RATIO, points_of_100
from memcore.study.findings.reading import Study

LETTER = "d"
TITLE = "Augmentation by flips lowers what leaks"
#: Samples are compared with the training images as they are. A model that was trained with flips gives a copy the wrong way
#: round as often as the right way, by the symmetry of its training: it has twice the copies that are counted, at most.
MIRRORED = dataclasses.replace(
    COPIES, name="samples that are copies, mirrored ones counted", weight=2.0, bound=True
)
NOTE = (
    "A mirrored copy is not counted by the rule. With flips it is as frequent as a plain one, so the second "
    "part takes twice "
    "what was counted with flips; this is against the finding, since images that are their own mirror count twice."
)
CONTRAST = Contrast(
    letter=LETTER,
    factor="flips",
    more=False,
    less=True,
    names={False: "no flips", True: "flips"},
    rule=RATIO,
    quantities=(COPIES, MIRRORED),
    claim="training without flips gives more {}",
    lacking="no two models of this study differ in their flips alone.",
)


def measure(study: Study) -> Measured:
    """Return how much more leaks without flips than with them."""
    found = measure_contrast(study, CONTRAST, _sentence)
    return found if found.lacking else dataclasses.replace(found, notes=[*found.notes, NOTE])


def _sentence(means: Mapping[Any, float], parts: Sequence[Part]) -> str:
    return (
        f"Without flips {percent(max(0.0, means[False]))} of the samples are copies beyond the control, with flips "
        f"{percent(max(0.0, means[True]))}: {points_of_100(parts[0].estimate)}."
    )
