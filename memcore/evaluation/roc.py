"""Compute how well a cheap score separates the prompts that the full attack separates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict


class RocPoint(TypedDict):
    """False and true positive rate of "at or above ``score``"; the first point has no score and reports no prompt."""

    fpr: float
    tpr: float
    score: float | None


class Roc(TypedDict):
    """A ROC curve and its summary; without positives or negatives there are no points, and the rest is None."""

    positives: int
    negatives: int
    points: list[RocPoint]
    area: float | None
    tpr_at_1_percent: float | None
    keep_all: float | None
    spared: float | None


def roc(scores: Sequence[float], positive: Sequence[bool]) -> Roc:
    """Return the ROC of "at or above a score".

    Equal scores are taken together. ``area`` is the chance that a positive scores above a negative, ties counting half;
    ``tpr_at_1_percent`` the largest true positive rate at a false positive rate of at most 1 %; ``keep_all`` the largest
    score at which no positive is lost, and ``spared`` the share of negatives below it.

    >>> r = roc([0.9, 0.8, 0.3, 0.2], [True, False, True, False])
    >>> r["area"], r["keep_all"], r["spared"]
    (0.75, 0.3, 0.5)
    """
    positives = sum(bool(p) for p in positive)
    negatives = len(positive) - positives
    result: Roc = {
        "positives": positives,
        "negatives": negatives,
        "points": [],
        "area": None,
        "tpr_at_1_percent": None,
        "keep_all": None,
        "spared": None,
    }
    if not positives or not negatives:
        return result
    groups: dict[float, list[int]] = {}
    for score, is_positive in zip(scores, positive, strict=True):
        groups.setdefault(float(score), [0, 0])[bool(is_positive)] += 1
    false, true, area, best = 0, 0, 0.0, 0.0
    points: list[RocPoint] = [{"fpr": 0.0, "tpr": 0.0, "score": None}]
    keep_all, spared = None, 0.0
    for score in sorted(groups, reverse=True):
        more_false, more_true = groups[score]
        area += more_false * (true + more_true / 2)
        false, true = false + more_false, true + more_true
        points.append({"fpr": false / negatives, "tpr": true / positives, "score": score})
        if false <= negatives / 100:
            best = true / positives
        if true == positives and keep_all is None:
            keep_all, spared = score, 1 - false / negatives
    return {
        **result,
        "points": points,
        "area": area / (positives * negatives),
        "tpr_at_1_percent": best,
        "keep_all": keep_all,
        "spared": spared,
    }
