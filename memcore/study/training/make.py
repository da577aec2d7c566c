"""The training of each kind of model, and what a study may ask of any of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from memcore.study.models.autoregressive import check_sides
from memcore.study.models.gan import count_levels
from memcore.study.models.generator import Generator
from memcore.study.models.unet import check_shape
from memcore.study.protocols.protocol import Factors
from memcore.study.training.autoregressive import AutoregressiveTrainer
from memcore.study.training.flow import FlowTrainer
from memcore.study.training.gan import GanTrainer
from memcore.study.training.private import new_trainer


class Training(Protocol):
    """A model in training, of any kind: what ``Trainer`` and ``Resumable`` have in common."""

    step: int
    loss: float
    history: list[tuple[int, float, str]]

    @property
    def model(self) -> Generator:
        """Return the model with its averaged weights."""
        ...

    @property
    def parameters(self) -> int:
        """Return how many numbers the model has."""
        ...

    def run(self, steps: int) -> None:
        """Train ``steps`` steps more."""
        ...

    def mark(self) -> bytes:
        """Note this step as a checkpoint, and return its averaged weights."""
        ...

    def load_weights(self, data: bytes) -> None:
        """Replace the averaged weights."""
        ...

    def state(self) -> bytes:
        """Return everything that training depends on."""
        ...

    def load_state(self, data: bytes) -> None:
        """Resume from what ``state`` returned."""
        ...


def new_training(
    factors: Factors,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64] | None,
    classes: int,
    seed: Sequence[int],
    device: str = "cpu",
    public: NDArray[np.uint8] | None = None,
) -> Training:
    """Return the untrained model of the factors.

    ``public`` are the images of its first ``public_steps``; the other parameters are those of ``Trainer``.
    """
    if factors.model == "diffusion":
        return new_trainer(factors, images, labels, classes, seed, device, public)
    if factors.model == "flow":
        return FlowTrainer(factors, images, seed, device)
    if factors.model == "autoregressive":
        return AutoregressiveTrainer(factors, images, seed, device)
    return GanTrainer(factors, images, seed, device)


def check_images(factors: Factors, shape: tuple[int, int, int]) -> None:
    """Raise ConfigError if a model of these factors cannot make images of ``shape``."""
    if factors.model in ("diffusion", "flow"):
        check_shape(factors, shape)
    elif factors.model == "autoregressive":
        check_sides(shape)
    else:
        count_levels(shape)
