"""Losses against the closed form of a Gaussian, and what the threshold then finds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import f as f_distribution

from memcore.errors import ArgumentTypeError, ArgumentValueError
from memcore.study.attacks.losses import measure_losses
from memcore.study.attacks.membership import threshold
from memcore.study.models.denoiser import Denoiser
from memcore.study.statistics import auc
from tests.support.known_denoisers import GaussianDenoiser, MemorisingDenoiser, to_pixels

SHAPE = (8, 8, 1)


def test_the_helpers_are_denoisers() -> None:
    assert isinstance(GaussianDenoiser(SHAPE), Denoiser)


@pytest.mark.parametrize("timestep", [20, 200, 600])
def test_losses_against_the_closed_form(timestep: int) -> None:
    """Over 400 noises of 64 pixels the mean of each image's loss is within 4 of its standard errors."""
    model = GaussianDenoiser(SHAPE)
    images = to_pixels(np.random.default_rng(0).normal(0, 0.4, (6, *SHAPE)))
    values = measure_losses(model, images, timesteps=[timestep], draws=400).values
    error = values.std(axis=1, ddof=1) / np.sqrt(400)
    assert (np.abs(values.mean(axis=1) - model.expected_loss(images, timestep)) < 4 * error).all()


def test_the_threshold_on_a_gaussian_against_its_closed_form() -> None:
    """Squared distances from the mean are chi-square: the area is an F distribution's, of as many degrees as pixels."""
    rng = np.random.default_rng(1)
    model = GaussianDenoiser(SHAPE, deviation=0.03)
    members = np.arange(3000) < 1500
    spread = np.where(members, 0.25, 0.25 * 1.15)[:, None, None, None]
    images = to_pixels(spread * rng.normal(size=(3000, *SHAPE)))
    found = measure_losses(model, images, timesteps=[300], draws=2)
    area = auc(threshold(found.values[None]), members[None])
    assert area == pytest.approx(f_distribution.cdf(1.15**2, 64, 64), abs=0.02)


def test_a_memorising_model_has_no_loss_on_its_members() -> None:
    images = np.random.default_rng(2).integers(0, 256, (40, *SHAPE), dtype=np.uint8)
    found = measure_losses(MemorisingDenoiser(images[:20]), images, timesteps=[50])
    assert found.values[:20].max() < 1e-6 < found.values[20:].min()


def test_draws_are_in_the_order_that_is_told() -> None:
    model = GaussianDenoiser(SHAPE)
    images = np.random.default_rng(3).integers(0, 256, (5, *SHAPE), dtype=np.uint8)
    found = measure_losses(model, images, timesteps=[100, 50], draws=2, flips=True, seed=9)
    assert found.timesteps.tolist() == [100] * 4 + [50] * 4
    assert found.noise.tolist() == [0, 0, 1, 1] * 2
    assert found.flipped.tolist() == [False, True] * 4
    mirrored = measure_losses(model, images[:, :, ::-1], timesteps=[100, 50], draws=2, seed=9)
    np.testing.assert_array_equal(found.values[:, found.flipped], mirrored.values)
    assert len({*found.values[0].tolist()}) == 8, "no two draws are the same"


def test_models_see_the_same_noise() -> None:
    """Two models that differ by nothing have equal losses; another seed gives others."""
    images = np.random.default_rng(4).integers(0, 256, (5, *SHAPE), dtype=np.uint8)
    first, second = (
        measure_losses(GaussianDenoiser(SHAPE), images, timesteps=[50], draws=3).values for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    other = measure_losses(GaussianDenoiser(SHAPE), images, timesteps=[50], draws=3, seed=1).values
    assert not (other == first).any()
    fewer = measure_losses(GaussianDenoiser(SHAPE), images[:2], timesteps=[50], draws=2).values
    np.testing.assert_array_equal(fewer, first[:2, :2])


class _Wrong(GaussianDenoiser):
    def __init__(self, answer: object) -> None:
        super().__init__(SHAPE)
        self.answer = answer

    def losses(self, *_: object, **__: object) -> object:  # type: ignore[override]
        return self.answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            np.zeros(3, np.float32),
            r"model.losses must return \(2,\) floats, one for each image, got float32 \(3,\)",
        ),
        (np.array([1.0, np.nan], np.float32), "a loss that is not means a model that diverged"),
        (np.array([1, 2]), "model.losses must return .* got int64"),
    ],
)
def test_models_that_answer_wrongly(answer: object, words: str) -> None:
    with pytest.raises(ArgumentValueError, match=words):
        measure_losses(_Wrong(answer), np.zeros((2, *SHAPE), np.uint8), timesteps=[1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"timesteps": [1000]}, r"timesteps must be in \[0, 999\], got 1000"),
        ({"timesteps": []}, "timesteps must be at least one"),
        ({"timesteps": [5, 5]}, "each once"),
        ({"draws": 0}, "draws must be >= 1"),
        ({"images": np.zeros((1, 4, 4, 1), np.uint8)}, r"images must have the model's shape \(8, 8, 1\)"),
        ({"images": np.zeros((1, *SHAPE))}, "images must be"),
    ],
)
def test_what_is_refused(change: dict, words: str) -> None:
    given = {"images": np.zeros((1, *SHAPE), np.uint8), "timesteps": [50], **change}
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match=words):
        measure_losses(GaussianDenoiser(SHAPE), given.pop("images"), **given)
