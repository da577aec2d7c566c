"""Small pictures and a mask that images are made from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIDE = 16


def picture(seed: int, side: int = SIDE) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def upper_half(side: int = SIDE) -> NDArray[np.uint8]:
    mask = np.zeros((side, side), np.uint8)
    mask[: side // 2] = 255
    return mask
