"""Intervals cover what they say, and are wider where scores share models and images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from memcore.errors import ArgumentTypeError, ArgumentValueError
from memcore.study.statistics import auc, bootstrap, clopper_pearson, t_interval


def test_t_interval_is_that_of_scipy() -> None:
    values = np.array([0.70, 0.66, 0.72, 0.69, 0.73])
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    ours = t_interval(values)
    assert (ours.low, ours.high) == (pytest.approx(theirs.low), pytest.approx(theirs.high))
    assert (ours.n, ours.estimate) == (5, pytest.approx(0.7))


def test_t_interval_covers_as_often_as_it_says() -> None:
    """Five seeds have 4 degrees of freedom; with the normal distribution's 1.96 only 88 % would cover."""
    rng = np.random.default_rng(0)
    covered = np.mean([not t_interval(rng.normal(3, 1, 5)).excludes(3) for _ in range(1500)])
    assert covered == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("k", "n"), [(0, 1000), (3, 10), (10, 10)])
def test_clopper_pearson_is_that_of_scipy(k: int, n: int) -> None:
    theirs = stats.binomtest(k, n).proportion_ci(0.95, method="exact")
    ours = clopper_pearson(k, n)
    assert (ours.low, ours.high) == (pytest.approx(theirs.low), pytest.approx(theirs.high))


def test_no_trials_tell_nothing() -> None:
    nothing = clopper_pearson(0, 0)
    assert (nothing.low, nothing.high) == (0, 1)
    assert np.isnan(nothing.estimate)


def _shared(rng: np.random.Generator, models: int = 12, images: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of models on random halves; what is easy about an image is common to all models."""
    half = rng.permuted(np.tile(np.arange(images) < images // 2, (models // 2, 1)), axis=1)
    members = np.repeat(half, 2, axis=0)
    members[1::2] ^= True
    return members * 0.8 + rng.normal(size=members.shape), members


def test_bootstrap_holds_for_other_models_and_images() -> None:
    """The true AUC is Phi(0.8 / sqrt 2); drawing both axes is conservative, so at least 95 % cover it."""
    rng, true = np.random.default_rng(1), stats.norm.cdf(0.8 / np.sqrt(2))
    units = np.repeat(np.arange(6), 2)
    covered = 0
    for _ in range(40):
        scores, members = _shared(rng)
        covered += not bootstrap(auc, scores, members, units=units, resamples=100).excludes(true)
    assert covered >= 36


def test_bootstrap_is_wider_where_scores_are_copies() -> None:
    """Ten copies of one pair of models are one pair: resampled as units the interval knows it, as rows it does not."""
    rng = np.random.default_rng(2)
    scores, members = _shared(rng, models=4)
    many, marks = (np.tile(a, (10, 1)) for a in (scores, members))
    units = np.tile([0, 0, 1, 1], 10)
    mean = lambda s, m: float(s[m].mean() - s[~m].mean())  # noqa: E731
    aware, naive = (bootstrap(mean, many, marks, units=u, resamples=200, seed=3) for u in (units, None))
    once = bootstrap(mean, scores, members, units=[0, 0, 1, 1], resamples=200, seed=3)
    assert aware.high - aware.low == pytest.approx(once.high - once.low, rel=0.01)
    assert aware.high - aware.low > naive.high - naive.low
    assert (aware.n, naive.n) == (2, 40)


def test_bootstrap_pairs_what_is_compared() -> None:
    """Two attacks that see the same noise differ by 0.1 in every score: the difference has no spread, their AUC have."""
    rng = np.random.default_rng(4)
    scores, members = _shared(rng)
    difference = bootstrap(lambda a, b: float((a - b).mean()), scores + 0.1, scores, resamples=100)
    assert (difference.low, difference.high) == (pytest.approx(0.1), pytest.approx(0.1))
    assert bootstrap(auc, scores, members, resamples=100) == bootstrap(auc, scores, members, resamples=100)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: t_interval([1.0]), "values must be at least 2 numbers"),
        (lambda: t_interval([1.0, np.inf]), "values must be finite, got inf"),
        (lambda: t_interval([1.0, 2.0], level=95), "level must be a number in"),
        (lambda: clopper_pearson(5, 3), "successes must be in"),
        (lambda: bootstrap(auc, np.zeros((2, 3)), np.zeros((2, 4))), "arrays must agree"),
        (lambda: bootstrap(auc, np.zeros(3)), "arrays must be one or more NumPy arrays"),
        (lambda: bootstrap(auc, np.zeros((2, 3)), units=[0]), r"units must have the shape \(2,\)"),
        (lambda: bootstrap(np.mean, np.zeros((2, 3)), units=[0, 0]), "at least 2 units"),
        (lambda: bootstrap(lambda a: np.nan, np.zeros((2, 3))), "statistic must return a finite number"),
        (lambda: bootstrap(np.mean, np.zeros((2, 3)), resamples=10), "resamples must be >= 100"),
    ],
)
def test_what_is_refused(call, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match=words):
        call()
