"""Each finding on tables of known truth: shown, opposite, neither; and with the labels swapped."""

from __future__ import annotations

import pytest

from memcore.study.findings import judge_study
from memcore.study.findings.base import Finding
from tests.support.planted_study import COMPARED, LETTERS, SEEDS, study_of


def _finding(letter: str, **how: object) -> Finding:
    study = study_of(letter, **how)  # type: ignore[arg-type]
    return next(f for f in judge_study(study) if f.letter == letter)


@pytest.mark.parametrize("letter", LETTERS + COMPARED)
@pytest.mark.parametrize(("effect", "verdict"), [(1, "shown"), (-1, "opposite"), (0, "not shown")])
def test_a_planted_effect_is_told(letter: str, effect: int, verdict: str) -> None:
    finding = _finding(letter, effect=effect)
    assert finding.verdict == verdict, [
        (p.name, e) for p, e in zip(finding.measured.parts, finding.estimates, strict=True)
    ]
    assert finding.seeds == len(SEEDS)


@pytest.mark.parametrize("letter", LETTERS + COMPARED)
def test_swapped_labels_turn_it_opposite(letter: str) -> None:
    finding = _finding(letter, swapped=True)
    assert finding.verdict == "opposite", [
        (p.name, e) for p, e in zip(finding.measured.parts, finding.estimates, strict=True)
    ]
