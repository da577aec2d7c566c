"""Read evaluation.json for the report."""

from __future__ import annotations

from typing import cast

from memcore.errors import RunError
from memcore.evaluation.result import FORMAT, READABLE, Evaluation
from memcore.runs import layout
from memcore.runs.derived import read_derived
from memcore.storage.base import Storage
from memcore.system.parsing import check_shape

#: What the first evaluations lack.
_ADDED = ("against", "not_listed")


def read_evaluation(storage: Storage) -> Evaluation | None:
    """Return the run's evaluation; None if it has none. Raises RunError if the file is damaged or foreign."""
    evaluation = read_derived(storage, layout.EVALUATION)
    if evaluation is None:
        return None
    place = f"{storage.place}/{layout.EVALUATION}"
    stages = evaluation.get("stages")
    if evaluation.get("format") not in READABLE or not isinstance(stages, dict) or "candidates" not in stages:
        raise RunError(f"{place} is not an evaluation of format {FORMAT}: give memcore evaluate again")
    try:
        check_shape(evaluation, Evaluation, "it", _ADDED)
    except ValueError as error:
        raise RunError(f"{place} is damaged: {error}; give memcore evaluate again") from None
    return cast(Evaluation, evaluation)


def compared_with(evaluation: Evaluation) -> str:
    """Return what the run was compared with: truth, matches or annotations."""
    return str(
        evaluation.get("against", "truth")
    )  # the oldest evaluations lack the name: they used planted truth


def is_planted(evaluation: Evaluation) -> bool:
    """Return whether copies were planted: only then do their numbers and recall mean something.

    The run's own extractions, and people who were shown its findings alone, know nothing of what it missed.
    """
    return compared_with(evaluation) == "truth"
