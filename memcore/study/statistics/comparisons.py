"""Differences between runs with equal seeds, many findings at once, and what an alarm is worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memcore.errors import ArgumentTypeError, ArgumentValueError
from memcore.study.statistics.intervals import LEVEL, Interval, check_values, t_interval

#: Differences whose signs are all tried: 2^20 sums.
_EXACT = 20
_DRAWN = 200_000
#: Sums that differ by rounding alone are equal.
_ROUNDING = 1e-12


@dataclasses.dataclass(frozen=True)
class SignFlip:
    """A two-sided p-value; ``exact`` if all 2^n sign patterns were counted, else that many were drawn (``patterns``)."""

    p: float
    patterns: int
    exact: bool


@dataclasses.dataclass(frozen=True)
class PairedDifference:
    """The mean of a - b over pairs with its t interval, and the sign-flip test of "no difference"."""

    difference: Interval
    test: SignFlip


def sign_flip(differences: ArrayLike) -> SignFlip:
    """Return the sign-flip test of paired differences: how often random signs give a mean at least as far from 0.

    It needs no distribution, only that a difference is as likely as its negative if there is no effect. With five seeds the
    least p is 2 / 2^5 = 0.0625: no five seeds are significant at 5 %, however clear they are.

    Parameters
    ----------
    differences
        (n,) finite real numbers, n >= 1. Up to 20, all sign patterns are counted; of more, 200,000 are drawn with a fixed
        seed, and p counts the observed one among them, so it is never too small.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        The differences are not finite real numbers in one row.

    References
    ----------
    Fisher 1935, "The Design of Experiments", section 21.

    Examples
    --------
    >>> sign_flip([0.1, 0.2, 0.15, 0.3, 0.1])
    SignFlip(p=0.0625, patterns=32, exact=True)
    """
    d = check_values(differences, "differences", 1)
    observed = abs(float(d.sum()))
    slack = _ROUNDING * float(np.abs(d).sum())
    if len(d) <= _EXACT:
        sums = np.zeros(1)
        for value in d:
            sums = np.concatenate([sums + value, sums - value])
        return SignFlip(float((np.abs(sums) >= observed - slack).mean()), len(sums), True)
    rng = np.random.default_rng(0)
    reached = 0
    for start in range(0, _DRAWN, 10_000):
        signs = rng.integers(0, 2, size=(min(10_000, _DRAWN - start), len(d))) * 2 - 1
        reached += int((np.abs(signs @ d) >= observed - slack).sum())
    return SignFlip((reached + 1) / (_DRAWN + 1), _DRAWN, False)


def paired_difference(first: ArrayLike, second: ArrayLike, level: float = LEVEL) -> PairedDifference:
    """Return how much ``first`` exceeds ``second``, pair by pair: two settings with the same seeds.

    Parameters
    ----------
    first, second
        (n,) finite real numbers, n >= 2; entries i of both have everything in common but what is compared.
    level
        Confidence in (0, 1).

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        The numbers cannot be used, or are not equally many.
    MissingExtraError
        scipy is not installed.

    Examples
    --------
    >>> found = paired_difference([0.9, 0.8, 0.95], [0.5, 0.45, 0.5])
    >>> found.difference.excludes(0), found.test.p
    (True, 0.25)
    """
    a, b = check_values(first, "first", 2), check_values(second, "second", 2)
    if len(a) != len(b):
        raise ArgumentValueError(f"second must have as many numbers as first ({len(a)}), got {len(b)}")
    return PairedDifference(t_interval(a - b, level), sign_flip(a - b))


@overload
def holm(p: Mapping[str, float]) -> dict[str, float]: ...


@overload
def holm(p: ArrayLike) -> NDArray[np.float64]: ...


def holm(p: Mapping[str, float] | ArrayLike) -> dict[str, float] | NDArray[np.float64]:
    """Return p-values adjusted for being many, so that the chance of any false one stays below the level of one test.

    Parameters
    ----------
    p
        Numbers in [0, 1], in one row or by name.

    Returns
    -------
    array or dict
        In the order, or by the names, of ``p``; each at least as large as it was, at most 1.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        A value is no number in [0, 1].

    References
    ----------
    Holm 1979, "A simple sequentially rejective multiple test procedure".

    Examples
    --------
    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    if isinstance(p, Mapping):
        return dict(zip(p, holm(list(p.values())).tolist(), strict=True)) if p else {}
    values = check_values(p, "p", 0)
    if ((values < 0) | (values > 1)).any():
        raise ArgumentValueError(f"p must be numbers in [0, 1], got {values.tolist()}")
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    factors = np.arange(len(values), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * values[order]))
    return adjusted


def ppv(tpr: float, fpr: float, prior: float) -> float:
    """Return the share of true alarms: the chance that who is called a member is one.

    Parameters
    ----------
    tpr, fpr
        The attack's rates, in [0, 1].
    prior
        The share of members among those who are tested, in [0, 1]. An attack's curve does not know it: of 1,000 candidates
        with one member, a true positive rate of 40 % at 1 % leaves 25 false alarms for each true one.

    Returns
    -------
    float
        tpr * prior / (tpr * prior + fpr * (1 - prior)); NaN where there is never an alarm.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument is no number in [0, 1].

    References
    ----------
    Jayaraman et al. 2021, "Revisiting Membership Inference Under Realistic Assumptions".

    Examples
    --------
    >>> round(ppv(0.4, 0.01, 0.5), 3), round(ppv(0.4, 0.01, 0.001), 3)
    (0.976, 0.038)
    """
    for name, value in (("tpr", tpr), ("fpr", fpr), ("prior", prior)):
        if isinstance(value, bool) or not isinstance(value, int | float | np.floating):
            raise ArgumentTypeError(f"{name} must be a number in [0, 1], got {type(value).__name__}")
        if not 0 <= value <= 1:
            raise ArgumentValueError(f"{name} must be a number in [0, 1], got {value!r}")
    true, false = tpr * prior, fpr * (1 - prior)
    return float(true / (true + false)) if true + false > 0 else float("nan")
