"""Tests and corrections against scipy, enumeration and their textbook cases."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from memcore.errors import ArgumentTypeError, ArgumentValueError
from memcore.study.statistics import holm, paired_difference, ppv, sign_flip


def test_sign_flip_counts_all_patterns() -> None:
    d = np.random.default_rng(0).normal(0.4, 1, 9)
    sums = [abs(np.dot(signs, d)) for signs in itertools.product((1, -1), repeat=9)]
    found = sign_flip(d)
    assert (found.p, found.exact) == (np.mean(np.array(sums) >= abs(d.sum()) - 1e-9), True)
    theirs = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert found.p == pytest.approx(theirs.pvalue)


def test_five_seeds_are_never_significant_at_5_percent() -> None:
    assert sign_flip([1e3, 1e3, 1e3, 1e3, 1e3]).p == 2 / 2**5


def test_equal_sums_count_although_they_are_rounded() -> None:
    """0.1 + 0.2 - 0.3 is not 0 in binary; no pattern may fall out by that."""
    assert sign_flip([0.1, 0.2, -0.3]).p == 1.0


def test_more_than_twenty_differences_are_drawn() -> None:
    d = np.random.default_rng(1).normal(0.5, 1, 30)
    found = sign_flip(d)
    assert not found.exact
    assert found.p == pytest.approx(stats.ttest_1samp(d, 0).pvalue, rel=0.5, abs=1e-3)
    assert sign_flip(np.ones(30)).p == pytest.approx(1 / 200_001)
    assert sign_flip(d) == found


def test_paired_difference_is_of_pairs() -> None:
    """The seeds differ by far more than the two settings: only the pairs show it."""
    seeds = np.array([0.0, 10.0, 20.0, 30.0, 40.0])
    found = paired_difference(seeds + np.array([1.0, 1.1, 0.9, 1.0, 1.0]), seeds)
    assert found.difference.excludes(0)
    assert not paired_difference(seeds + 1.0, seeds[::-1]).difference.excludes(0)
    assert found.test.p == 0.0625


def test_holm() -> None:
    """The textbook's: the least p times n, the next times n - 1, and never below the one before."""
    p = [0.010, 0.040, 0.030, 0.005]
    assert holm(p).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm({"x": 0.9, "y": 0.8}) == {"x": 1.0, "y": 1.0}
    assert holm({}) == {}
    assert holm([]).tolist() == []
    assert (holm(p) <= np.minimum(1, 4 * np.array(p))).all(), "never stricter than Bonferroni"


def test_ppv_is_bayes() -> None:
    """Counted on a million candidates of whom one in a hundred is a member."""
    members, others = 10_000, 990_000
    true, false = 0.44 * members, 0.001 * others
    assert ppv(0.44, 0.001, 0.01) == pytest.approx(true / (true + false))
    assert (ppv(0.5, 0.0, 0.1), ppv(0.5, 0.2, 0.0)) == (1.0, 0.0)
    assert np.isnan(ppv(0, 0, 0.5))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sign_flip([]), "differences must be at least 1 numbers"),
        (lambda: sign_flip([[1.0]]), "differences must be at least 1 numbers"),
        (lambda: paired_difference([1.0, 2.0], [1.0, 2.0, 3.0]), "second must have as many numbers as first"),
        (lambda: holm([0.5, 1.5]), r"p must be numbers in \[0, 1\]"),
        (lambda: ppv(0.5, -0.1, 0.5), r"fpr must be a number in \[0, 1\], got -0.1"),
        (lambda: ppv(0.5, 0.1, "1%"), "prior must be a number"),
    ],
)
def test_what_is_refused(call, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match=words):
        call()
