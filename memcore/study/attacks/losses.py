"""The losses that membership attacks read: of each image at several timesteps, noises and flips."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memcore.arrays import check_count
from memcore.errors import ArgumentTypeError, ArgumentValueError
from memcore.sampling.seeds import derive_seeds
from memcore.study.attacks.duplicates import check_images

if TYPE_CHECKING:
    from memcore.study.models.denoiser import Denoiser, Labels


@dataclasses.dataclass(frozen=True, eq=False)
class Losses:
    """One model's losses.

    Attributes
    ----------
    values
        (n, draws) float32: the mean squared error of the noise prediction, draws in the order timestep, noise, flip.
    timesteps
        (draws,) int64: the timestep of each draw; what ``lira`` and ``threshold`` take as ``timesteps``.
    noise
        (draws,) int64: the number of the noise, 0 to ``draws - 1`` of ``measure_losses``.
    flipped
        (draws,) bool: whether the image was flipped from left to right.
    """

    values: NDArray[np.float32]
    timesteps: NDArray[np.int64]
    noise: NDArray[np.int64]
    flipped: NDArray[np.bool_]


def measure_losses(
    model: Denoiser,
    images: NDArray[np.uint8],
    *,
    timesteps: Sequence[int],
    draws: int = 1,
    flips: bool = False,
    seed: int = 0,
    labels: Labels = None,
) -> Losses:
    """Return a model's losses on images at several timesteps and noises.

    The noises follow from ``seed``, timestep, draw and the image's place alone, so models that are asked with one seed and
    the same images see the same noises: what differs is the model. The paper's plain attack is one timestep and one draw,
    its strong one about 20 draws and both flips.

    Parameters
    ----------
    model
        What is attacked.
    images
        (n, height, width, channels) uint8 of the model's shape.
    timesteps
        Timesteps of the noise schedule, each in [0, model.timesteps), each once. In the paper 50 to 300 of 1,000 are best.
    draws
        Noises at each timestep.
    flips
        Whether to measure each image flipped from left to right as well, with the same noise.
    seed
        Of the noises, in [0, 2^63).
    labels
        (n,) classes, for a model with classes.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used, or the model answers with something else than n finite losses.

    References
    ----------
    Carlini et al. 2023, section 5.2.

    Examples
    --------
    >>> class Model:
    ...     shape, timesteps = (2, 2, 1), 1000
    ...     def losses(self, images, timestep, noise_seed, labels=None):
    ...         return np.full(len(images), timestep / 1000, np.float32)
    >>> found = measure_losses(Model(), np.zeros((5, 2, 2, 1), np.uint8), timesteps=[50, 100], draws=2, flips=True)
    >>> found.values.shape, found.timesteps.tolist(), found.flipped[:2].tolist()
    ((5, 8), [50, 50, 50, 50, 100, 100, 100, 100], [False, True])
    """
    check_model_images(model, images)
    times = [check_count(t, "timesteps", 0, model.timesteps - 1) for t in timesteps]
    if not times or len(set(times)) < len(times):
        raise ArgumentValueError(f"timesteps must be at least one, and each once, got {list(timesteps)}")
    count = check_count(draws, "draws", 1)
    views = (
        [(False, images), (True, np.ascontiguousarray(images[:, :, ::-1]))] if flips else [(False, images)]
    )
    columns: list[NDArray[np.float32]] = []
    about: list[tuple[int, int, bool]] = []
    for t in times:
        for draw, noise_seed in enumerate(derive_seeds(seed, t, count).tolist()):
            for flipped, view in views:
                columns.append(check_losses(model.losses(view, t, noise_seed, labels), len(images)))
                about.append((t, draw, flipped))
    at, noise, flips_of = zip(*about, strict=True)
    return Losses(
        np.stack(columns, axis=1), np.array(at, np.int64), np.array(noise, np.int64), np.array(flips_of)
    )


def check_model_images(model: Denoiser, images: NDArray[np.uint8]) -> None:
    """Raise ArgumentTypeError or ArgumentValueError unless these are images of the model's shape."""
    check_images(images, "images")
    if images.shape[1:] != tuple(model.shape):
        raise ArgumentValueError(
            f"images must have the model's shape {tuple(model.shape)}, got {images.shape[1:]}"
        )


def check_losses(losses: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return what a model gave as losses, or raise ArgumentValueError: it must be ``count`` finite numbers >= 0."""
    found = np.asarray(losses)
    if found.shape != (count,) or found.dtype.kind != "f":
        raise ArgumentValueError(
            f"model.losses must return ({count},) floats, one for each image, got {found.dtype} {found.shape}"
        )
    if not (np.isfinite(found) & (found >= 0)).all():
        raise ArgumentValueError(
            "model.losses must return finite numbers >= 0; a loss that is not means a model that diverged"
        )
    return found.astype(np.float32)


def log_losses(losses: NDArray[np.floating], timesteps: ArrayLike | None, name: str) -> NDArray[np.float64]:
    """Return (models, images, T) float64: the logarithm of the mean loss at each of the T distinct timesteps.

    Raises ArgumentTypeError or ArgumentValueError, naming the argument, unless ``losses`` are positive, finite floats
    (models, images, draws) and ``timesteps`` is None (all draws are at one) or one number for each draw.
    """
    array = np.asarray(losses)
    if array.dtype.kind != "f":
        raise ArgumentTypeError(f"{name} must be floats, got {array.dtype}")
    if array.ndim != 3 or 0 in array.shape:
        raise ArgumentValueError(
            f"{name} must have the shape (models, images, draws), got {array.shape}; one draw is losses[..., None]"
        )
    if not (np.isfinite(array) & (array > 0)).all():
        raise ArgumentValueError(
            f"{name} must be finite and above 0, got {int((~(np.isfinite(array) & (array > 0))).sum())} others"
        )
    draws = array.shape[2]
    at = np.zeros(draws, np.int64) if timesteps is None else np.asarray(timesteps)
    if at.shape != (draws,):
        raise ArgumentValueError(f"timesteps must be one for each of the {draws} draws, got {at.shape}")
    means = [array[..., at == t].mean(axis=2, dtype=np.float64) for t in np.unique(at)]
    return np.log(np.stack(means, axis=2))
