"""Membership by quantile regression: how low a loss is for an image like this one, without shadow models."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memcore.errors import ArgumentTypeError, ArgumentValueError, MissingExtraError
from memcore.study.attacks.losses import log_losses

#: The lower quantile whose distance from the median says how far losses of such images spread.
_LOWER = 0.1
#: Public images for each coefficient, so that a tenth of them still outnumbers the coefficients.
_IMAGES_A_COEFFICIENT = 20
#: A spread below this share of the typical one is an accident of two lines that meet.
_LEAST_SPREAD = 0.1


def quantile(
    losses: NDArray[np.floating],
    features: NDArray[np.floating],
    public_losses: NDArray[np.floating],
    public_features: NDArray[np.floating],
    *,
    timesteps: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Return how far a loss lies below the median that public images of the same features have, in units of their spread.

    The attack needs one model and images that it was not trained on. Of these it learns, by linear quantile regression, the
    median and the lower tenth of the log loss as functions of an image's features; an image that is much easier for
    the model than such images are was probably trained on.

    Parameters
    ----------
    losses
        (models, images, draws) positive floats.
    features
        (images, f) floats of the same images: ``image_features``, or any embedding.
    public_losses
        (models, public, draws): losses of the same models on images that none of them was trained on, with equal timesteps.
        They must be of the same distribution; 20 or more for each feature.
    public_features
        (public, f).
    timesteps
        (draws,) the timestep of each draw; by default all are at one. The scores of several are added.

    Returns
    -------
    array
        (models, images) float64, higher for likelier members.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used, or there are too few public images.
    MissingExtraError
        scipy is not installed.

    References
    ----------
    Tang et al. 2023, "Membership Inference Attacks on Diffusion Models via Quantile Regression", arXiv 2312.05140, who train
    a network on the image; this is its linear form.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> hard = rng.normal(size=(600, 1))
    >>> members = np.arange(600) < 300
    >>> losses = np.exp(hard[:, 0] + rng.normal(size=600) / 4 - members)[None, :, None]
    >>> public = rng.normal(size=(400, 1))
    >>> public_losses = np.exp(public[:, 0] + rng.normal(size=400) / 4)[None, :, None]
    >>> from memcore.study.statistics import auc
    >>> auc(quantile(losses, hard, public_losses, public), members[None]) > 0.95
    True
    """
    z = log_losses(losses, timesteps, "losses")
    public = log_losses(public_losses, timesteps, "public_losses")
    if len(public) != len(z):
        raise ArgumentValueError(
            f"public_losses must be of the same {len(z)} models as losses, got {len(public)}"
        )
    x = _check_features(features, "features", z.shape[1], None)
    fit = _check_features(public_features, "public_features", public.shape[1], x.shape[1])
    x, fit = _standardise(x, fit)
    needed = _IMAGES_A_COEFFICIENT * fit.shape[1]
    if len(fit) < needed:
        raise ArgumentValueError(
            f"public_losses must be of at least {needed} images for {fit.shape[1] - 1} features, got {len(fit)}"
        )
    scores = np.zeros(z.shape[:2])
    for model in range(len(z)):
        for t in range(z.shape[2]):
            y = public[model, :, t]
            median, lower = (fit_quantile(fit, y, level) for level in (0.5, _LOWER))
            spread = x @ (median - lower)
            typical = float(np.median(fit @ (median - lower)))
            floor = max(_LEAST_SPREAD * typical, float(np.finfo(np.float32).eps))
            scores[model] += (x @ median - z[model, :, t]) / np.maximum(spread, floor)
    return scores


def fit_quantile(x: NDArray[np.float64], y: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """Return (f,) coefficients b of the linear quantile regression of y (n,) on x (n, f): x @ b is above ``level`` of y.

    They minimise the pinball loss. Solved as its dual, which has n bounded variables and f equations: the coefficients are
    the multipliers of the equations.

    Raises MissingExtraError without scipy.

    Source: Koenker and Bassett 1978, "Regression Quantiles".

    >>> fit_quantile(np.ones((5, 1)), np.array([1.0, 2.0, 3.0, 4.0, 100.0]), 0.5).tolist()
    [3.0]
    """
    try:
        from scipy.optimize import linprog
    except ImportError:
        raise MissingExtraError("scipy", "study", "Quantile regression") from None
    solved = linprog(-y, A_eq=x.T, b_eq=(1 - level) * x.sum(axis=0), bounds=(0, 1), method="highs")
    if solved.status != 0:
        raise ArgumentValueError(
            f"public_losses: their quantiles cannot be fitted ({solved.message.strip()}); leave out features that others "
            "imply"
        )
    return -np.asarray(solved.eqlin.marginals, np.float64)


def _check_features(
    features: NDArray[np.floating], name: str, count: int, width: int | None
) -> NDArray[np.float64]:
    found = np.asarray(features)
    if found.dtype.kind not in "fiu":
        raise ArgumentTypeError(f"{name} must be real numbers, got {found.dtype}")
    if found.ndim != 2 or len(found) != count or (width is not None and found.shape[1] != width):
        raise ArgumentValueError(
            f"{name} must have the shape ({count}, {'f' if width is None else width}), got {found.shape}"
        )
    if not np.isfinite(found).all():
        raise ArgumentValueError(f"{name} must be finite")
    return found.astype(np.float64)


def _standardise(
    x: NDArray[np.float64], fit: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both with the public images' mean 0 and deviation 1, without constant features, and with a column of ones."""
    mean, scale = fit.mean(axis=0), fit.std(axis=0)
    varied = scale > 0
    made = [(a[:, varied] - mean[varied]) / scale[varied] for a in (x, fit)]
    x, fit = (np.concatenate([np.ones((len(a), 1)), a], axis=1) for a in made)
    return x, fit
