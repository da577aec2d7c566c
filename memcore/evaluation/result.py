"""The types of evaluation.json. docs/formats.md describes it."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from memcore.evaluation.truth import Expected
from memcore.runs.derived import EVALUATION_FORMAT
from memcore.runs.rows import MadeFrom

#: Format 2 says what the evaluation was made from; evaluation.json is sealed.
FORMAT = EVALUATION_FORMAT
READABLE = (1, FORMAT)


class Proportion(TypedDict):
    """A share and its exact interval; ``value`` is None where nothing was counted."""

    value: float | None
    low: float
    high: float


class CurvePoint(TypedDict):
    """A reported prompt, and precision and recall of the ranking down to it."""

    prompt_id: int
    score: float | None
    correct: bool
    precision: float
    recall: float


class StageCounts(TypedDict):
    """Right, wrong and missed prompts of a stage, and what follows from them."""

    tp: int
    fp: int
    fn: int
    precision: Proportion
    recall: Proportion
    average_precision: float
    recall_at_zero_fp: float


class Stage(StageCounts):
    """A stage with its precision-recall curve."""

    curve: list[CurvePoint]


class RankedPrompt(TypedDict):
    """What a stage is scored by: a prompt, whether it must be found, and the mean distance that ranks it."""

    prompt_id: int
    expected: Expected
    mean_distance: float | None
    right_image: bool


class EvaluatedPrompt(TypedDict):
    """A prompt with what was expected, found and matched."""

    prompt_id: int
    prompt: str
    kind: str
    copies: int
    expected: Expected
    size: int
    generated: int
    share: float
    mean_distance: float | None
    extracted: bool
    right_image: bool
    l2: float | None
    tiled_l2: float | None


class CopiesGroup(TypedDict):
    """The prompts whose images were planted equally often."""

    copies: int
    prompts: int
    found: int
    mean_share: float


class BestCell(TypedDict):
    """The setting with the largest recall at zero false positives."""

    threshold: float
    min_clique: int
    recall_at_zero_fp: float


class SweepCell(StageCounts):
    """The counts at one threshold and smallest clique."""

    threshold: float
    min_clique: int


class Sweep(TypedDict):
    """Other thresholds and clique sizes, from stored pairs."""

    ceiling: float
    thresholds: list[float]
    sizes: list[int]
    cells: list[SweepCell]
    best: BestCell | None
    stopped_early: NotRequired[bool]


class Evaluation(TypedDict):
    """The content of evaluation.json; ``stages`` maps "candidates", and "extracted" after a match, to their counts."""

    format: int
    against: str
    confidence: float
    positives: int
    negatives: int
    ignored: int
    stages: dict[str, Stage]
    prompts: list[EvaluatedPrompt]
    not_listed: int
    by_copies: list[CopiesGroup]
    sweep: NotRequired[Sweep]
    made_from: NotRequired[MadeFrom]
    seal: NotRequired[str]
