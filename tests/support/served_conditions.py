"""A sampler of labels and given images that ``memcore serve-model`` serves in tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from memcore.conditions import Condition
from memcore.errors import SamplerError
from memcore.sampling import CallableSampler
from tests.support.given_pictures import SIDE, picture


def _made(prompts: list[str], seeds: list[int], given: list[Condition]) -> Any:
    images = []
    for seed, condition in zip(seeds, given, strict=True):
        if condition.label == 9:
            raise SamplerError("there is no class 9")
        assert condition.image is not None
        source = condition.image if condition.label == 0 else picture(condition.label or 0)
        noise = np.random.default_rng(seed).integers(-6, 7, source.shape)
        images.append(np.clip(source.astype(int) + noise, 0, 255).astype(np.uint8))
    return np.stack(images)


def make() -> Any:
    """Return a sampler that repeats the given image for label 0, and a picture of its own for others."""
    made: Any = CallableSampler(_made, (SIDE, SIDE, 3), "conditioned-1", conditions=["label", "image"])
    made.needed_conditions = ("label", "image")
    return made
