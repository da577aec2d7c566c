"""ROC curves against closed forms, another implementation, and figures that too few scores must not give."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from memcore.errors import ArgumentTypeError, ArgumentValueError
from memcore.evaluation.roc import roc as listed_roc
from memcore.study.statistics import auc, non_members_needed, roc, tpr_at


def test_two_normal_distributions() -> None:
    """Members at +d, others at 0: AUC = Phi(d / sqrt 2), TPR at f = Phi(Phi^-1(f) + d)."""
    rng, d, n = np.random.default_rng(0), 1.5, 40_000
    curve = roc(np.r_[rng.normal(d, 1, n), rng.normal(0, 1, n)], np.arange(2 * n) < n)
    assert curve.auc == pytest.approx(norm.cdf(d / np.sqrt(2)), abs=0.006)
    for f, tolerance in ((0.01, 0.015), (0.001, 0.02)):
        assert curve.tpr_at(f) == pytest.approx(norm.cdf(norm.ppf(f) + d), abs=tolerance)


@pytest.mark.parametrize("distinct", [3, 1000])
def test_agrees_with_the_lists_of_an_evaluation(distinct: int) -> None:
    """With few distinct scores most are tied."""
    rng = np.random.default_rng(distinct)
    members = rng.random(300) < 0.4
    scores = rng.integers(0, distinct, 300) + members
    ours, other = roc(scores, members), listed_roc(scores.tolist(), members.tolist())
    assert ours.auc == other["area"]
    assert ours.fpr.tolist() == [p["fpr"] for p in other["points"]]
    assert ours.tpr.tolist() == [p["tpr"] for p in other["points"]]
    assert ours.tpr_at(0.01) == other["tpr_at_1_percent"]


def test_swapped_truth_mirrors_the_area() -> None:
    rng = np.random.default_rng(1)
    scores, members = rng.normal(size=500), rng.random(500) < 0.5
    assert auc(scores, ~members) == pytest.approx(1 - auc(scores, members), abs=1e-12)


@pytest.mark.parametrize(("fpr", "needed"), [(0.01, 100), (0.001, 10_000), (0.05, 20), (0.0001, 100_000)])
def test_rates_that_too_few_scores_do_not_resolve(fpr: float, needed: int) -> None:
    assert non_members_needed(fpr) == needed
    for others, resolved in ((needed - 1, False), (needed, True)):
        scores = np.r_[np.full(5, 2.0), np.zeros(others)]
        assert (tpr_at(scores, np.arange(len(scores)) < 5, fpr) == 1.0) is resolved
        assert (tpr_at(scores, np.arange(len(scores)) < 5, fpr) is None) is not resolved


def test_exactly_the_allowed_false_positives_pass() -> None:
    """Of 10,000 others ten may pass at 0.1 %; the eleventh is above the eleventh member's score."""
    others = np.r_[np.arange(100, 90, -1), 80.0, np.zeros(9_989)]
    members = np.r_[np.full(3, 95.5), np.full(4, 85.0), np.full(5, 70.0)]
    scores = np.r_[members, others]
    assert tpr_at(scores, np.arange(len(scores)) < 12, 0.001) == 7 / 12


def test_log_points_are_the_curve() -> None:
    rng = np.random.default_rng(2)
    scores, members = rng.normal(size=1000), np.arange(1000) < 500
    curve = roc(scores + members, members)
    fpr, tpr = curve.log_points(50)
    assert (fpr[0], fpr[-1], tpr[-1]) == (1 / 500, pytest.approx(1.0), 1.0)
    for f, t in zip(fpr, tpr, strict=True):
        assert t == max(curve.tpr[curve.fpr <= f + 1e-9])


@pytest.mark.parametrize(
    ("scores", "members", "error", "words"),
    [
        ([1.0, float("nan")], [True, False], ArgumentValueError, "scores must not hold NaN, got 1 of 2"),
        ([1.0, 2.0], [True, True], ArgumentValueError, "at least one member and one non-member, got 2"),
        ([1.0, 2.0], [1, 0], ArgumentTypeError, "members must be bool, got int"),
        ([1.0, 2.0], [True], ArgumentValueError, "members must have the shape of scores"),
        (["a", "b"], [True, False], ArgumentTypeError, "scores must be real numbers"),
    ],
)
def test_what_is_refused(scores: list, members: list, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        roc(scores, members)


@pytest.mark.parametrize("fpr", [0, 1, 1.5, True, "1%"])
def test_rates_that_are_none(fpr: object) -> None:
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match="fpr must be a number in"):
        non_members_needed(fpr)  # type: ignore[arg-type]
