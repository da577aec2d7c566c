"""The delta that is chosen is the largest that provably refuses few, and refuses few of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta

from memcore.errors import ArgumentValueError
from memcore.guard import OutputFilter
from memcore.types import Threshold
from tests.support.index_sets import Images, make_index, tile_ssd

SIDE = 8


def smooth(seed: int, count: int) -> Images:
    """Return images of four colours, of which some are near others by chance."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 2, 2, 3)).repeat(4, 1).repeat(4, 2)
    return np.clip(coarse + rng.integers(-6, 7, coarse.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("metric", "cut"), [("l2", (1, 1)), ("tiled_l2", (2, 2))])
def test_it_is_the_largest_by_brute_force(tmp_path: Path, metric: Any, cut: tuple[int, int]) -> None:
    training, held_out, other = smooth(0, 3000), smooth(1, 1000), smooth(2, 2000)
    index = make_index(tmp_path, training)
    chosen = OutputFilter.choose_delta(index, held_out, refused=0.02, most=1.0, metric=metric, grid=(2, 2))
    least = tile_ssd(held_out, training, cut).min(1)
    tile = SIDE * SIDE * 3 // (cut[0] * cut[1])

    def upper(delta: float) -> float:
        k = int((least <= Threshold(delta).ssd_max(tile)).sum())
        return float(beta.ppf(0.975, k + 1, 1000 - k))

    assert upper(chosen.delta) <= 0.02 < upper(round(chosen.delta + 0.0001, 4))
    assert chosen.high == pytest.approx(upper(chosen.delta))
    assert chosen.refused == (least <= Threshold(chosen.delta).ssd_max(tile)).sum() > 0
    assert chosen.images == 1000
    assert chosen.limited_by == "refused"
    guard = OutputFilter(index, chosen.delta, metric=metric, grid=(2, 2))
    guard(other)
    assert guard.counts.copies <= 0.02 * 2000
    guard.check(held_out)
    assert guard.counts.copies - chosen.refused <= 0.02 * 2000  # the filter refuses what was counted


def test_most_limits_it(tmp_path: Path) -> None:
    index = make_index(tmp_path, smooth(0, 50))
    chosen = OutputFilter.choose_delta(index, smooth(1, 400), most=0.01)
    assert (chosen.delta, chosen.refused, chosen.limited_by) == (0.01, 0, "most")


def test_what_proves_nothing_is_refused(tmp_path: Path) -> None:
    training = smooth(0, 500)
    index = make_index(tmp_path, training)
    with pytest.raises(
        ArgumentValueError, match=r"at least 368 images to prove a rate of at most 0\.01, got 367"
    ):
        OutputFilter.choose_delta(index, smooth(1, 367))
    with pytest.raises(ArgumentValueError, match="must not hold training images, got 500 of 500"):
        OutputFilter.choose_delta(index, training)
    with pytest.raises(ArgumentValueError, match=r"held_out\[1\] cannot be compared with .*wrong-size"):
        OutputFilter.choose_delta(index, [training[0], training[1][:4]])
    for rate in (0, 1, True):
        with pytest.raises(ArgumentValueError, match="refused must be a rate between 0 and 1"):
            OutputFilter.choose_delta(index, smooth(1, 400), refused=rate)
