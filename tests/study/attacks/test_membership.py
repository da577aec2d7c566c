"""Membership attacks on toys whose likelihood ratio is known, and mistakes that must not pass.

A toy's log losses are normal: each image has a difficulty, each model noise of its own, and training lowers the loss by d.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from memcore.errors import ArgumentTypeError, ArgumentValueError
from memcore.study.attacks import membership
from memcore.study.attacks.membership import blind, lira, threshold
from memcore.study.statistics import auc, tpr_at


def halves(rng: np.random.Generator, models: int, images: int) -> NDArray[np.bool_]:
    """Return complementary random halves, in pairs."""
    half = rng.permuted(np.tile(np.arange(images) < images // 2, (models // 2, 1)), axis=1)
    members = np.repeat(half, 2, axis=0)
    members[1::2] ^= True
    return members


def toy(
    rng: np.random.Generator,
    members: NDArray[np.bool_],
    drop: float | NDArray[np.float64],
    noise: float | NDArray[np.float64] = 1.0,
    difficulty: float = 2.0,
) -> NDArray[np.float64]:
    """Return losses (models, images, 1)."""
    log = (
        difficulty * rng.normal(size=members.shape[1])
        + noise * rng.normal(size=members.shape)
        - drop * members
    )
    return np.exp(log)[..., None]


def test_threshold_against_its_closed_form() -> None:
    """A member's log loss is N(-d, s^2 + t^2), another's N(0, s^2 + t^2), t the spread of difficulty."""
    rng = np.random.default_rng(0)
    members = halves(rng, 64, 400)
    found = auc(threshold(toy(rng, members, 1.0, 1.0, 2.0)), members)
    assert found == pytest.approx(norm.cdf(1 / np.sqrt(2 * (1 + 4))), abs=0.015)


def check_closed_form(seed: int = 1) -> None:
    """With known parameters the log-likelihood ratio is N(+-d^2 / 2, d^2): AUC = Phi(d / sqrt 2), TPR that of a shift."""
    rng = np.random.default_rng(seed)
    members = halves(rng, 64, 800)
    for d in (1.0, 2.0):
        scores = lira(toy(rng, members, d), members)
        assert auc(scores, members) == pytest.approx(norm.cdf(d / np.sqrt(2)), abs=0.015)
        assert tpr_at(scores, members, 0.01) == pytest.approx(norm.cdf(norm.ppf(0.01) + d), abs=0.05)


def test_lira_against_its_closed_form() -> None:
    check_closed_form()


def test_the_scores_are_the_log_likelihood_ratio() -> None:
    """Of 64 models, means and variance are nearly known."""
    rng = np.random.default_rng(2)
    members = halves(rng, 64, 300)
    losses = toy(rng, members, 1.5, difficulty=0.0)
    log = np.log(losses[..., 0])
    truth = norm.logpdf(log, -1.5) - norm.logpdf(log, 0)
    scores = lira(losses, members)
    assert np.corrcoef(scores.ravel(), truth.ravel())[0, 1] > 0.98
    assert np.abs(scores - truth).mean() < 0.35


def test_a_variance_for_each_example() -> None:
    """Images of unlike noise: the ratio of image j is N(+-d_j^2 / 2, d_j^2), and pairs of images give the area."""
    rng = np.random.default_rng(3)
    members = halves(rng, 96, 300)
    noise = rng.uniform(0.3, 3.0, 300)
    losses = toy(rng, members, 1.0, noise)
    squares = 1 / noise**2
    truth = norm.cdf(np.sqrt(squares[:, None] + squares) / 2).mean()
    own, common = (auc(lira(losses, members, variance=v), members) for v in ("per-example", "global"))
    assert own == pytest.approx(truth, abs=0.02)
    assert own > common + 0.02


def test_eight_models_are_too_few_for_variances_of_their_own() -> None:
    """Three models with an image and three without: by chance some agree, and the image looks certain."""
    rng = np.random.default_rng(4)
    members = halves(rng, 8, 2000)
    losses = toy(rng, members, 2.0)
    own, common = (
        tpr_at(lira(losses, members, variance=v), members, 0.01) for v in ("per-example", "global")
    )
    assert own is not None
    assert common is not None
    assert own < common / 2


def test_timesteps_add_up() -> None:
    """Independent drops d1 and d2 are one of sqrt(d1^2 + d2^2)."""
    rng = np.random.default_rng(5)
    members = halves(rng, 64, 300)
    losses = np.concatenate([toy(rng, members, d) for d in (1.0, 0.75)], axis=2)
    found = auc(lira(losses, members, timesteps=[50, 100]), members)
    assert found == pytest.approx(norm.cdf(1.25 / np.sqrt(2)), abs=0.015)


def test_draws_of_one_timestep_are_averaged() -> None:
    rng = np.random.default_rng(6)
    members = halves(rng, 8, 50)
    losses = np.exp(rng.normal(size=(8, 50, 6)))
    at = np.array([50, 100, 50, 100, 50, 50])
    means = np.stack([losses[..., at == t].mean(axis=2) for t in (50, 100)], axis=2)
    np.testing.assert_allclose(lira(losses, members, timesteps=at), lira(means, members, timesteps=[50, 100]))
    np.testing.assert_allclose(threshold(losses, timesteps=at), -np.log(means).sum(axis=2))
    np.testing.assert_allclose(lira(losses, members), lira(losses.mean(axis=2, keepdims=True), members))


def check_no_signal() -> None:
    """Where training changes nothing, no attack may find anything, however few the models."""
    rng = np.random.default_rng(7)
    for models in (6, 8):
        members = halves(rng, models, 8000)
        losses = toy(rng, members, 0.0)
        assert auc(lira(losses, members), members) == pytest.approx(0.5, abs=0.006)


def test_no_signal_is_found_where_there_is_none() -> None:
    check_no_signal()


def _keep_complement(members: NDArray[np.bool_], target: int) -> NDArray[np.int64]:
    return np.delete(np.arange(len(members)), target)


def _keep_everything(members: NDArray[np.bool_], target: int) -> NDArray[np.int64]:
    return np.arange(len(members))


@pytest.mark.parametrize("shadow", [_keep_everything, _keep_complement])
def test_planted_a_model_that_should_be_left_out(
    shadow: Callable[..., NDArray[np.int64]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attacked model among its shadows finds what is not there; without its complement left out, counts tell."""
    monkeypatch.setattr(membership, "_shadow_models", shadow)
    with pytest.raises(AssertionError):
        check_no_signal()


def test_planted_labels_swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "_check_members", lambda members, shape: ~members)
    with pytest.raises(AssertionError):
        check_closed_form()
    with pytest.raises(AssertionError):
        check_blind()


def test_planted_noise_that_models_do_not_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses of other noises for each model are noisier: the closed form is missed."""
    rng = np.random.default_rng(8)
    honest = membership.log_losses
    monkeypatch.setattr(membership, "log_losses", lambda *a: honest(*a) + rng.normal(size=honest(*a).shape))
    with pytest.raises(AssertionError):
        check_closed_form()


def _images(rng: np.random.Generator, count: int, brightness: float = 0.0) -> NDArray[np.uint8]:
    smooth = rng.normal(110 + brightness, 25, (count, 1, 1, 1)) + rng.normal(0, 20, (count, 8, 8, 1))
    return np.clip(smooth, 0, 255).astype(np.uint8)


def check_blind(shift: float = 0.0) -> None:
    """Two samples of one distribution cannot be told apart without a model."""
    rng = np.random.default_rng(9)
    members = np.arange(800) < 400
    images = np.concatenate([_images(rng, 400), _images(rng, 400, shift)])
    assert abs(auc(blind(images, members), members) - 0.5) < 0.06
    assert auc(blind(np.concatenate([images[:400], 255 - images[400:]]), members), members) > 0.6


def test_blind_finds_nothing_in_one_distribution() -> None:
    check_blind()


def test_planted_shifted_control() -> None:
    """A control that is a little brighter is found without any model: the trap that a figure must not rest on."""
    with pytest.raises(AssertionError):
        check_blind(shift=15)


def test_a_perfect_memory_has_no_loss() -> None:
    rng = np.random.default_rng(10)
    members = halves(rng, 6, 40)
    losses = np.where(members, 0.0, np.exp(rng.normal(size=members.shape)))[..., None].astype(np.float32)
    assert auc(threshold(losses), members) == 1.0
    assert auc(lira(losses, members), members) == 1.0


def test_models_with_equal_sets_keep_the_counts_even() -> None:
    """Three seeds of one half and three of the other: the attacked one and one of its complements are left out."""
    members = np.tile(np.arange(10) < 5, (6, 1))
    members[1::2] ^= True
    for target in range(6):
        shadow = members[membership._shadow_models(members, target)]
        assert (shadow.sum(axis=0) == 2).all()
        assert len(shadow) == 4


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x, m: lira(x[..., 0], m), ArgumentValueError, r"losses must have the shape \(models, images, draws\)"),
        (lambda x, m: lira(x.astype(int), m), ArgumentTypeError, "losses must be floats, got int64"),
        (lambda x, m: lira(-x, m), ArgumentValueError, "losses must be finite and not below 0, got 120"),
        (lambda x, m: lira(x, m[:5]), ArgumentValueError, r"members must have the shape \(6, 20\), got \(5, 20\)"),
        (lambda x, m: lira(x, m.astype(int)), ArgumentTypeError, "members must be bool, got int64"),
        (lambda x, m: lira(x, m, variance="own"), ArgumentValueError, "variance must be 'global' or 'per-example'"),
        (lambda x, m: lira(x, m, timesteps=[1, 2]), ArgumentValueError, "timesteps must be one for each of the 1"),
        (lambda x, m: lira(x[:2], m[:2]), ArgumentValueError, "to attack model 0, image 0 needs at least 1 other"),
        (lambda x, m: lira(x[:4], m[:4]), ArgumentValueError, "train at least 6 models"),
        (
            lambda x, m: lira(x[:4], m[:4], variance="per-example"),
            ArgumentValueError,
            "image 0 needs at least 2 other models trained with it, got 1 .20 such images",
        ),
        (lambda x, m: threshold(x * np.nan), ArgumentValueError, "losses must be finite"),
        (lambda x, m: blind(np.zeros((20, 4, 4, 1), np.uint8), m[0]), ArgumentValueError, "at least 10 members"),
    ],
)  # fmt: skip
def test_what_is_refused(call: Callable[..., object], error: type[Exception], words: str) -> None:
    rng = np.random.default_rng(11)
    members = halves(rng, 6, 20)
    if "10 members" in words:
        members[0, :12] = False
    with pytest.raises(error, match=words):
        call(toy(rng, members, 1.0), members)
