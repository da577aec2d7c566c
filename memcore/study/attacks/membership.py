"""Was an image in the training set? Scores from a model's losses; higher means "member".

All take losses (models, images, draws), as ``measure_losses`` gives them model by model, and return (models, images).
Losses are compared as logarithms, which are nearer to a normal distribution than the losses themselves.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memcore.errors import ArgumentTypeError, ArgumentValueError
from memcore.study.attacks.features import image_features
from memcore.study.attacks.losses import Losses, log_losses, measure_losses
from memcore.study.attacks.quantile import quantile

__all__ = ["Losses", "Variance", "blind", "lira", "measure_losses", "quantile", "threshold"]

Variance: TypeAlias = Literal["global", "per-example"]

#: The variance that the rounding of float32 losses alone gives to a logarithm: no image may look surer than that.
_LEAST_VARIANCE = float(np.finfo(np.float32).eps) ** 2
_FOLDS = 5
_RIDGE = 1e-3


def threshold(losses: NDArray[np.floating], *, timesteps: ArrayLike | None = None) -> NDArray[np.float64]:
    """Return minus the logarithm of the loss: the attack of one threshold for all images.

    It confuses images that are easy with images that were trained on, which is what the other attacks correct.

    Parameters
    ----------
    losses
        (models, images, draws) positive floats.
    timesteps
        (draws,) the timestep of each draw; by default all are at one. Draws of one timestep are averaged, the logarithms of
        several are added.

    Returns
    -------
    array
        (models, images) float64, higher for likelier members.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        ``losses`` or ``timesteps`` cannot be used.

    References
    ----------
    Yeom et al. 2018; Carlini et al. 2023, section 5.2.

    Examples
    --------
    >>> threshold(np.array([[[0.1], [0.2]]])).round(2)
    array([[2.3 , 1.61]])
    """
    scores: NDArray[np.float64] = -log_losses(losses, timesteps, "losses").sum(axis=2)
    return scores


def lira(
    losses: NDArray[np.floating],
    members: NDArray[np.bool_],
    *,
    variance: Variance = "global",
    timesteps: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Return the likelihood ratio attack: how much likelier a loss is with the image in the training set than without.

    Each model is attacked in turn, with the others as shadow models: of each image, the losses under those trained with it
    and under those trained without it give two normal distributions. The attacked model is left out, and so is a model with
    exactly the other images, where there is one: then each image keeps as many models with it as without. Otherwise the
    numbers of models alone would differ between members and others, and with them the scores.

    With about 20 draws, flips and several timesteps this is the paper's strong attack: draws of one timestep are averaged
    before the logarithm, the log-likelihood ratios of the timesteps are added.

    Parameters
    ----------
    losses
        (models, images, draws) positive floats; all models must have seen the same noises.
    members
        (models, images) bool: which image each model was trained on. Best complementary halves, in pairs.
    variance
        "global": one variance of losses with, one without, pooled over images: for up to some 64 models. "per-example": of
        each image its own, which with few models collapse by chance and make false certainties.
    timesteps
        (draws,) the timestep of each draw; by default all are at one.

    Returns
    -------
    array
        (models, images) float64: log-likelihood ratios, above 0 for likelier members.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used, or an image has too few shadow models with it or without it: at least 1 of each, and for
        a variance per example 2.

    References
    ----------
    Carlini et al. 2022, "Membership Inference Attacks From First Principles"; Carlini et al. 2023, section 5.2.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> half = rng.permuted(np.tile(np.arange(100) < 50, (8, 1)), axis=1)
    >>> members = np.concatenate([half, ~half])
    >>> easy = rng.normal(size=100)                 # how hard each image is
    >>> losses = np.exp(easy + rng.normal(size=members.shape) / 4 - members)[..., None]
    >>> from memcore.study.statistics import auc
    >>> auc(threshold(losses), members) < 0.8 < 0.95 < auc(lira(losses, members), members)
    True
    """
    if variance not in ("global", "per-example"):
        raise ArgumentValueError(f"variance must be 'global' or 'per-example', got {variance!r}")
    z = log_losses(losses, timesteps, "losses")
    marks = _check_members(members, z.shape[:2])
    scores = np.empty(marks.shape)
    for target in range(len(marks)):
        shadow = _shadow_models(marks, target)
        _check_counts(marks[shadow], target, 1 if variance == "global" else 2)
        inside = _log_density(z[target], z[shadow], marks[shadow], variance)
        outside = _log_density(z[target], z[shadow], ~marks[shadow], variance)
        scores[target] = (inside - outside).sum(axis=1)
    return scores


def blind(images: NDArray[np.uint8], members: NDArray[np.bool_], *, seed: int = 0) -> NDArray[np.float64]:
    """Return scores of an attack that asks no model: whatever it finds is a difference between the two sets of images.

    An AUC clearly above 0.5 says that the control is shifted, and that no attack's figure on these sets means anything. It
    fits a linear discriminant to features of the images (``image_features``), and scores each image by a fit without it
    (five folds).

    Parameters
    ----------
    images
        (n, height, width, channels) uint8.
    members
        (n,) bool, at least 10 of each.
    seed
        Of the folds.

    Returns
    -------
    array
        (n,) float64, higher for likelier members.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.

    References
    ----------
    Das, Zhang and Tramer 2024, "Blind Baselines Beat Membership Inference Attacks for Foundation Models".

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> members = np.arange(200) < 100
    >>> images = rng.integers(0, 200, (200, 8, 8, 1)).astype(np.uint8)
    >>> shifted = np.where(members[:, None, None, None], images, images + 20)
    >>> from memcore.study.statistics import auc
    >>> auc(blind(images, members), members) < 0.6 < 0.95 < auc(blind(shifted, members), members)
    True
    """
    features = image_features(images)
    marks = _check_members(members, (len(features),))
    if min(int(marks.sum()), int((~marks).sum())) < 2 * _FOLDS:
        raise ArgumentValueError(
            f"members must mark at least {2 * _FOLDS} members and as many others, got {int(marks.sum())} of {len(marks)}"
        )
    rng = np.random.default_rng(seed)
    fold = np.empty(len(marks), np.int64)
    for of in (marks, ~marks):  # members and others are spread evenly over the folds
        fold[rng.permutation(np.flatnonzero(of))] = np.arange(int(of.sum())) % _FOLDS
    scores = np.empty(len(marks))
    for f in range(_FOLDS):
        seen = fold != f
        scores[~seen] = _discriminant(features[seen], marks[seen], features[~seen])
    return scores


def _discriminant(
    x: NDArray[np.float64], marks: NDArray[np.bool_], new: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the linear discriminant of new rows, 0 half-way between the two means."""
    scale = x.std(axis=0)
    scale[scale == 0] = 1
    x, new = x / scale, new / scale
    inside, outside = x[marks].mean(axis=0), x[~marks].mean(axis=0)
    centred = np.where(marks[:, None], x - inside, x - outside)
    spread = centred.T @ centred / len(x) + _RIDGE * np.eye(x.shape[1])
    score: NDArray[np.float64] = (new - (inside + outside) / 2) @ np.linalg.solve(spread, inside - outside)
    return score


def _check_members(members: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    marks = np.asarray(members)
    if marks.dtype != np.bool_:
        raise ArgumentTypeError(f"members must be bool, got {marks.dtype}")
    if marks.shape != shape:
        raise ArgumentValueError(f"members must have the shape {shape}, got {marks.shape}")
    return marks


def _shadow_models(members: NDArray[np.bool_], target: int) -> NDArray[np.int64]:
    """Return all models but the attacked one and, where there is one, a model with exactly the other images."""
    complement = np.flatnonzero((members != members[target]).all(axis=1))
    return np.delete(np.arange(len(members)), [target, *complement[:1]])


def _check_counts(members: NDArray[np.bool_], target: int, least: int) -> None:
    inside = members.sum(axis=0)
    for what, counts in (("with", inside), ("without", len(members) - inside)):
        few = np.flatnonzero(counts < least)
        if len(few):
            raise ArgumentValueError(
                f"members: to attack model {target}, image {few[0]} needs at least {least} other models trained {what} it, "
                f"got {counts[few[0]]} ({len(few)} such images); train more models, on complementary halves"
            )


def _log_density(
    z: NDArray[np.float64], shadow: NDArray[np.float64], of: NDArray[np.bool_], variance: Variance
) -> NDArray[np.float64]:
    """Return (images, T): the log density of z (images, T) under the normal distribution of the models ``of``.

    ``shadow`` is (models, images, T), ``of`` (models, images).
    """
    weight = of[..., None].astype(np.float64)
    count = weight.sum(axis=0)
    mean = (weight * shadow).sum(axis=0) / count
    squares = (weight * (shadow - mean) ** 2).sum(axis=0)
    if variance == "global":
        freedom = float((count - 1).sum())
        if freedom < 1:
            raise ArgumentValueError(
                "members: no image has two shadow models with it and two without it, so nothing tells the variance; "
                "train at least 6 models, on complementary halves"
            )
        spread = squares.sum(axis=0) / freedom
    else:
        spread = squares / (count - 1)
    spread = np.maximum(spread, _LEAST_VARIANCE)
    density: NDArray[np.float64] = -((z - mean) ** 2) / (2 * spread) - np.log(spread) / 2
    return density
