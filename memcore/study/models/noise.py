"""The noise that a study's models start from: a function of two numbers, the same for every model and machine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def draw_noise(keys: Sequence[tuple[int, int]], shape: tuple[int, ...]) -> torch.Tensor:
    """Return one standard normal tensor of ``shape`` for each (seed, index), (n, *shape) float32.

    Each depends on its own key alone.

    >>> bool((draw_noise([(7, 1)], (2,))[0] == draw_noise([(7, 0), (7, 1)], (2,))[1]).all())
    True
    """
    made = np.empty((len(keys), *shape), np.float32)
    for i, (seed, index) in enumerate(keys):
        source = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, index, 0]))
        source.standard_normal(dtype=np.float32, out=made[i])
    return torch.from_numpy(made)
