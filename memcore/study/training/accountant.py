"""What epsilon the steps of DP-SGD cost: the privacy loss distribution of the Poisson-subsampled Gaussian mechanism.

A step takes each training row with chance q, clips its gradient to norm C and adds Gaussian noise of deviation sigma C. Of
two training sets that differ in one row, its outputs are at worst as far apart as N(0, sigma^2) and (1 - q) N(0, sigma^2) +
q N(1, sigma^2). Of sets that differ in a row that stands there k times, they are as far apart as N(0, sigma^2) and the
mixture of N(j, sigma^2), j binomial of k and q. The logarithm of the ratio of the two densities is the privacy
loss; losses of steps
add up, so their distribution is convolved with itself, by FFT.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ArgumentValueError
from memcore.study.statistics.intervals import import_scipy_stats

#: Cells of the outcome of a step, and deviations that they reach beyond its means.
_CELLS, _REACH = 1 << 13, 9.0
#: Points of the distribution of the sum, and deviations of it that they reach on either side.
_POINTS, _SPREADS = 1 << 16, 24.0
#: Halvings of the interval that the noise is searched in.
_HALVINGS = 40


def spent_epsilon(sigma: float, rate: float, steps: int, delta: float, *, copies: int = 1) -> float:
    """Return the epsilon of ``steps`` steps of DP-SGD at ``delta``, for sets that differ by one image.

    Computed numerically, to some 0.1 %; an accountant of another make agrees to 1 % (tests).

    Parameters
    ----------
    sigma
        Standard deviation of the noise, over the norm that gradients are clipped to; > 0.
    rate
        Chance that a step takes a row, in (0, 1].
    steps
        How many, at least 1.
    delta
        In (0, 1).
    copies
        How often the image stands in the training set. The guarantee of DP-SGD is for a row: an image that stands there 100
        times has this epsilon, not that of a row.

    Raises
    ------
    ArgumentValueError
        An argument is out of its range.
    MissingExtraError
        scipy is not installed.

    References
    ----------
    Abadi et al. 2016, "Deep Learning with Differential Privacy"; Koskela, Jaelkoe and Honkela 2020, "Computing Tight
    Differential Privacy Guarantees Using FFT"; Doroshenko et al. 2022, "Connect the Dots" (the rounding of losses).

    Examples
    --------
    >>> one, hundred = (spent_epsilon(1.0, 0.05, 100, 1e-4, copies=k) for k in (1, 100))
    >>> one < 3 < 300 < hundred
    True
    """
    for name, value, allowed in (
        ("sigma", sigma, sigma > 0 and math.isfinite(sigma)),
        ("rate", rate, 0 < rate <= 1),
        ("steps", steps, steps >= 1),
        ("delta", delta, 0 < delta < 1),
        ("copies", copies, copies >= 1),
    ):
        if not allowed:
            raise ArgumentValueError(f"{name} is out of its range, got {value}")
    with_image, without = _outcomes(sigma, rate, copies)
    return max(
        _compose(with_image, without, steps, delta),  # the image is taken out
        _compose(without, with_image, steps, delta),  # the image is added
    )


@functools.lru_cache(maxsize=64)
def noise_for(epsilon: float, delta: float, rate: float, steps: int) -> float:
    """Return the least noise, in units of the clipping norm, with which ``steps`` steps cost at most ``epsilon``.

    Raises ArgumentValueError as ``spent_epsilon`` does, and if no noise up to 1,000 is enough.

    >>> sigma = noise_for(4.0, 1e-4, 0.05, 100)
    >>> abs(spent_epsilon(sigma, 0.05, 100, 1e-4) - 4.0) < 0.01
    True
    """
    low, high = 0.05, 1000.0
    if spent_epsilon(high, rate, steps, delta) > epsilon:
        raise ArgumentValueError(f"epsilon={epsilon} is out of reach with noise of up to {high:g}")
    if spent_epsilon(low, rate, steps, delta) <= epsilon:
        return low
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if spent_epsilon(middle, rate, steps, delta) <= epsilon else (middle, high)
        if high / low < 1 + 1e-5:
            break
    return high


def _outcomes(sigma: float, rate: float, copies: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the chances of a step's outcome in each of many cells: with the image, and without it."""
    stats = import_scipy_stats("The accountant of DP-SGD")
    from scipy.special import ndtr

    taken = np.arange(copies + 1)
    weight = stats.binom.pmf(taken, copies, rate)
    kept = weight > 1e-30
    edges = np.linspace(-_REACH * sigma, taken[kept].max() + _REACH * sigma, _CELLS + 1)
    cells = np.zeros((2, _CELLS))
    for j, w in zip(taken[kept], weight[kept], strict=True):
        chance = _between(edges, float(j), sigma, ndtr)
        cells[0] += w * chance
        if j == 0:
            cells[1] = chance
    if not kept[0]:
        cells[1] = _between(edges, 0.0, sigma, ndtr)
    return cells[0], cells[1]


def _between(edges: NDArray[np.float64], mean: float, sigma: float, ndtr: Any) -> NDArray[np.float64]:
    """Return the chance of each cell, taken in the tail that keeps its digits."""
    z = (edges - mean) / sigma
    lower, upper = np.diff(ndtr(z)), -np.diff(ndtr(-z))
    chance: NDArray[np.float64] = np.where(z[1:] < 0, lower, upper)
    return chance


def _compose(p: NDArray[np.float64], q: NDArray[np.float64], steps: int, delta: float) -> float:
    """Return the epsilon for which p's ``steps`` outcomes exceed e^epsilon times q's by ``delta`` in all."""
    lost = float(p[q <= 0].sum())  # what q cannot make at all
    use = (p > 0) & (q > 0)
    p, loss = p[use], np.log(p[use]) - np.log(q[use])
    mean = float(p @ loss)
    spread = math.sqrt(max(1e-30, float(p @ (loss - mean) ** 2)))
    half = max(
        steps * abs(mean) + _SPREADS * math.sqrt(steps) * spread,
        float(np.abs(loss[p > delta * 1e-9 / steps]).max()),
    )
    grid = 2 * half / _POINTS
    first = math.floor(min(0.0, float(loss.min())) / grid)
    place = loss / grid - first
    below = np.floor(place).astype(np.int64)
    # Of a loss between two points of the grid, both get a share such that the chance and its image under q are kept.
    share = np.expm1(-(place - below) * grid) / np.expm1(-grid)
    count = int(below.max()) + 2
    masses = np.bincount(below, p * (1 - share), count) + np.bincount(below + 1, p * share, count)
    folded = np.bincount(np.arange(first, first + count) % _POINTS, masses, _POINTS)
    total = np.fft.irfft(np.fft.rfft(folded) ** steps, _POINTS).clip(min=0)
    # Losses run from the middle of what the sum is expected to be, half on either side.
    start = round(steps * mean / grid) - _POINTS // 2
    chances = np.roll(total, -(start % _POINTS))
    losses = (start + np.arange(_POINTS)) * grid
    gone = 1 - (1 - lost) ** steps

    def exceeds(epsilon: float) -> bool:
        over = losses > epsilon
        return gone + float(chances[over] @ -np.expm1(epsilon - losses[over])) > delta

    low, high = 0.0, float(max(losses[-1], 0.0))
    if not exceeds(low):
        return 0.0
    if exceeds(high):
        return math.inf
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if exceeds(middle) else (low, middle)
    return high
