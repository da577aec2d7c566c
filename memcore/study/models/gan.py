"""A DCGAN: a generator of transposed convolutions, and a critic with or without spectral normalisation.

Radford et al. 2016 (arXiv 1511.06434); Miyato et al. 2018 (arXiv 1802.05957). The critic of WGAN-GP (Gulrajani et al. 2017,
arXiv 1704.00028) has no normalisation: its penalty is of each image alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from memcore.errors import ConfigError
from memcore.study.models.generator import seeded
from memcore.study.protocols.protocol import Factors

#: Numbers that an image is made of.
LATENT = 64
#: Height and width that a generator starts from; it doubles them.
START = 4
#: Most channels of a level, in widths.
_MOST = 8
_LEAK = 0.1


class DCGenerator(nn.Module):
    """``width`` channels at the images' size, halved once, and twice as many at each smaller size."""

    def __init__(self, width: int, levels: int, channels: int) -> None:
        super().__init__()
        sizes = [width * min(_MOST, 2 ** (levels - i)) for i in range(levels + 1)]
        self.first = nn.Linear(LATENT, sizes[0] * START**2)
        layers: list[nn.Module] = [nn.BatchNorm2d(sizes[0]), nn.ReLU()]
        for before, after in itertools.pairwise(sizes):
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, channels, 3, 1, 1), nn.Tanh())
        self._start = (sizes[0], START, START)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        """Return images in [-1, 1], (n, c, h, w), of noise (n, 64)."""
        images: torch.Tensor = self.layers(self.first(noise).view(-1, *self._start))
        return images


class Critic(nn.Module):
    """A number for each image: the higher, the more it looks like a training image."""

    def __init__(self, width: int, levels: int, channels: int, spectral: bool) -> None:
        super().__init__()

        def norm(layer: nn.Module) -> nn.Module:
            normed: nn.Module = spectral_norm(layer) if spectral else layer
            return normed

        size = width * 3 // 2
        layers: list[nn.Module] = [norm(nn.Conv2d(channels, size, 3, 1, 1)), nn.LeakyReLU(_LEAK)]
        for level in range(levels):
            after = size * (2 if 0 < level < _MOST // 2 else 1)
            layers += [norm(nn.Conv2d(size, after, 4, 2, 1)), nn.LeakyReLU(_LEAK)]
            size = after
        layers += [norm(nn.Conv2d(size, size, 3, 1, 1)), nn.LeakyReLU(_LEAK), nn.Flatten()]
        self.layers = nn.Sequential(*layers, norm(nn.Linear(size * START**2, 1)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (n,) numbers."""
        scores: torch.Tensor = self.layers(images)
        return scores[:, 0]


def count_levels(shape: tuple[int, int, int]) -> int:
    """Return how often a generator doubles its sides.

    Raises ConfigError unless images are square, of 8, 16, 32, ... pixels.

    >>> count_levels((16, 16, 1))
    2
    """
    levels = (shape[0] // START).bit_length() - 1
    if shape[0] != shape[1] or levels < 1 or shape[0] != START * 2**levels:
        raise ConfigError(
            f"a GAN makes images of 8, 16, 32, ... pixels, got {shape[0]} x {shape[1]}: set side"
        )
    return levels


def new_dcgan(
    factors: Factors, shape: tuple[int, int, int], seed: Sequence[int]
) -> tuple[nn.Module, nn.Module]:
    """Return an untrained generator and its critic, their weights drawn from ``seed``."""
    levels = count_levels(shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeded(seed))
        generator = DCGenerator(factors.width, levels, shape[2])
        critic = Critic(factors.width, levels, shape[2], spectral=factors.model == "dcgan")
    return generator, critic
