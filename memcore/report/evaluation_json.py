"""Read evaluation.json for the report."""

from __future__ import annotations

from typing import cast

from memcore.errors import RunError
from memcore.evaluation.result import FORMAT, READABLE, Evaluation
from memcore.runs import layout
from memcore.runs.derived import read_derived
from memcore.storage.base import Storage


def read_evaluation(storage: Storage) -> Evaluation | None:
    """Return the run's evaluation; None if it has none. Raises RunError if the file is damaged or foreign."""
    evaluation = read_derived(storage, layout.EVALUATION)
    if evaluation is None:
        return None
    if evaluation.get("format") not in READABLE or "candidates" not in evaluation.get("stages", {}):
        raise RunError(
            f"{storage.place}/{layout.EVALUATION} is not an evaluation of format {FORMAT}: give memcore evaluate again"
        )
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
