"""Which timesteps and which noise an image is trained with, where a defence changes them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from memcore.study.models.noise import draw_noise


def draw_times(count: int, timesteps: int, u_shape: float, random: torch.Generator) -> torch.Tensor:
    """Return ``count`` timesteps, (count,) int64: uniform for ``u_shape`` 0, else more at both ends than in the middle.

    Their density at the share u of the schedule is proportional to exp(a u) + exp(a (1 - u)), a = 2 ``u_shape``.

    References
    ----------
    Lee, Lin and Fanti 2024, "Improving the Training of Rectified Flows" (the density).

    Examples
    --------
    >>> times = draw_times(1000, 100, 2.0, torch.Generator().manual_seed(0))
    >>> int(((times < 20) | (times >= 80)).sum()) > 530 > 470 > int(((times >= 20) & (times < 80)).sum())
    True
    """
    if u_shape == 0:
        return torch.randint(timesteps, (count,), generator=random)
    even = 2 * torch.rand(count, generator=random, dtype=torch.float64) - 1
    share = (1 + torch.asinh(math.sinh(u_shape) * even) / u_shape) / 2
    return (share * timesteps).long().clamp(0, timesteps - 1)


class Ambient:
    """Training images to which noise was added once and for all; above timestep ``floor`` nothing else of them is seen.

    A noisier image is made of the noisy one: x_t = (a_t / a_f) x_f + s e, with s^2 = b_t^2 - (a_t / a_f)^2 b_f^2 and fresh
    e, where a_t and b_t scale image and noise at t. The mean of the whole noise of x_t, given x_t, is that of b_t
    e / s; so a
    net that predicts s / b_t times its output against e learns the same prediction, and never sees what is under the noise.

    Parameters
    ----------
    clean
        (rows, c, h, w) float, the training set as the net sees it. Each row has a noise of its own, copies too.
    alphas
        (timesteps,) cumulative products of 1 - beta.
    floor
        The timestep whose noise the images have.
    seed
        Of that noise.

    References
    ----------
    Daras, Dimakis and Daskalakis 2024, "Consistent Diffusion Meets Tweedie"; Shah, Kalavasis, Klivans and Daras 2025, "Does
    Generation Require Memorization? Creative Diffusion Models using Ambient Diffusion".
    """

    def __init__(self, clean: torch.Tensor, alphas: torch.Tensor, floor: int, seed: Sequence[int]) -> None:
        self.floor = floor
        self._signal, self._noise = alphas.sqrt(), (1 - alphas).sqrt()
        key = sum(int(part) << (16 * place) for place, part in enumerate([*seed, 10]))
        fixed = draw_noise([(key, row) for row in range(len(clean))], tuple(clean.shape[1:]))
        self._noisy = self._signal[floor] * clean + self._noise[floor] * fixed

    def __repr__(self) -> str:
        """Return one line, without the images."""
        return f"Ambient({len(self._noisy)} images, floor={self.floor})"

    def noised(
        self, chosen: torch.Tensor, times: torch.Tensor, noise: torch.Tensor, plain: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the noisy images, and what the net's output is multiplied with before it is compared with ``noise``.

        ``plain`` are the usual noisy images, which are kept up to the floor.
        """
        ratio = (self._signal[times] / self._signal[self.floor]).view(-1, 1, 1, 1)
        whole = self._noise[times].view(-1, 1, 1, 1)
        added = (whole**2 - (ratio * self._noise[self.floor]) ** 2).clamp_min(0).sqrt()
        above = (times > self.floor).view(-1, 1, 1, 1)
        noisy = torch.where(above, ratio * self._noisy[chosen] + added * noise, plain)
        return noisy, torch.where(above, added / whole, torch.ones_like(whole))
