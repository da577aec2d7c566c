"""Read evaluation.json for the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from memcore.errors import RunError
from memcore.evaluation.result import FORMAT, Evaluation
from memcore.system.parsing import check_shape, parse_json

#: What the first evaluations lack.
_ADDED = ("against", "not_listed")


def read_evaluation(file: Path) -> Evaluation | None:
    """Return the evaluation in ``file``; None if there is no such file. Raises RunError if it is damaged or foreign."""
    if not file.exists():
        return None
    evaluation = read_json(file)
    stages = evaluation.get("stages")
    if evaluation.get("format") != FORMAT or not isinstance(stages, dict) or "candidates" not in stages:
        raise RunError(f"{file} is not an evaluation of format {FORMAT}: give memcore evaluate again")
    try:
        check_shape(evaluation, Evaluation, "it", _ADDED)
    except ValueError as error:
        raise RunError(f"{file} is damaged: {error}; give memcore evaluate again") from None
    return cast(Evaluation, evaluation)


def read_json(file: Path) -> dict[str, Any]:
    """Return the JSON object in ``file``. Raises RunError if it cannot be read or is not an object."""
    try:
        loaded = parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read: {error}") from None
    if not isinstance(loaded, dict):
        raise RunError(f"{file} must hold a JSON object, got {type(loaded).__name__}")
    return loaded


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
