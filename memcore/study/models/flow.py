"""A flow-matching model: a UNet that predicts the straight way from an image to its noise.

Lipman et al. 2023 (arXiv 2210.02747); Liu et al. 2023 (arXiv 2209.03003).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel

from memcore.errors import ConfigError
from memcore.study.models.generator import NetGenerator

#: The UNet's time embedding is made for timesteps of a thousand.
TIME_SCALE = 1000.0


class FlowGenerator(NetGenerator):
    """A UNet with velocity = noise - image at (1 - t) image + t noise, sampled in Euler steps from t = 1 to 0."""

    def __init__(self, net: UNet2DModel, shape: tuple[int, int, int], unshuffle: int) -> None:
        height, width, channels = shape
        super().__init__(net, shape, (channels * unshuffle**2, height // unshuffle, width // unshuffle))
        self.unshuffle = unshuffle

    def make(self, noise: torch.Tensor, steps: int) -> torch.Tensor:
        """Return the images of a batch of noise, in [-1, 1]."""
        if steps < 1:
            raise ConfigError(f"steps must be at least 1, got {steps}")
        x = noise
        for i in range(steps):
            times = torch.full((len(x),), TIME_SCALE * (1 - i / steps), device=x.device)
            x = x - self.net(x, times, return_dict=False)[0] / steps
        return F.pixel_shuffle(x, self.unshuffle)
