"""Extraction on sets whose answer is known, beside a plain NumPy oracle, and mistakes that must not pass."""

from __future__ import annotations

import dataclasses
import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from memcore.errors import ArgumentTypeError, ArgumentValueError
from memcore.study.attacks import extraction
from memcore.study.attacks.duplicates import Merged
from memcore.study.attacks.extraction import RULES, Extraction, extract
from tests.support.known_denoisers import GaussianDenoiser, MemorisingDenoiser

SHAPE = (8, 8, 1)


def draw(seed: int, count: int, brightness: float = 0.0) -> NDArray[np.uint8]:
    """Return images of one distribution: smooth, so that some are alike."""
    rng = np.random.default_rng(seed)
    smooth = rng.normal(120 + brightness, 30, (count, 2, 2, 1)).repeat(4, axis=1).repeat(4, axis=2)
    return np.clip(smooth + rng.normal(0, 8, (count, *SHAPE)), 0, 255).astype(np.uint8)


def check_model_that_copies() -> None:
    """Every sample of a model that is its training set is a find by each rule, however often an image is in it."""
    unique, held_out = np.split(
        np.random.default_rng(0).integers(0, 256, (264, *SHAPE), dtype=np.uint8), [64]
    )
    training = np.concatenate([unique, unique[:2].repeat(60, axis=0)])
    samples = MemorisingDenoiser(unique).sample(range(300), 20)
    found = extract(samples, training, held_out, k=50)
    for result in found.rules.values():
        assert (result.rule, result.training.share, result.held_out.unique) == (result.rule, 1.0, 0)
        assert result.training.unique > 50
    assert found.merged.merged == 120
    assert found.merged.copies[:3].tolist() == [61, 61, 1]


def test_a_model_that_returns_training_images() -> None:
    check_model_that_copies()


def test_planted_duplicates_not_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    """With copies in the set the second nearest is as near as the nearest, and so are the fifty nearest."""

    def not_merged(images: NDArray[np.uint8], within: float, *, threads: int | None = None) -> Merged:
        rows = np.arange(len(images))
        return Merged(rows, rows, within)

    monkeypatch.setattr(extraction, "merge_duplicates", not_merged)
    with pytest.raises(AssertionError):
        check_model_that_copies()


def test_a_model_that_returns_held_out_images() -> None:
    """It knows nothing of the training set: no find there, and every sample one in the control."""
    training, held_out = draw(2, 200), draw(3, 200)
    found = extract(held_out[:100], training, held_out, calibration=draw(4, 200))
    assert found.rules["ratio"].training.unique == 0
    assert found.rules["ratio"].held_out.share == 1.0
    assert found.rules["l2"].training.unique <= 1
    assert found.rules["l2"].held_out.share == 1.0


def check_control(held_out: NDArray[np.uint8]) -> None:
    """Samples of the distribution are no nearer to the training set than to the control: each rule finds about as many."""
    model = GaussianDenoiser(SHAPE, mean=-0.05, deviation=0.1)
    training = model.sample(range(1000, 1300), 20)
    found = extract(model.sample(range(10_000, 12_000), 20), training, held_out, held_out_rate=0.02)
    for result in found.rules.values():
        ours, control = int(result.training.hits.sum()), int(result.held_out.hits.sum())
        assert abs(ours - control) <= 4 * np.sqrt(ours + control + 1), result.rule


def test_a_gaussian_leaks_nothing() -> None:
    check_control(GaussianDenoiser(SHAPE, mean=-0.05, deviation=0.1).sample(range(5000, 5300), 20))


def test_planted_shifted_control() -> None:
    """A control that is farther away sets its thresholds too wide: the training set seems to leak."""
    with pytest.raises(AssertionError):
        check_control(GaussianDenoiser(SHAPE, mean=0.05, deviation=0.1).sample(range(5000, 5300), 20))


def test_against_plain_numpy() -> None:
    """Distances, second nearest, adaptive distance and hits, one sample at a time in float64."""
    training, held_out = draw(6, 90), draw(7, 90)
    samples = np.concatenate(
        [training[:5], draw(8, 60), np.clip(training[5:20].astype(int) + 9, 0, 255).astype(np.uint8)]
    )
    found = extract(samples, training, held_out, k=10, merge_within=0, held_out_rate=0.05)
    for of, near in ((training, found.near), (held_out, found.near_held_out)):
        gap = samples.reshape(len(samples), -1)[:, None].astype(int) - of.reshape(len(of), -1)
        ssd = (gap**2).sum(axis=2)
        ordered = np.sort(ssd, axis=1)
        assert near.image.tolist() == ssd.argmin(axis=1).tolist()
        assert near.ssd.tolist() == ordered[:, 0].tolist()
        assert near.second_ssd.tolist() == ordered[:, 1].tolist()
        d = np.sqrt(ordered / (64 * 255**2))
        np.testing.assert_allclose(near.l2, d[:, 0], atol=1e-7)
        np.testing.assert_allclose(near.adaptive, d[:, 0] / (0.5 * d[:, :10].mean(axis=1)), atol=1e-6)
        np.testing.assert_allclose(near.ratio, d[:, 0] / d[:, 1], atol=1e-12)
    ratio = found.rules["ratio"].training
    assert ratio.hits.tolist() == (found.near.ratio < 1 / 3).tolist()
    assert ratio.images.tolist() == sorted(set(found.near.image[ratio.hits].tolist()))
    for image, first in zip(ratio.images, ratio.first, strict=True):
        assert first == np.flatnonzero(ratio.hits & (found.near.image == image))[0]


def test_a_threshold_is_the_largest_that_the_held_out_set_allows() -> None:
    training, held_out = draw(9, 100), draw(10, 100)
    found = extract(draw(11, 200), training, held_out, held_out_rate=0.05)
    for rule, values in (
        ("l2", found.near_held_out.ssd),
        ("adaptive_held_out", found.near_held_out.adaptive),
    ):
        result = found.rules[rule]
        assert result.held_out.hits.sum() == 10 == 0.05 * len(values)
        assert result.set_on == "held_out"
        assert not result.held_out.hits[np.argsort(values)[10]], "the next one is outside"


def test_no_threshold_where_samples_are_held_out_images() -> None:
    """They are at distance 0 of the control: a threshold that keeps them out is below 0."""
    training, held_out = draw(12, 60), draw(13, 60)
    found = extract(held_out, training, held_out)
    for rule in ("l2", "adaptive_held_out"):
        assert found.rules[rule].threshold is None
        assert found.rules[rule].training.unique == found.rules[rule].held_out.unique == 0


def test_calibration_leaves_the_control_free() -> None:
    training, held_out, calibration = draw(14, 100), draw(15, 100), draw(16, 100)
    samples = np.concatenate([draw(17, 80), held_out[:20]])
    found = extract(samples, training, held_out, calibration=calibration, held_out_rate=0.01)
    assert found.rules["l2"].set_on == "calibration"
    assert found.rules["l2"].held_out.unique >= 20


def test_the_control_is_of_the_same_size() -> None:
    """More images are nearer; so the rest of a larger control is not looked at, and a smaller one is refused."""
    training, held_out, samples = draw(18, 100), draw(19, 400), draw(20, 50)
    large, equal = (extract(samples, training, held_out[:n]) for n in (400, 100))
    assert large.compared == equal.compared == (100, 100)
    assert large.near_held_out.ssd.tolist() == equal.near_held_out.ssd.tolist()
    with pytest.raises(
        ArgumentValueError,
        match=r"as many unique images as training \(100\), got 80",
    ):
        extract(samples, training, held_out[:80])


def test_held_out_images_that_were_trained_on_are_no_control() -> None:
    training, held_out = draw(21, 100), draw(22, 104)
    held_out[:4] = training[:4]
    found = extract(training[:4], training, held_out)
    assert (found.shared, found.compared) == (4, (100, 100))
    assert found.rules["ratio"].held_out.unique == 0
    assert found.near_held_out.image.min() >= 4


def test_chunks_and_iterators_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    training, held_out, samples = draw(23, 70), draw(24, 70), draw(25, 100)
    whole = extract(samples, training, held_out)
    monkeypatch.setattr(extraction, "_CHUNK", 7)
    parts = extract(iter([samples[:33], samples[33:34], samples[34:]]), training, held_out, threads=1)
    _assert_equal(whole, parts)


def _assert_equal(a: Extraction, b: Extraction) -> None:
    for near, other in ((a.near, b.near), (a.near_held_out, b.near_held_out)):
        for field in dataclasses.fields(near):
            np.testing.assert_array_equal(getattr(near, field.name), getattr(other, field.name))
    assert tuple(a.rules) == RULES
    for rule in RULES:
        assert a.rules[rule].threshold == b.rules[rule].threshold
        for of in ("training", "held_out"):
            for field in ("hits", "images", "first"):
                np.testing.assert_array_equal(
                    getattr(getattr(a.rules[rule], of), field), getattr(getattr(b.rules[rule], of), field)
                )


def test_coverage_counts_the_unique_images_of_the_first_samples() -> None:
    training, held_out = draw(26, 60), draw(27, 60)
    order = np.random.default_rng(0).integers(0, 30, 100)
    found = extract(training[order], training, held_out).rules["ratio"].training
    drawn, unique = found.coverage()
    assert drawn.tolist() == [1, 2, 4, 8, 16, 32, 64, 100]
    assert unique.tolist() == [len(set(order[:n].tolist())) for n in drawn]
    assert found.coverage([0, 3])[1].tolist() == [0, len(set(order[:3].tolist()))]


def test_memory_does_not_grow_with_the_bytes_of_samples() -> None:
    """Four times the samples, some 40 MB more of pixels: only the numbers a sample are kept."""
    training, held_out = (np.repeat(draw(s, 60), 3, axis=3) for s in (28, 29))

    def peak(chunks: int) -> int:
        def made() -> Iterator[NDArray[np.uint8]]:
            rng = np.random.default_rng(0)
            return (rng.integers(0, 256, (8192, 8, 8, 3), dtype=np.uint8) for _ in range(chunks))

        tracemalloc.start()
        extract(made(), training, held_out, k=2)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(1)
    assert peak(8) - peak(2) < 6 * 8192 * 2 * 100


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            {"samples": draw(0, 3).astype(np.float32)},
            ArgumentTypeError,
            "samples must be a uint8 NumPy array",
        ),
        (
            {"samples": draw(0, 3)[:, :4]},
            ArgumentValueError,
            r"samples must have training's shape \(8, 8, 1\)",
        ),
        ({"samples": iter([])}, ArgumentValueError, "samples must hold at least one image, got none"),
        ({"samples": draw(0, 3)[0]}, ArgumentValueError, "samples must have the shape"),
        (
            {"training": draw(0, 1).repeat(9, axis=0)},
            ArgumentValueError,
            "training must hold at least 2 unique",
        ),
        (
            {"held_out": draw(1, 30)[:, :4]},
            ArgumentValueError,
            "held_out must hold images of training's shape",
        ),
        (
            {"calibration": draw(1, 3)},
            ArgumentValueError,
            "calibration must hold about as many unique images",
        ),
        ({"k": 1}, ArgumentValueError, "k must be >= 2, got 1"),
        ({"merge_within": 2}, ArgumentValueError, "within must be a number in"),
        ({"held_out_rate": 1.0}, ArgumentValueError, "held_out_rate must be a number in"),
        ({"threads": 0}, ArgumentValueError, "threads must be a positive integer"),
    ],
)
def test_what_is_refused(change: dict, error: type[Exception], words: str) -> None:
    given = {"samples": draw(30, 5), "training": draw(31, 30), "held_out": draw(32, 30), **change}
    with pytest.raises(error, match=words):
        _call(extract, given)


def _call(function: Callable[..., Extraction], given: dict) -> Extraction:
    return function(given.pop("samples"), given.pop("training"), given.pop("held_out"), **given)
