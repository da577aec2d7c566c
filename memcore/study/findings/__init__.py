"""The findings of the paper, each a module that reads the stored tables of a study and nothing else.

A module has ``LETTER``, ``TITLE`` and ``measure(study)``; what decides a verdict is in ``base``. Another person who has the
rows of a study computes the same figures from them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias

from memcore.study.findings import (
    agreement,
    decay,
    deduplication,
    duplicates,
    equal_distance,
    equal_samples,
    flips,
    inpainting,
    labels,
    membership,
    quality,
    set_size,
    trades,
)
from memcore.study.findings.base import Finding, Measured, judge
from memcore.study.findings.reading import Study

Family: TypeAlias = "tuple[tuple[str, str, Callable[[Study], Measured]], ...]"
#: (letter, title, analysis) of every finding of one kind of model: one family for Holm's adjustment, whatever a protocol
#: leaves out.
ANALYSES: Family = tuple(
    (module.LETTER, module.TITLE, module.measure)
    for module in (
        duplicates,
        set_size,
        quality,
        flips,
        deduplication,
        labels,
        membership,
        agreement,
        inpainting,
    )
)
#: The findings that compare kinds of models: a family of their own, since other protocols ask for them.
COMPARISON: Family = tuple(
    (module.LETTER, module.TITLE, module.measure) for module in (equal_samples, equal_distance, decay)
)
#: Findings that are judged together: what leaks, how kinds of models compare, and what defences cost.
FAMILIES: tuple[Family, ...] = (ANALYSES, COMPARISON, trades.ANALYSES)
_NO_GROUP = "no group of this protocol is for this finding."


def judge_study(study: Study) -> list[Finding]:
    """Return the findings of each family that the protocol names a letter of: (a) to (i), and (j) to (l).

    Those of a family are judged together. A protocol that names none gets (a) to (i).

    Raises RunError if a table is damaged or lacks a control.
    """
    return [
        finding
        for family in _families(study)
        for finding in judge(
            [
                (letter, title, analysis(study) if study.models(letter) else Measured(lacking=_NO_GROUP))
                for letter, title, analysis in family
            ]
        )
    ]


def _families(study: Study) -> list[Family]:
    """Return the families of which a group of the protocol asks for a finding; of none of them, the first.

    A family is adjusted by itself: a question that a later version adds changes no verdict of another family.
    """
    asked = {letter for group in study.protocol.groups for letter in group.findings}
    found = [family for family in FAMILIES if asked & {letter for letter, _, _ in family}]
    return found or [ANALYSES]


def finding_as_dict(finding: Finding) -> dict[str, Any]:
    """Return a finding as JSON takes it: every figure of the page, with each seed's value."""
    measured = finding.measured
    return {
        "letter": finding.letter,
        "title": finding.title,
        "verdict": finding.verdict,
        "reason": finding.reason,
        "sentence": finding.sentence,
        "n": finding.n,
        "seeds": finding.seeds,
        "planned_seeds": len(set(measured.planned)),
        "interval": None if finding.interval is None else list(finding.interval),
        "p": finding.p,
        "p_holm": finding.p_holm,
        "parts": [
            {
                "name": part.name,
                "claim": part.claim,
                "unit": part.unit,
                "values": {str(seed): value for seed, value in part.values.items()},
                "step": part.step,
                **dataclasses.asdict(estimate),
                "verdict": estimate.verdict,
            }
            for part, estimate in zip(measured.parts, finding.estimates, strict=True)
        ],
        "controls": [dataclasses.asdict(control) for control in measured.controls],
        "models": list(measured.models),
        "missing": [dataclasses.asdict(missing) for missing in measured.missing],
        "lacking": measured.lacking,
        "unmeasured": list(measured.unmeasured),
        "notes": list(measured.notes),
        "plot": None if measured.plot is None else dataclasses.asdict(measured.plot),
        "table": None if measured.table is None else dataclasses.asdict(measured.table),
    }
