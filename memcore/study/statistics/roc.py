"""The ROC curve of a membership attack, and what of it a number of scores can show."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memcore.errors import ArgumentTypeError, ArgumentValueError

#: What is written where ``tpr_at`` is None.
NOT_RESOLVED = "not resolved"
#: Below this false positive rate a handful of scores decides the figure, so more false positives are asked for.
_SMALL_RATE = Fraction(1, 100)
_FALSE_POSITIVES_OF_SMALL_RATES = 10


@dataclasses.dataclass(frozen=True, eq=False)
class RocCurve:
    """The rates of "at or above ``score``", one point for each distinct score, from the highest down.

    Attributes
    ----------
    fpr, tpr
        (points,) float64 in [0, 1], both ascending from (0, 0) to (1, 1): shares of the non-members and of the members
        at or above ``score``.
    score
        (points,) float64, descending; the first is infinite and reports nobody.
    members, non_members
        How many scores there are of each.
    auc
        The chance that a member scores above a non-member; ties count half.

    Examples
    --------
    >>> curve = roc([0.9, 0.8, 0.3, 0.2], [True, False, True, False])
    >>> curve.auc, curve.tpr.tolist(), curve.fpr.tolist()
    (0.75, [0.0, 0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5, 1.0])
    """

    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]
    score: NDArray[np.float64]
    members: int
    non_members: int
    auc: float

    def __repr__(self) -> str:
        """Return one line, without the arrays."""
        return f"RocCurve(members={self.members}, non_members={self.non_members}, auc={self.auc:.4f})"

    def tpr_at(self, fpr: float) -> float | None:
        """Return the largest true positive rate at a false positive rate of at most ``fpr``.

        None where the non-members are fewer than ``non_members_needed(fpr)``: write "not resolved" there, not a figure.
        Raises ArgumentTypeError or ArgumentValueError unless ``fpr`` is a number in (0, 1).

        >>> curve = roc(np.r_[np.arange(50, 150), np.arange(100)], np.arange(200) < 100)
        >>> curve.tpr_at(0.01), curve.tpr_at(0.001)
        (0.51, None)
        """
        if self.non_members < non_members_needed(fpr):
            return None
        allowed = math.floor(Fraction(str(float(fpr))) * self.non_members)
        # Shares of the same whole: comparing counts spares the question of how a share was rounded.
        counts = np.rint(self.fpr * self.non_members)
        return float(self.tpr[np.searchsorted(counts, allowed, side="right") - 1])

    def log_points(self, points: int = 200) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (fpr, tpr), each (points,), for a plot with two logarithmic axes.

        ``fpr`` is spaced evenly in its logarithm from 1 / non_members, the least rate that can be seen, to 1; ``tpr`` is the
        curve's step there, and 0 where no member is found. Curves with equally many non-members have equal ``fpr``, so
        that they can be averaged. Raises ArgumentValueError for fewer than 2 points.

        >>> fpr, tpr = roc([0.9, 0.8, 0.3, 0.2], [True, False, True, False]).log_points(2)
        >>> fpr.tolist(), tpr.tolist()
        ([0.5, 1.0], [1.0, 1.0])
        """
        if points < 2:
            raise ArgumentValueError(f"points must be at least 2, got {points}")
        grid = np.geomspace(1 / self.non_members, 1.0, points)
        slack = (
            0.5 / self.non_members * 1e-6
        )  # a grid point that is a share must not fall below it by rounding
        return grid, self.tpr[np.searchsorted(self.fpr, grid + slack, side="right") - 1]


def roc(scores: ArrayLike, members: ArrayLike) -> RocCurve:
    """Return the ROC curve of scores, of which higher ones mean "member".

    Parameters
    ----------
    scores
        Real numbers of any shape, infinite ones included; equal scores are taken together.
    members
        bool of the same shape: what is true.

    Raises
    ------
    ArgumentTypeError
        ``members`` is not bool, or ``scores`` are not real numbers.
    ArgumentValueError
        The shapes differ, a score is NaN, or there is no member or no non-member.

    References
    ----------
    Carlini et al. 2022, "Membership Inference Attacks From First Principles": what counts is the true positive rate at a
    low false positive rate, so both axes are logarithmic.

    Examples
    --------
    >>> roc([[3.0, 1.0], [2.0, 0.0]], [[True, False], [True, False]])
    RocCurve(members=2, non_members=2, auc=1.0000)
    """
    values, truth = _checked(scores, members)
    order = np.argsort(-values, kind="stable")
    values, truth = values[order], truth[order]
    last = np.append(np.flatnonzero(values[1:] != values[:-1]), len(values) - 1)
    true = np.concatenate([[0], np.cumsum(truth)[last]])
    false = np.concatenate([[0], np.cumsum(~truth)[last]])
    # Twice the area in whole pairs, so that it does not depend on an order of additions.
    twice = int((np.diff(false) * (true[1:] + true[:-1])).sum())
    n_true, n_false = int(true[-1]), int(false[-1])
    return RocCurve(
        false / n_false,
        true / n_true,
        np.concatenate([[np.inf], values[last]]),
        n_true,
        n_false,
        twice / (2 * n_true * n_false),
    )


def auc(scores: ArrayLike, members: ArrayLike) -> float:
    """Return the chance that a member scores above a non-member, ties counting half; arguments and errors as in ``roc``.

    >>> auc([3.0, 2.0, 2.0], [True, True, False])
    0.75
    """
    return roc(scores, members).auc


def tpr_at(scores: ArrayLike, members: ArrayLike, fpr: float) -> float | None:
    """Return the true positive rate at ``fpr``; None where too few non-members resolve it. See ``RocCurve.tpr_at``.

    >>> tpr_at(np.arange(200), np.arange(200) >= 100, 0.01)
    1.0
    """
    return roc(scores, members).tpr_at(fpr)


def non_members_needed(fpr: float) -> int:
    """Return how many non-member scores a true positive rate at ``fpr`` needs: 100 for 1 %, 10,000 for 0.1 %.

    From 1 % on, one false positive must be possible; below it ten, since one or two scores in the tail would decide.
    Raises ArgumentTypeError or ArgumentValueError unless ``fpr`` is a number in (0, 1).

    >>> non_members_needed(0.01), non_members_needed(0.001)
    (100, 10000)
    """
    if isinstance(fpr, bool) or not isinstance(fpr, int | float | np.floating | np.integer):
        raise ArgumentTypeError(f"fpr must be a number in (0, 1), got {type(fpr).__name__}")
    if not 0 < fpr < 1:
        raise ArgumentValueError(f"fpr must be a number in (0, 1), got {fpr!r}")
    rate = Fraction(str(float(fpr)))
    return math.ceil((_FALSE_POSITIVES_OF_SMALL_RATES if rate < _SMALL_RATE else 1) / rate)


def _checked(scores: ArrayLike, members: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return both as flat arrays, or raise."""
    values, truth = np.asarray(scores), np.asarray(members)
    if values.dtype.kind not in "fiu":
        raise ArgumentTypeError(f"scores must be real numbers, got {values.dtype}")
    if truth.dtype != np.bool_:
        raise ArgumentTypeError(f"members must be bool, got {truth.dtype}")
    if values.shape != truth.shape:
        raise ArgumentValueError(
            f"members must have the shape of scores {values.shape}, got {truth.shape}; losses of shape (models, images, "
            "draws) become scores by an attack first"
        )
    flat = values.reshape(-1).astype(np.float64)
    if np.isnan(flat).any():
        raise ArgumentValueError(f"scores must not hold NaN, got {int(np.isnan(flat).sum())} of {flat.size}")
    marks = truth.reshape(-1)
    if not marks.any() or marks.all():
        raise ArgumentValueError(
            f"members must mark at least one member and one non-member, got {int(marks.sum())} members of {marks.size}"
        )
    return flat, marks
