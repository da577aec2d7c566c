"""Intervals: over seeds, over models and images that share each other, and of a proportion."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memcore.arrays import check_count
from memcore.errors import ArgumentTypeError, ArgumentValueError, MissingExtraError

LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate with a two-sided confidence interval.

    ``n`` counts what was independent: seeds, models or trials. ``level`` is the confidence, 0.95 by default.

    >>> Interval(0.5, 0.25, 0.75, 5).excludes(0)
    True
    """

    estimate: float
    low: float
    high: float
    n: int
    level: float = LEVEL

    def excludes(self, value: float) -> bool:
        """Return whether ``value`` is outside the interval."""
        return value < self.low or value > self.high

    def __str__(self) -> str:
        """Return the estimate and the interval: "0.699 (0.612 to 0.786)"."""
        return f"{self.estimate:.3g} ({self.low:.3g} to {self.high:.3g})"


def t_interval(values: ArrayLike, level: float = LEVEL) -> Interval:
    """Return the mean of independent values with Student's t interval of n - 1 degrees of freedom.

    Parameters
    ----------
    values
        (n,) finite real numbers, n >= 2: one for each seed. Models that share training images or shadow models are no
        independent values; for those there is ``bootstrap``.
    level
        Confidence in (0, 1).

    Raises
    ------
    ArgumentValueError
        There are fewer than 2 values, one is not finite, or ``level`` cannot be used.
    MissingExtraError
        scipy is not installed.

    Examples
    --------
    >>> str(t_interval([0.70, 0.66, 0.72, 0.69, 0.73]))
    '0.7 (0.666 to 0.734)'
    """
    sample = check_values(values, "values", 2)
    tail = _check_level(level)
    stats = import_scipy_stats("Intervals over seeds")
    mean, error = float(sample.mean()), float(sample.std(ddof=1)) / math.sqrt(len(sample))
    half = float(stats.t.ppf(1 - tail, len(sample) - 1)) * error
    return Interval(mean, mean - half, mean + half, len(sample), level)


def clopper_pearson(successes: int, trials: int, level: float = LEVEL) -> Interval:
    """Return a proportion with its exact binomial interval; the trials must be independent.

    Without trials the estimate is NaN and the interval all of [0, 1].

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        ``successes`` and ``trials`` are not integers with 0 <= successes <= trials, or ``level`` cannot be used.
    MissingExtraError
        scipy is not installed.

    References
    ----------
    Clopper and Pearson 1934.

    Examples
    --------
    >>> str(clopper_pearson(0, 1000))
    '0 (0 to 0.00368)'
    """
    n = check_count(trials, "trials", 0)
    k = check_count(successes, "successes", 0, n)
    _check_level(level)
    from memcore.evaluation.score import clopper_pearson as exact

    low, high = exact(k, n, level)
    return Interval(k / n if n else math.nan, low, high, n, level)


def bootstrap(
    statistic: Callable[..., float],
    *arrays: NDArray[Any],
    units: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """Return a statistic of (models, images) arrays with an interval in which models and images both vary.

    Both are drawn with replacement, models as whole units, and the interval runs between percentiles. So it holds for other
    models and for other images, where an interval over all scores as if they were independent would be far too narrow:
    all models are scored on the same images. A difference of two attacks is one statistic of both their scores, resampled
    together, and therefore paired.

    Parameters
    ----------
    statistic
        Takes the arrays, returns one finite number.
    arrays
        One or more arrays with the same first two axes, (models, images, ...): scores, members.
    units
        (models,) numbers: models with the same number are drawn together, as the two of a complementary pair, which have
        no image in common, must be. By default each model is a unit.
    resamples
        How many times to draw, at least 100.
    seed
        Of the draws: the same seed gives the same interval.
    level
        Confidence in (0, 1).

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used, there are fewer than 2 units or images, or the statistic is not a finite number.

    References
    ----------
    Owen and Eckles 2012, "Bootstrapping data arrays of arbitrary order": drawing both axes is slightly conservative.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> members = np.tile(np.arange(40) < 20, (6, 1)); members[1::2] ^= True
    >>> scores = members + rng.normal(size=members.shape)
    >>> from memcore.study.statistics import auc
    >>> found = bootstrap(auc, scores, members, units=[0, 0, 1, 1, 2, 2], resamples=200)
    >>> found.low < auc(scores, members) == found.estimate < found.high, found.n
    (True, 3)
    """
    tail = _check_level(level)
    count = check_count(resamples, "resamples", 100)
    models, images = _common_axes(arrays)
    groups = _rows_of_units(units, models)
    if len(groups) < 2 or images < 2:
        raise ArgumentValueError(
            f"arrays must hold at least 2 units of models and 2 images, got {len(groups)} and {images}"
        )
    estimate = _finite(statistic(*arrays))
    rng = np.random.default_rng(seed)
    drawn = np.empty(count)
    for r in range(count):
        rows = np.concatenate([groups[g] for g in rng.integers(len(groups), size=len(groups))])
        columns = rng.integers(images, size=images)
        drawn[r] = _finite(statistic(*(a[np.ix_(rows, columns)] for a in arrays)))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(estimate, float(low), float(high), len(groups), level)


def check_values(values: ArrayLike, name: str, least: int) -> NDArray[np.float64]:
    """Return (n,) finite float64 with n >= ``least``, or raise ArgumentValueError that names the argument."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise ArgumentTypeError(f"{name} must be real numbers, got {array.dtype}")
    if array.ndim != 1 or len(array) < least:
        raise ArgumentValueError(
            f"{name} must be at least {least} numbers in one row, got the shape {array.shape}"
        )
    numbers = array.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise ArgumentValueError(
            f"{name} must be finite, got {numbers[~np.isfinite(numbers)][0]}; leave out a seed without a figure, and say so"
        )
    return numbers


def import_scipy_stats(purpose: str) -> Any:
    """Return ``scipy.stats``; MissingExtraError with the command that installs it."""
    try:
        import scipy.stats
    except ImportError:
        raise MissingExtraError("scipy", "study", purpose) from None
    return scipy.stats


def _check_level(level: float) -> float:
    """Return the share of each tail."""
    if isinstance(level, bool) or not isinstance(level, int | float | np.floating) or not 0 < level < 1:
        raise ArgumentValueError(f"level must be a number in (0, 1), got {level!r}")
    return (1 - float(level)) / 2


def _common_axes(arrays: tuple[NDArray[Any], ...]) -> tuple[int, int]:
    if not arrays or any(not isinstance(a, np.ndarray) or a.ndim < 2 for a in arrays):
        raise ArgumentTypeError("arrays must be one or more NumPy arrays with the axes (models, images, ...)")
    shapes = {a.shape[:2] for a in arrays}
    if len(shapes) > 1:
        raise ArgumentValueError(f"arrays must agree in (models, images), got {sorted(shapes)}")
    models, images = next(iter(shapes))
    return models, images


def _rows_of_units(units: ArrayLike | None, models: int) -> list[NDArray[np.int64]]:
    """Return the rows of each unit."""
    labels = np.arange(models) if units is None else np.asarray(units)
    if labels.shape != (models,):
        raise ArgumentValueError(
            f"units must have the shape ({models},), one for each model, got {labels.shape}"
        )
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def _finite(value: float) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ArgumentValueError(f"statistic must return a finite number, got {number}")
    return number
