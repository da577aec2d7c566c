"""The inpainting attack: a model that was trained on an image can fill in the half of it that is hidden."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from memcore.arrays import check_count
from memcore.errors import ArgumentTypeError, ArgumentValueError
from memcore.sampling.seeds import derive_seeds
from memcore.study.attacks.losses import check_losses, check_model_images

if TYPE_CHECKING:
    from memcore.study.models.denoiser import Denoiser, Labels

#: Seeds of inpaintings and of the noises that score them are apart.
_NOISES = 2**62


@dataclasses.dataclass(frozen=True, eq=False)
class Inpainted:
    """The result of ``attack``.

    Attributes
    ----------
    score
        (n,) float64, higher for likelier members: minus the mean of ``l2``.
    l2
        (n, keep) float32 in [0, 1]: over the hidden pixels alone, between the image and each inpainting that was kept.
    loss
        (n, keep) float32, ascending: the attack's loss of those inpaintings, by which they were chosen.
    best
        (n, height, width, channels) uint8: the inpainting of the least loss.
    """

    score: NDArray[np.float64]
    l2: NDArray[np.float32]
    loss: NDArray[np.float32]
    best: NDArray[np.uint8]


def attack(
    model: Denoiser,
    images: NDArray[np.uint8],
    *,
    tries: int = 100,
    keep: int = 10,
    steps: int = 20,
    timestep: int | None = None,
    draws: int = 1,
    known: NDArray[np.bool_] | None = None,
    seed: int = 0,
    labels: Labels = None,
) -> Inpainted:
    """Return how well a model fills in the hidden half of each image.

    Each image is inpainted ``tries`` times. The attacker, who does not know the hidden half, keeps the inpaintings of the
    least loss: the model is surest of what it was trained on. Only then they are compared with the truth. An image is
    attacked by itself: its score depends on the others only through its place, which gives its seeds.

    Parameters
    ----------
    model
        What is attacked.
    images
        (n, height, width, channels) uint8 of the model's shape.
    tries, keep
        Inpaintings of each image, and how many of them are kept: 1 <= keep <= tries. The paper keeps 10 of 5,000.
    steps
        Sampling steps of an inpainting.
    timestep
        At which the loss is measured; by default a tenth of the schedule, as in the paper.
    draws
        Noises over which the loss is averaged.
    known
        (height, width) bool, True where the attacker sees the image; by default its right half, as in the paper.
    seed
        In [0, 2^62).
    labels
        (n,) classes, for a model with classes.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used, or the model answers with something else than was asked.

    References
    ----------
    Carlini et al. 2023, section 5.3.

    Examples
    --------
    >>> class Grey:
    ...     shape, timesteps = (2, 2, 1), 1000
    ...     def losses(self, images, timestep, noise_seed, labels=None):
    ...         return np.ones(len(images), np.float32)
    ...     def inpaint(self, images, known, seeds, steps, labels=None):
    ...         return np.where(known[..., None], images, np.uint8(128))
    >>> images = np.stack([np.full((2, 2, 1), v, np.uint8) for v in (128, 255)])
    >>> attack(Grey(), images, tries=2, keep=1).score.round(3).tolist()
    [-0.0, -0.498]
    """
    check_model_images(model, images)
    count = check_count(tries, "tries", 1)
    kept = check_count(keep, "keep", 1, count)
    check_count(steps, "steps", 1)
    noises = check_count(draws, "draws", 1)
    at = check_count(
        max(1, model.timesteps // 10) if timestep is None else timestep, "timestep", 0, model.timesteps - 1
    )
    check_count(seed, "seed", 0, _NOISES - 1)
    visible = _check_known(known, images.shape[1:3])
    noise_seeds = derive_seeds(seed, _NOISES, noises).tolist()
    l2 = np.empty((len(images), kept), np.float32)
    loss = np.empty((len(images), kept), np.float32)
    best = np.empty_like(images)
    for i, image in enumerate(images):
        label = None if labels is None else np.repeat(np.asarray(labels)[i : i + 1], count)
        given = np.repeat(image[None], count, axis=0)
        made = model.inpaint(given, visible, derive_seeds(seed, i, count).tolist(), steps, label)
        _check_inpainted(made, given, visible)
        measured = [check_losses(model.losses(made, at, s, label), count) for s in noise_seeds]
        means = np.mean(measured, axis=0, dtype=np.float64)
        chosen = np.argsort(means, kind="stable")[:kept]
        l2[i] = _hidden_l2(made[chosen], image, ~visible)
        loss[i] = means[chosen]
        best[i] = made[chosen[0]]
    return Inpainted(-l2.mean(axis=1, dtype=np.float64), l2, loss, best)


def score(
    model: Denoiser,
    images: NDArray[np.uint8],
    *,
    tries: int = 100,
    steps: int = 20,
    seed: int = 0,
    labels: Labels = None,
) -> NDArray[np.float64]:
    """Return the scores of ``attack`` with the paper's other options, (n,) float64, higher for likelier members.

    At most 10 inpaintings are kept. Arguments and errors are those of ``attack``.

    >>> class White:
    ...     shape, timesteps = (2, 2, 1), 1000
    ...     def losses(self, images, timestep, noise_seed, labels=None):
    ...         return np.ones(len(images), np.float32)
    ...     def inpaint(self, images, known, seeds, steps, labels=None):
    ...         return np.where(known[..., None], images, np.uint8(255))
    >>> score(White(), np.full((1, 2, 2, 1), 255, np.uint8), tries=3).tolist()
    [-0.0]
    """
    keep = min(10, check_count(tries, "tries", 1))
    return attack(model, images, tries=tries, keep=keep, steps=steps, seed=seed, labels=labels).score


def _check_known(known: NDArray[np.bool_] | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the mask of what is visible, or raise."""
    if known is None:
        right_half: NDArray[np.bool_] = np.broadcast_to(
            np.arange(shape[1]) >= (shape[1] + 1) // 2, shape
        ).copy()
        return right_half
    mask = np.asarray(known)
    if mask.dtype != np.bool_:
        raise ArgumentTypeError(f"known must be bool, got {mask.dtype}")
    if mask.shape != shape:
        raise ArgumentValueError(f"known must have the shape (height, width) {shape}, got {mask.shape}")
    if mask.all():
        raise ArgumentValueError("known must hide at least one pixel, got none hidden")
    return mask


def _check_inpainted(made: NDArray[np.uint8], given: NDArray[np.uint8], known: NDArray[np.bool_]) -> None:
    """Raise ArgumentValueError unless the model filled in the hidden pixels and nothing else."""
    if not isinstance(made, np.ndarray) or made.dtype != np.uint8 or made.shape != given.shape:
        got = f"{made.dtype} {made.shape}" if isinstance(made, np.ndarray) else type(made).__name__
        raise ArgumentValueError(f"model.inpaint must return uint8 {given.shape}, got {got}")
    if not np.array_equal(made[:, known], given[:, known]):
        raise ArgumentValueError("model.inpaint must return known pixels as they are, but changed some")


def _hidden_l2(
    made: NDArray[np.uint8], image: NDArray[np.uint8], hidden: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return (m,) l2 in [0, 1] over the hidden pixels."""
    difference = made[:, hidden].astype(np.int64) - image[hidden].astype(np.int64)
    ssd = (difference**2).sum(axis=(1, 2))
    return np.sqrt(ssd / (difference[0].size * 255**2)).astype(np.float32)
