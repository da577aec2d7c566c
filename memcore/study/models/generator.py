"""What an attack may ask of a model that only makes images, and networks that make an image of a draw of noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from memcore.errors import ConfigError
from memcore.study.models.denoiser import Labels
from memcore.study.models.noise import draw_noise

#: Images in one pass, always: the last batch is padded, since other batch sizes round differently.
BATCH = 64


@runtime_checkable
class Generator(Protocol):
    """A model that makes small images, uint8 (n, height, width, channels). Every ``Denoiser`` is one.

    Examples
    --------
    >>> class Black:
    ...     shape = (8, 8, 1)
    ...
    ...     def sample(self, seeds, steps, labels=None):
    ...         return np.zeros((len(seeds), 8, 8, 1), np.uint8)
    >>> isinstance(Black(), Generator)
    True
    """

    #: Height, width and channels of its images.
    shape: tuple[int, int, int]

    def sample(self, seeds: Sequence[int], steps: int, labels: Labels = None) -> NDArray[np.uint8]:
        """Return one image for each seed; the i-th depends on ``seeds[i]`` alone.

        ``steps`` is what a model that denoises may take; others ignore it.
        """
        ...


class NetGenerator:
    """A network that makes images in [-1, 1], (n, c, h, w), of standard normal noise, (n, *latent).

    Sampled in batches of 64, so that an image depends on its own seed alone, on one machine.
    """

    def __init__(self, net: nn.Module, shape: tuple[int, int, int], latent: tuple[int, ...]) -> None:
        self.net = net.eval()
        self.shape = shape
        self.latent = latent

    def __repr__(self) -> str:
        """Return one line, without the weights."""
        return f"{type(self).__name__}(shape={self.shape}, latent={self.latent})"

    def sample(self, seeds: Sequence[int], steps: int, labels: Labels = None) -> NDArray[np.uint8]:
        """Return one image for each seed, as ``Generator`` says."""
        refuse_labels(labels)
        made = np.empty((len(seeds), *self.shape), np.uint8)
        device = next(self.net.parameters()).device
        training = self.net.training
        self.net.eval()
        with torch.no_grad():
            for own, keys in seed_batches(seeds):
                noise = draw_noise(keys, self.latent).to(device)
                made[own] = to_pixels(self.make(noise, steps))[: own.stop - own.start]
        self.net.train(training)
        return made

    def make(self, noise: torch.Tensor, steps: int) -> torch.Tensor:
        """Return the images of a batch of noise, in [-1, 1]."""
        images: torch.Tensor = self.net(noise)
        return images


def refuse_labels(labels: Labels) -> None:
    """Raise ConfigError if a model without classes is asked for some."""
    if labels is not None:
        raise ConfigError("labels must be None: the model has no classes")


def seed_batches(seeds: Sequence[int]) -> Iterator[tuple[slice, list[tuple[int, int]]]]:
    """Yield, of each batch of 64, the places that are its own, and the keys of its noise: the last seed fills it up."""
    for start in range(0, len(seeds), BATCH):
        own = slice(start, min(len(seeds), start + BATCH))
        taken = [int(seed) for seed in seeds[own]]
        taken += taken[-1:] * (BATCH - len(taken))
        yield own, [(seed, 0) for seed in taken]


def to_tensor(images: NDArray[np.uint8]) -> torch.Tensor:
    """Convert (n, h, w, c) uint8 to (n, c, h, w) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 127.5 - 1


def to_pixels(images: torch.Tensor) -> NDArray[np.uint8]:
    """Convert (n, c, h, w) in [-1, 1] to (n, h, w, c) uint8, rounded to the nearest level.

    >>> to_pixels(to_tensor(np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1))).ravel().tolist()
    [0, 1, 2, 3]
    """
    levels = torch.round((images.clamp(-1, 1) + 1) * 127.5).to(torch.uint8).cpu().numpy()
    return np.ascontiguousarray(levels.transpose(0, 2, 3, 1))


def seeded(seed: Sequence[int]) -> int:
    """Return the seed of a network's first weights."""
    return int(np.random.SeedSequence(list(seed)).generate_state(1, np.uint64)[0]) >> 1
