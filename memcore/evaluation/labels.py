"""What a run is held against where nothing was planted: its own extractions, or what people said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

#: True: right to report. False: wrong to report. None: unknown, counted neither way.
Expected = bool | None


def from_matches(
    findings: Iterable[Mapping[str, Any]], matches: Iterable[Mapping[str, Any]]
) -> list[Expected]:
    """A prompt with an extracted clique is right, a matched one without wrong; what was never matched is unknown.

    >>> from_matches([{"prompt_id": 0}, {"prompt_id": 1}], [{"prompt_id": 1, "extracted": True}])
    [None, True]
    """
    extracted: dict[int, bool] = {}
    for match in matches:
        prompt_id = int(match["prompt_id"])
        extracted[prompt_id] = extracted.get(prompt_id, False) or bool(match["extracted"])
    return [extracted.get(int(row["prompt_id"])) for row in findings]


def from_annotations(
    findings: Iterable[Mapping[str, Any]], said: Iterable[tuple[int, str]]
) -> list[Expected]:
    """``said`` are (prompt_id, label) of all annotators. "copy" and no "no": right. "no" and no "copy": wrong.

    Disagreements, "unsure" alone and prompts that nobody looked at are unknown.

    >>> from_annotations([{"prompt_id": 0}, {"prompt_id": 1}], [(0, "copy"), (0, "unsure"), (1, "no"), (1, "copy")])
    [True, None]
    """
    labels: dict[int, set[str]] = {}
    for prompt_id, label in said:
        labels.setdefault(int(prompt_id), set()).add(label)
    return [_agreed(labels.get(int(row["prompt_id"]), set())) for row in findings]


def _agreed(labels: set[str]) -> Expected:
    if ("copy" in labels) == ("no" in labels):
        return None
    return "copy" in labels


def as_truth(expected: Iterable[Expected]) -> Iterator[dict[str, Any]]:
    """Entries as ``evaluate`` takes them."""
    return ({"copies": 0, "expected": e} for e in expected)
