"""Images, the oracle, and one checked call of the distance kernel under Triton's interpreter."""

from __future__ import annotations

import numpy as np
import torch
from memcore_kernels import tiled_l2_ssd
from memcore_kernels.plan import Channels

from memcore.backends import reference
from tests.support.interpreter_check import watched


def oracle(
    images: torch.Tensor, other: torch.Tensor | None, tile: tuple[int, int], channels: Channels
) -> torch.Tensor:
    """Return the ssd in int64 by NumPy, of 4 or 5 dimensions."""

    def channels_last(x: torch.Tensor) -> np.ndarray:
        x = x if x.dim() == 5 else x[None]
        return (x.movedim(-3, -1) if channels == "first" else x).numpy()

    ssd = reference.tiled_l2_ssd(channels_last(images), None if other is None else channels_last(other), tile)
    wide = torch.from_numpy(ssd.astype(np.int64))
    return wide if images.dim() == 5 else wide[0]


def random_images(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8))


def check(
    images: torch.Tensor,
    other: torch.Tensor | None = None,
    *,
    tile: tuple[int, int],
    channels: Channels = "last",
    seed: int = 0,
) -> None:
    with watched(seed):
        answer = tiled_l2_ssd(images, other, tile=tile, channels=channels)
    assert answer.dtype == torch.int64
    assert torch.equal(answer, oracle(images, other, tile, channels))


def black_and_white(*shape: int) -> torch.Tensor:
    images = torch.zeros(2, *shape, dtype=torch.uint8)
    images[1] = 255
    return images
