"""Quantile regression: the fit beside its definition, and the attack on a toy with a closed form."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.stats import norm

from memcore.errors import ArgumentTypeError, ArgumentValueError
from memcore.study.attacks.features import image_features
from memcore.study.attacks.membership import quantile, threshold
from memcore.study.attacks.quantile import fit_quantile
from memcore.study.statistics import auc


def _pinball(x: NDArray[np.float64], y: NDArray[np.float64], b: NDArray[np.float64], level: float) -> float:
    gap = y - x @ b
    return float(np.where(gap > 0, level * gap, (level - 1) * gap).sum())


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_the_fit_minimises_the_pinball_loss(level: float) -> None:
    """The primal programme, written out, has the same minimum; and the line is above that share of the points."""
    rng = np.random.default_rng(0)
    x = np.concatenate([np.ones((200, 1)), rng.normal(size=(200, 3))], axis=1)
    y = x @ [1.0, 2.0, -1.0, 0.5] + rng.standard_t(3, 200)
    b = fit_quantile(x, y, level)
    n, p = x.shape
    cost = np.r_[np.zeros(2 * p), np.full(n, level), np.full(n, 1 - level)]
    primal = linprog(cost, A_eq=np.hstack([x, -x, np.eye(n), -np.eye(n)]), b_eq=y, bounds=(0, None))
    assert _pinball(x, y, b, level) == pytest.approx(primal.fun, rel=1e-6)
    assert (y < x @ b - 1e-9).mean() <= level <= (y < x @ b + 1e-9).mean()


def _toy(
    rng: np.random.Generator, count: int, drop: NDArray[np.float64] | float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return losses (1, count, 1) and features: difficulty and noise both depend on the image's features."""
    x = rng.uniform(-1, 1, (count, 2))
    log = 2 * x[:, 0] + (0.8 + 0.5 * x[:, 1]) * (rng.normal(size=count) - drop)
    return np.exp(log)[None, :, None], x


def check_closed_form() -> None:
    """In units of its spread a member is lower by 2: AUC = Phi(2 / sqrt 2), as if the distribution were known."""
    rng = np.random.default_rng(1)
    members = np.arange(4000) < 2000
    losses, x = _toy(rng, 4000, 2.0 * members)
    public, public_x = _toy(rng, 2000, 0.0)
    found = auc(quantile(losses, x, public, public_x), members[None])
    assert found == pytest.approx(norm.cdf(2 / np.sqrt(2)), abs=0.012)
    assert found > auc(threshold(losses), members[None]) + 0.05


def test_the_attack_against_its_closed_form() -> None:
    check_closed_form()


def test_planted_public_images_that_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses and features of public images that do not belong together give a worse line."""
    honest = fit_quantile
    monkeypatch.setattr(
        "memcore.study.attacks.quantile.fit_quantile", lambda x, y, level: honest(x, y[::-1], level)
    )
    with pytest.raises(AssertionError):
        check_closed_form()


def test_timesteps_and_models_are_fitted_by_themselves() -> None:
    rng = np.random.default_rng(2)
    (a, x), (b, _) = _toy(rng, 50, 0.0), _toy(rng, 50, 0.0)
    (pa, px), (pb, _) = _toy(rng, 200, 0.0), _toy(rng, 200, 0.0)
    one, two = quantile(a, x, pa, px), quantile(b, x, pb, px)
    both = quantile(np.concatenate([a, b]), x, np.concatenate([pa, pb]), px)
    np.testing.assert_allclose(both, np.concatenate([one, two]))
    added = quantile(
        np.concatenate([a, b], axis=2), x, np.concatenate([pa, pb], axis=2), px, timesteps=[5, 9]
    )
    np.testing.assert_allclose(added, one + two)


def test_features_of_images() -> None:
    """A flat image has no detail; noise has it at the finest scale, and constant columns are left out of a fit."""
    rng = np.random.default_rng(3)
    flat, noisy = np.full((1, 16, 16, 3), 100, np.uint8), rng.integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    smooth = rng.integers(0, 256, (1, 4, 4, 3), dtype=np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    features = image_features(np.concatenate([flat, noisy, smooth]))
    assert features.shape == (3, 6)
    assert features[0, 1] == 0
    assert (features[0, 3:] < features[1:, 3:].min(axis=0)).all()
    assert features[1, 3] > features[2, 3]
    assert features[1, 5] < features[2, 5]
    assert image_features(np.zeros((2, 1, 1, 1), np.uint8)).shape == (2, 3)
    losses, x = _toy(rng, 100, 0.0)
    constant = np.concatenate([x, np.ones((100, 1))], axis=1)
    np.testing.assert_allclose(quantile(losses, constant, losses, constant), quantile(losses, x, losses, x))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"features": np.zeros((40, 2))}, r"features must have the shape \(50, f\)"),
        ({"public_features": np.zeros((200, 3))}, r"public_features must have the shape \(200, 2\)"),
        ({"public_losses": np.ones((2, 200, 1))}, "public_losses must be of the same 1 models"),
        ({"public_losses": np.ones((1, 30, 1)), "public_features": np.zeros((30, 2))}, "at least 20 images"),
        ({"features": np.full((50, 2), np.nan)}, "features must be finite"),
        ({"features": np.full((50, 2), "a")}, "features must be real numbers"),
    ],
)
def test_what_is_refused(change: dict, words: str) -> None:
    rng = np.random.default_rng(4)
    (losses, x), (public, public_x) = _toy(rng, 50, 0.0), _toy(rng, 200, 0.0)
    given = {"losses": losses, "features": x, "public_losses": public, "public_features": public_x, **change}
    if "at least 20" in words:
        given["public_features"] = given["public_features"][:15]
        given["public_losses"] = given["public_losses"][:, :15]
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match=words):
        quantile(**given)
