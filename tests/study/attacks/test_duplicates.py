"""Duplicates are merged by a rule that does not depend on order, blocks or threads."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from memcore.errors import ArgumentTypeError, ArgumentValueError
from memcore.study.attacks import duplicates
from memcore.study.attacks.duplicates import merge_duplicates


def _images(count: int = 120) -> NDArray[np.uint8]:
    """Return images with copies, near copies, and chains of near copies."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (count // 4, 6, 6, 3))
    moved = base + rng.integers(-6, 7, base.shape)
    chained = moved + rng.integers(-6, 7, base.shape)
    everything = np.concatenate([base, base, moved, chained])
    return np.clip(everything, 0, 255).astype(np.uint8)[rng.permutation(count // 4 * 4)]


@pytest.mark.parametrize("pairs", [1 << 24, 100])
def test_groups_are_connected_components(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_PAIRS", pairs)
    images = _images()
    flat = images.reshape(len(images), -1).astype(int)
    ssd = ((flat[:, None] - flat) ** 2).sum(axis=2)
    merged = merge_duplicates(images, 0.015, threads=1)
    assert 30 < len(merged.rows) < 90, "some chains hold and some do not"
    _, labels = connected_components(ssd <= 0.015**2 * 255**2 * flat.shape[1])
    for row, group in enumerate(merged.group):
        assert merged.rows[group] == np.flatnonzero(labels == labels[row])[0]
    assert merged.copies.sum() == len(images)
    assert merged.merged == len(images) - len(merged.rows)


def test_without_tolerance_only_copies_are_merged() -> None:
    images = _images()
    merged = merge_duplicates(images, 0)
    assert len(merged.rows) == len({image.tobytes() for image in images})
    assert (images[merged.rows[merged.group]] == images).all()


def test_many_copies_of_one_image() -> None:
    merged = merge_duplicates(np.zeros((5000, 4, 4, 1), np.uint8))
    assert (merged.rows.tolist(), merged.copies.tolist()) == ([0], [5000])


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        (np.zeros((0, 4, 4, 1), np.uint8), ArgumentValueError, "images must hold at least one image"),
        (np.zeros((4, 4, 1), np.uint8), ArgumentValueError, "images must have the shape"),
        (np.zeros((2, 4, 4, 1)), ArgumentTypeError, "images must be uint8"),
        ([1, 2], ArgumentTypeError, "images must be a NumPy array"),
    ],
)
def test_what_is_refused(images: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        merge_duplicates(images)  # type: ignore[arg-type]
