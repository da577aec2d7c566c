"""Derive what is expected of a run's prompts where nothing was planted: from its extractions, or from annotations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from memcore.evaluation.truth import Expectation, Expected
from memcore.runs.rows import FindingRow, MatchRow


def from_matches(findings: Iterable[FindingRow], matches: Iterable[MatchRow]) -> list[Expected]:
    """Return True for a prompt with an extracted clique, False for a matched one without, None for one never matched.

    >>> from_matches([{"prompt_id": 0}, {"prompt_id": 1}], [{"prompt_id": 1, "extracted": True}])
    [None, True]
    """
    extracted: dict[int, bool] = {}
    for match in matches:
        prompt_id = match["prompt_id"]
        extracted[prompt_id] = extracted.get(prompt_id, False) or bool(match["extracted"])
    return [extracted.get(row["prompt_id"]) for row in findings]


def from_annotations(findings: Iterable[FindingRow], said: Iterable[tuple[int, str]]) -> list[Expected]:
    """Return True for a prompt that somebody calls a copy and nobody denies, False the other way round, else None.

    ``said`` are (prompt_id, label) of all annotators. Disagreements, "unsure" alone and prompts that nobody looked at
    are None.

    >>> from_annotations([{"prompt_id": 0}, {"prompt_id": 1}], [(0, "copy"), (0, "unsure"), (1, "no"), (1, "copy")])
    [True, None]
    """
    labels: dict[int, set[str]] = {}
    for prompt_id, label in said:
        labels.setdefault(prompt_id, set()).add(label)
    return [_agree(labels.get(row["prompt_id"], set())) for row in findings]


def _agree(labels: set[str]) -> Expected:
    if ("copy" in labels) == ("no" in labels):
        return None
    return "copy" in labels


def as_truth(expected: Iterable[Expected]) -> Iterator[Expectation]:
    """Return entries for ``evaluate`` without copies, since nothing was planted."""
    return ({"copies": 0, "expected": e} for e in expected)
