"""Prompts and the oracle of their graphs, for the kernels under Triton's interpreter."""

from __future__ import annotations

import numpy as np
import torch

from memcore.backends import reference


def prompt(rng: np.random.Generator, n: int, shape: tuple[int, int, int], copies: int) -> torch.Tensor:
    """Return n random images, of which the last ``copies`` and every fifth before them are near-duplicates of one."""
    images = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
    base = rng.integers(8, 248, shape)
    for i in {*range(n - copies, n), *range(0, n, 5)}:
        images[i] = base + rng.integers(-8, 9, shape)
    return torch.from_numpy(images)


def oracle(images: torch.Tensor, tile: tuple[int, int], ssd_max: int) -> torch.Tensor:
    ssd = torch.from_numpy(reference.tiled_l2_ssd(images[None].numpy(), None, tile)[0].astype(np.int64))
    return (ssd <= ssd_max).fill_diagonal_(False)


def limit(tile_bytes: int, threshold: float = 0.15) -> int:
    return int(threshold**2 * 255**2 * tile_bytes)
