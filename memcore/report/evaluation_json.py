"""evaluation.json as the report reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from memcore.errors import RunError

FORMAT = 1


class Proportion(TypedDict):
    """A share with its interval; ``value`` is None where nothing was counted."""

    value: float | None
    low: float
    high: float


class CurvePoint(TypedDict):
    """Precision and recall down to one finding."""

    prompt_id: int
    score: float
    correct: bool
    precision: float
    recall: float


class Stage(TypedDict):
    """How one stage of the run did."""

    tp: int
    fp: int
    fn: int
    precision: Proportion
    recall: Proportion
    average_precision: float
    recall_at_zero_fp: float
    curve: list[CurvePoint]


class EvaluatedPrompt(TypedDict):
    """One prompt of the evaluation; ``expected`` is None where it counts neither way."""

    prompt_id: int
    prompt: str
    copies: int
    expected: bool | None
    size: int
    share: float
    extracted: bool
    right_image: bool


class CopiesGroup(TypedDict):
    """All prompts whose training image was planted equally often."""

    copies: int
    prompts: int
    found: int
    mean_share: float


class SweepCell(TypedDict):
    """How the run would do at another threshold and smallest clique."""

    threshold: float
    min_clique: int
    tp: int
    fp: int
    fn: int
    recall_at_zero_fp: float


class SweepBest(TypedDict):
    """The cell with the largest recall at zero false positives."""

    threshold: float
    min_clique: int
    recall_at_zero_fp: float


class Sweep(TypedDict):
    """Other thresholds and clique sizes."""

    ceiling: float
    thresholds: list[float]
    sizes: list[int]
    cells: list[SweepCell]
    best: SweepBest
    stopped_early: NotRequired[bool]


class Evaluation(TypedDict):
    """The part of evaluation.json that the report reads; early evaluations name neither confidence nor ``against``."""

    format: int
    against: NotRequired[str]
    confidence: NotRequired[float]
    positives: int
    negatives: int
    ignored: int
    stages: dict[str, Stage]
    prompts: list[EvaluatedPrompt]
    by_copies: list[CopiesGroup]
    sweep: NotRequired[Sweep]


def read_evaluation(file: Path) -> Evaluation | None:
    """Return the evaluation in ``file``, None if there is no such file. RunError if it is damaged or of another format."""
    if not file.exists():
        return None
    evaluation = read_json(file)
    if evaluation.get("format") != FORMAT or "candidates" not in evaluation.get("stages", {}):
        raise RunError(f"{file} is no evaluation of format {FORMAT}: give memcore evaluate again")
    return cast(Evaluation, evaluation)


def read_json(file: Path) -> dict[str, Any]:
    """Return the JSON object in ``file``. RunError if it cannot be read or is no object."""
    try:
        loaded = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read: {error}") from None
    if not isinstance(loaded, dict):
        raise RunError(f"{file} must hold a JSON object, got {type(loaded).__name__}")
    return loaded


def compared_with(evaluation: Evaluation) -> str:
    """Return what the run was compared with: truth, matches or annotations."""
    return str(evaluation.get("against", "truth"))  # the oldest evaluations do not say: it was planted truth


def is_planted(evaluation: Evaluation) -> bool:
    """Return whether copies were planted, so that their numbers mean something."""
    return compared_with(evaluation) == "truth"
