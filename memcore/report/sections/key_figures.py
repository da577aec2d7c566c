"""The figures that summarise a run."""

from __future__ import annotations

import dataclasses
from typing import TypedDict

from memcore.matching.metric import metric_label
from memcore.report.evaluation_json import compared_with, is_planted
from memcore.report.run import Run
from memcore.report.sections import evaluation
from memcore.report.subject import Subject
from memcore.report.wording import count, interval, proportion

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
    rests = run.completeness
    figures = [
        Figure(f"{run.done:,}", "prompts", _prompts(run)),
        Figure(f"{run.generated:,}", "generations", _per_prompt(run)),
        Figure(
            f"{len(run.findings):,}",
            "candidates",
            f"prompts with a clique of {run.min_clique} or more{_open(rests.undecided, 'prompt')}",
        ),
    ]
    extracted = run.extracted_prompts
    if extracted is not None:
        delta = "" if run.delta is None else run.delta
        missing = run.not_compared
        note = f"{metric_label(run.distance)} to a training image ≤ {delta}"
        of = f", {count(missing, 'training image')} not compared" if missing else ""
        figures.append(Figure(f"{extracted:,}", "extracted", f"{note}{of}"))
    return figures


def _open(undecided: int, noun: str) -> str:
    return f", {count(undecided, noun)} not decided" if undecided else ""


def _prompts(run: Run) -> str:
    """Say what became of the prompts, as far as it is not that all were sampled."""
    few = sum(gap.count for gap in run.completeness.gaps if gap.code in ("few", "short"))
    notes = (
        (run.prompts - run.done, "still to do"),
        (len(run.failures), "failed"),
        (few, "with too few images"),
        (run.completeness.screened, "screened out"),
    )
    told = ", ".join(f"{number:,} {what}" for number, what in notes if number > 0)
    return told or ("all read" if run.sampler == "stored" else "all sampled")


def _per_prompt(run: Run) -> str:
    if run.sampler == "stored":
        return "read"
    if not run.budget.generations:
        return ""
    return f"{'up to ' if run.budget.rule == 'sequential' else ''}{run.budget.generations} a prompt"


def _accuracy(run: Run) -> list[Figure]:
    """Return precision and recall of what was planted, or what people decided; extractions are no truth of their own."""
    stage = evaluation.judged_stage(run.evaluation)
    if run.evaluation is None or stage is None:
        return []
    if is_planted(run.evaluation):
        level = evaluation.confidence(run.evaluation)
        return [
            Figure(proportion(found["value"]), name, f"{level} interval {interval(found)}")
            for name, found in (("precision", stage["precision"]), ("recall", stage["recall"]))
        ]
    if compared_with(run.evaluation) != "annotations":
        return []
    decided = stage["tp"] + stage["fp"]
    open_ones = evaluation.undecided(run.evaluation)
    note = f"of {count(decided, 'finding')} that people decided{_open(open_ones, 'finding')}"
    return [Figure(f"{stage['tp']:,}", "called a copy", note)]
