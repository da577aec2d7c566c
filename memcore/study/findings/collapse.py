"""How well curves of different models fall on one: measured by predicting each from the others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple


class Reading(NamedTuple):
    """A value of one curve: of a set of ``n`` images and a model of ``width``, after ``step`` steps."""

    n: int
    width: int
    step: int
    value: float


def isotonic(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the nearest ascending curve, in least squares, to points (x, y); points of equal x are one.

    Pool adjacent violators: while a level is below the one before it, both become their mean.

    >>> isotonic([(1, 0.0), (2, 0.4), (3, 0.2), (4, 1.0)])
    [(1, 0.0), (2, 0.30000000000000004), (3, 0.30000000000000004), (4, 1.0)]
    """
    at: dict[float, list[float]] = {}
    for x, y in points:
        at.setdefault(x, []).append(y)
    blocks: list[tuple[float, int, list[float]]] = []
    for x in sorted(at):
        total, weight, places = math.fsum(at[x]), len(at[x]), [x]
        while blocks and blocks[-1][0] / blocks[-1][1] > total / weight:
            before = blocks.pop()
            total, weight, places = total + before[0], weight + before[1], [*before[2], *places]
        blocks.append((total, weight, places))
    return [(x, total / weight) for total, weight, places in blocks for x in places]


def predict(curve: Sequence[tuple[float, float]], x: float) -> float | None:
    """Return the curve's value between its points; None outside them.

    >>> predict([(0, 0.0), (2, 1.0)], 0.5), predict([(0, 0.0)], 3)
    (0.25, None)
    """
    if not curve or not curve[0][0] <= x <= curve[-1][0]:
        return None
    for (left, low), (right, high) in itertools.pairwise(curve):
        if left <= x <= right:
            return low if right == left else low + (high - low) * (x - left) / (right - left)
    return curve[0][1]


def removed(
    readings: Sequence[Reading],
    scaled: Callable[[Reading], float],
    plain: Callable[[Reading], float],
    curve_of: Callable[[Reading], Hashable],
) -> float | None:
    """Return the share of the squared error that the scaled axis removes, in [-1, 1].

    Each curve (the readings of one ``curve_of``) is predicted from the ascending fit to all others, once over the logarithm
    of ``scaled`` and once over that of ``plain``, at the same readings: those that both axes have others around. No curve is
    predicted from itself, so neither axis gains by having more distinct places. Above 0 the scaled axis is better and the
    number is the share of the plain axis' error that it removes; below 0 the plain one is, and it is the share removed the
    other way. 0 where neither errs; None where no reading can be predicted.
    """
    curves: dict[Hashable, list[Reading]] = {}
    for reading in readings:
        curves.setdefault(curve_of(reading), []).append(reading)
    errors = [0.0, 0.0]
    compared = 0
    for own, held in curves.items():
        others = [r for key, rows in curves.items() if key != own for r in rows]
        fits = [isotonic([(math.log(axis(r)), r.value) for r in others]) for axis in (scaled, plain)]
        for reading in held:
            guesses = [
                predict(fit, math.log(axis(reading))) for fit, axis in zip(fits, (scaled, plain), strict=True)
            ]
            if guesses[0] is None or guesses[1] is None:
                continue
            compared += 1
            for i, guess in enumerate(guesses):
                errors[i] += (reading.value - (guess or 0.0)) ** 2
    worse = max(errors)
    if not compared:
        return None
    return (errors[1] - errors[0]) / worse if worse > 0 else 0.0
