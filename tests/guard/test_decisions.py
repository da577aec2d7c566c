"""The filter decides as brute force does: no copy within delta passes, and nothing else is withheld."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from memcore.guard import OutputFilter, Verdict
from memcore.index import Index
from memcore.types import Threshold
from tests.support.index_sets import make_index, natural, tile_ssd

Images = NDArray[np.uint8]
SIDE = 16


@pytest.fixture(scope="module")
def training() -> Images:
    return natural(np.random.default_rng(1), 400, SIDE)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, training: Images) -> Index:
    return make_index(tmp_path_factory.mktemp("guard"), training, shard_images=256)


def generations(rng: np.random.Generator, training: Images, count: int) -> Images:
    """Return copies with noise of every level, mixtures, flat images and new ones."""
    images = training[rng.integers(0, len(training), count)].astype(int)
    images += rng.integers(-60, 61, images.shape) * rng.random((count, 1, 1, 1)) ** 2 > 40
    noise = rng.normal(0, 1, images.shape) * rng.uniform(0, 50, (count, 1, 1, 1))
    images = np.rint(images + noise).astype(int)
    images[::5] = rng.integers(0, 256, (len(images[::5]), 1, 1, 3))
    images[1::5] = natural(rng, len(images[1::5]), SIDE)
    return np.clip(images, 0, 255).astype(np.uint8)


def least(a: Images, b: Images, cut: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    ssd = tile_ssd(a, b, cut)
    return ssd.min(1), ssd.argmin(1)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    metric=st.sampled_from(["l2", "tiled_l2"]),
    delta=st.one_of(st.floats(0, 0.3), st.just(0.0), st.just(1.0)),
    threads=st.sampled_from([1, 2]),
)
def test_no_copy_within_delta_passes(
    index: Index, training: Images, seed: int, metric: Any, delta: float, threads: int
) -> None:
    images = generations(np.random.default_rng(seed), training, 40)
    cut = (1, 1) if metric == "l2" else (2, 2)
    nearest, rows = least(images, training, cut)
    limit = Threshold(delta).ssd_max(SIDE * SIDE * 3 // (cut[0] * cut[1]))
    guard = OutputFilter(index, delta, metric=metric, grid=(2, 2), threads=threads)
    for i, decision in enumerate(guard.check(images)):
        assert decision.verdict == (Verdict.COPY if nearest[i] <= limit else Verdict.PASSED)
        if decision.withheld:
            assert decision.row == rows[i]
            assert decision.name == str(rows[i])
            assert decision.distance == pytest.approx(
                np.sqrt(nearest[i] / (255**2 * SIDE * SIDE * 3 / (cut[0] * cut[1]))), abs=1e-6
            )


@pytest.mark.parametrize("metric", ["l2", "tiled_l2"])
def test_the_last_level_decides(tmp_path: Path, metric: Any) -> None:
    """A copy planted exactly at delta is withheld; with one more level of difference it passes."""
    rng = np.random.default_rng(2)
    training = rng.integers(100, 150, (300, 16, 16, 3), dtype=np.uint8)
    index = make_index(tmp_path, training)
    delta, tile = 0.01, 16 * 16 * 3 // (1 if metric == "l2" else 16)
    limit = Threshold(delta).ssd_max(tile)
    guard = OutputFilter(index, delta, metric=metric, threads=1)
    for beyond in (0, 1):
        copy = training[[7]].copy()
        flat = copy[0, :4, :4].reshape(-1) if metric == "tiled_l2" else copy[0].reshape(-1)
        flat = flat.astype(int)
        left = limit + beyond
        for k in range(len(flat)):
            step = min(int(np.sqrt(left)), 100)
            flat[k] += step
            left -= step**2
        assert left == 0
        if metric == "tiled_l2":
            copy[0, :4, :4] = flat.reshape(4, 4, 3)
        else:
            copy[0] = flat.reshape(16, 16, 3)
        (decision,) = guard.check(copy)
        assert decision.withheld == (beyond == 0)


def test_a_guard_of_everything_planted(index: Index, training: Images) -> None:
    """Every training image itself, also one that is there twice, is withheld under its first name."""
    guard = OutputFilter(index, 0.0)
    first = np.array([int(np.flatnonzero((training == image).all((1, 2, 3)))[0]) for image in training])
    assert [decision.row for decision in guard.check(training)] == first.tolist()
    assert all(decision.distance == 0 for decision in guard.check(training[:20]))
    assert guard.counts.copies == guard.counts.checked == len(training) + 20
