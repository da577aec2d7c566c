"""A small generator after StyleGAN2 (Karras et al. 2020, arXiv 1912.04958), and its residual discriminator.

Mapping network, modulated and demodulated convolutions, skip connections to the image, equalised learning rates, standard
deviation over the batch. Left out, since the images are small: noise inputs, path-length regularisation, mixing of styles.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from memcore.study.models.gan import LATENT, START, count_levels
from memcore.study.models.generator import seeded
from memcore.study.protocols.protocol import Factors

_LEAK = 0.2
#: Keeps the variance of leaky ReLU's output, as StyleGAN2 does.
_GAIN = math.sqrt(2)
#: Learning rate of the mapping network relative to the others.
_MAPPING_RATE = 0.01
#: Most channels of a level, in widths.
_MOST = 4
#: Images over which the discriminator sees how much a batch varies.
_GROUP = 4
_EPS = 1e-8


class Linear(nn.Module):
    """A layer whose weights are normal with deviation 1 and scaled when used, so that all learn equally fast."""

    def __init__(self, inputs: int, outputs: int, bias: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self._scale, self._rate = rate / math.sqrt(inputs), rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, outputs)."""
        return F.linear(x, self.weight * self._scale, self.bias * self._rate)


class Conv(nn.Module):
    """A convolution with scaled weights that keeps the images' size."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self._scale, self._padding = 1 / math.sqrt(inputs * kernel**2), kernel // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, outputs, h, w)."""
        return F.conv2d(x, self.weight * self._scale, self.bias, padding=self._padding)


class Modulated(nn.Module):
    """A convolution whose input channels are scaled by a style; with ``demodulate`` its output has unit deviation.

    Scaling what goes in and what comes out is the same as scaling the weights of each image, and one convolution serves all.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, demodulate: bool = True) -> None:
        super().__init__()
        self.style = Linear(LATENT, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self._demodulate = demodulate
        self._scale, self._padding = 1 / math.sqrt(inputs * kernel**2), kernel // 2

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Return (n, outputs, h, w) of features and the latent ``w``."""
        style = self.style(w)
        weight = self.weight * self._scale
        out = F.conv2d(x * style[:, :, None, None], weight, padding=self._padding)
        if self._demodulate:
            power = F.linear(style.square(), weight.square().sum(dim=(2, 3)))
            out = out * (power + _EPS).rsqrt()[:, :, None, None]
        return out + self.bias[:, None, None]


class StyleGenerator(nn.Module):
    """From a learned 4 x 4 start to the images' size, two modulated convolutions a size."""

    def __init__(self, width: int, levels: int, channels: int) -> None:
        super().__init__()
        sizes = [width * min(_MOST, 2 ** (levels - i)) for i in range(levels + 1)]
        self.mapping = nn.ModuleList(Linear(LATENT, LATENT, rate=_MAPPING_RATE) for _ in range(2))
        self.start = nn.Parameter(torch.randn(1, sizes[0], START, START))
        self.first = nn.ModuleList(
            Modulated(before, after, 3) for before, after in zip([sizes[0], *sizes[:-1]], sizes, strict=True)
        )
        self.second = nn.ModuleList(Modulated(size, size, 3) for size in sizes)
        self.to_image = nn.ModuleList(Modulated(size, channels, 1, demodulate=False) for size in sizes)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        """Return images, about in [-1, 1], (n, c, h, w), of noise (n, 64)."""
        w = noise * (noise.square().mean(dim=1, keepdim=True) + _EPS).rsqrt()
        for layer in self.mapping:
            w = _activate(layer(w))
        x = self.start.expand(len(noise), -1, -1, -1)
        image: torch.Tensor | None = None
        for level, (first, second, to_image) in enumerate(
            zip(self.first, self.second, self.to_image, strict=True)
        ):
            if level:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = _activate(second(_activate(first(x, w)), w))
            made = to_image(x, w)
            if image is not None:
                made = made + F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)
            image = made
        assert image is not None
        return image


class StyleCritic(nn.Module):
    """A residual discriminator with the standard deviation over groups of images as a channel of its own."""

    def __init__(self, width: int, levels: int, channels: int) -> None:
        super().__init__()
        sizes = [width * min(_MOST, 2**i) for i in range(levels + 1)]
        self.from_image = Conv(channels, sizes[0], 1)
        pairs = list(itertools.pairwise(sizes))
        self.first = nn.ModuleList(Conv(before, before, 3) for before, _ in pairs)
        self.second = nn.ModuleList(Conv(before, after, 3) for before, after in pairs)
        self.skip = nn.ModuleList(Conv(before, after, 1) for before, after in pairs)
        self.last = Conv(sizes[-1] + 1, sizes[-1], 3)
        self.hidden = Linear(sizes[-1] * START**2, sizes[-1])
        self.out = Linear(sizes[-1], 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (n,) numbers."""
        x = _activate(self.from_image(images))
        for first, second, skip in zip(self.first, self.second, self.skip, strict=True):
            through = F.avg_pool2d(_activate(second(_activate(first(x)))), 2)
            x = (through + skip(F.avg_pool2d(x, 2))) / _GAIN
        x = torch.cat([x, _spread(x)], dim=1)
        x = _activate(self.last(x)).flatten(1)
        scores: torch.Tensor = self.out(_activate(self.hidden(x)))
        return scores[:, 0]


def _activate(x: torch.Tensor) -> torch.Tensor:
    return F.leaky_relu(x, _LEAK) * _GAIN


def _spread(x: torch.Tensor) -> torch.Tensor:
    """Return, for each image, the mean deviation of the features over its group, as one channel."""
    group = math.gcd(len(x), _GROUP)
    grouped = x.view(group, -1, *x.shape[1:])
    deviation = (grouped.var(dim=0, unbiased=False) + _EPS).sqrt().mean(dim=(1, 2, 3))
    return deviation.repeat(group)[:, None, None, None].expand(-1, 1, *x.shape[2:])


def new_stylegan(
    factors: Factors, shape: tuple[int, int, int], seed: Sequence[int]
) -> tuple[nn.Module, nn.Module]:
    """Return an untrained generator and its discriminator, their weights drawn from ``seed``."""
    levels = count_levels(shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeded(seed))
        return (
            StyleGenerator(factors.width, levels, shape[2]),
            StyleCritic(factors.width, levels, shape[2]),
        )
