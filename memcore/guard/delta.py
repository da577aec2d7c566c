"""How near is too near: a delta at which few images that are no copies are refused, with a proof for the rate.

Source: the bound is that of Clopper and Pearson 1934; that it holds for a threshold read off the same images is the
distribution-free tolerance limit of Wilks 1941, since the k-th smallest of n distances is used with a k that n fixes.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ArgumentValueError
from memcore.evaluation.score import CONFIDENCE, clopper_pearson
from memcore.types import Threshold

#: Deltas are multiples of this, so that they can be written down.
STEP = Fraction(1, 10_000)


@dataclasses.dataclass(frozen=True)
class ChosenDelta:
    """A delta, and what it refuses of the held-out images from which it was chosen.

    Attributes
    ----------
    delta
        In [0, 1], a multiple of 0.0001.
    refused, images
        Held-out images with a training image within delta, of how many.
    low, high
        The exact interval (Clopper-Pearson) of the rate at which such images are refused, at ``confidence``. ``high`` is
        at most ``wanted``.
    wanted
        The largest rate that was asked for.
    limited_by
        "refused": a larger delta would refuse too many; "most": delta is the largest that was asked for.

    Examples
    --------
    >>> str(ChosenDelta(0.05, 2, 1000, 0.0002, 0.0072, 0.01))
    'delta 0.05: 2 of 1,000 held-out images refused, 0.20 % (0.02 % to 0.72 %)'
    """

    delta: float
    refused: int
    images: int
    low: float
    high: float
    wanted: float
    limited_by: str = "refused"
    confidence: float = CONFIDENCE

    def __str__(self) -> str:
        """Return one line."""
        share = self.refused / self.images
        return (
            f"delta {self.delta:g}: {self.refused:,} of {self.images:,} held-out images refused, {share:.2%} "
            f"({self.low:.2%} to {self.high:.2%})"
        ).replace("%", " %")


def most_refused(images: int, rate: float) -> int:
    """Return the largest k such that k of ``images`` refused prove a rate of at most ``rate``; -1 if not even 0 does.

    >>> most_refused(367, 0.01), most_refused(368, 0.01), most_refused(5000, 0.01)
    (-1, 0, 36)
    """
    low, high = -1, images  # of the two, low does and high does not; the bound grows with k
    while high - low > 1:
        k = (low + high) // 2
        low, high = (k, high) if clopper_pearson(k, images)[1] <= rate else (low, k)
    return low


def choose(ssd: NDArray[np.int64], tile_bytes: int, refused: float, most: float) -> ChosenDelta:
    """Return the largest delta up to ``most`` that refuses provably at most ``refused``.

    ``ssd`` (N,) is the ssd of each held-out image's nearest training image, of a tile of ``tile_bytes``.
    """
    if isinstance(refused, bool) or not isinstance(refused, int | float) or not 0 < refused < 1:
        raise ArgumentValueError(f"refused must be a rate between 0 and 1, got {refused!r}")
    allowed = most_refused(len(ssd), refused)
    if allowed < 0:
        needed = int(np.ceil(np.log((1 - CONFIDENCE) / 2) / np.log(1 - refused)))
        raise ArgumentValueError(
            f"held_out must have at least {needed:,} images to prove a rate of at most {refused:g}, got {len(ssd):,}"
        )
    first = int(np.sort(ssd)[allowed])  # this one must pass, and all that are farther
    steps = int(Fraction(str(most)) / STEP)
    limited = "most"
    if Threshold(float(steps * STEP)).ssd_max(tile_bytes) >= first:
        low, high, limited = -1, steps, "refused"
        while high - low > 1:
            middle = (low + high) // 2
            fits = Threshold(float(middle * STEP)).ssd_max(tile_bytes) < first
            low, high = (middle, high) if fits else (low, middle)
        steps = low
    if steps < 0:
        same = int((ssd == 0).sum())
        raise ArgumentValueError(
            f"held_out must not hold training images, got {same:,} of {len(ssd):,} that are equal to one: no delta refuses "
            f"at most {refused:g} of them"
        )
    delta = float(steps * STEP)
    k = int((ssd <= Threshold(delta).ssd_max(tile_bytes)).sum())
    low_rate, high_rate = clopper_pearson(k, len(ssd))
    return ChosenDelta(delta, k, len(ssd), low_rate, high_rate, refused, limited)
