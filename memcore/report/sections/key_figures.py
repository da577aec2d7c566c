"""The figures that summarise a run."""

from __future__ import annotations

import dataclasses
from typing import TypedDict

from memcore.matching.metric import metric_label
from memcore.report.run import Run
from memcore.report.sections import evaluation
from memcore.report.subject import Subject
from memcore.report.wording import interval, proportion

ORDER = -10
LABEL = None


@dataclasses.dataclass(frozen=True)
class Figure:
    """A key figure: the number, what it counts, and a remark."""

    value: str
    label: str
    note: str


class KeyFigures(TypedDict):
    """What the template shows."""

    figures: list[Figure]


def context(subject: Subject) -> KeyFigures:
    """Return the figures of the run."""
    run = subject.run
    return {"figures": [*_counts(run), *_accuracy(run)]}


def _counts(run: Run) -> list[Figure]:
    failed = f"{len(run.failures):,} failed" if run.failures else "all sampled"
    left = run.prompts - run.done
    figures = [
        Figure(f"{run.done:,}", "prompts", f"{left:,} still to do" if left > 0 else failed),
        Figure(f"{run.generated:,}", "generations", _per_prompt(run)),
        Figure(f"{len(run.findings):,}", "candidates", f"prompts with a clique of {run.min_clique} or more"),
    ]
    extracted = run.extracted_prompts
    if extracted is not None:
        delta = "" if run.delta is None else run.delta
        note = f"{metric_label(run.distance)} to a training image ≤ {delta}"
        figures.append(Figure(f"{extracted:,}", "extracted", note))
    return figures


def _per_prompt(run: Run) -> str:
    if not run.budget.generations:
        return ""
    return f"{'up to ' if run.budget.rule == 'sequential' else ''}{run.budget.generations} a prompt"


def _accuracy(run: Run) -> list[Figure]:
    stage = evaluation.judged_stage(run.evaluation)
    if run.evaluation is None or stage is None:
        return []
    level = evaluation.confidence(run.evaluation)
    return [
        Figure(proportion(found["value"]), name, f"{level} interval {interval(found)}")
        for name, found in (("precision", stage["precision"]), ("recall", stage["recall"]))
    ]
