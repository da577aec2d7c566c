"""Samplers with a copy rate for each prompt, or with a first denoising step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from memcore.errors import SamplerError
from memcore.sampling import (
    FirstStep,
)
from memcore.types import Images, Request
from tests.support.synthetic import MEMORISED, SHAPE, SyntheticSampler

COPY_RATES = {f"prompt {i}": rate for i, rate in enumerate([0, 0.5, 0, 0.25, 0, 0, 1, 0, 0, 0.02, 0, 0])}


class RatedSampler(SyntheticSampler):
    """A sampler of copies at each prompt's own rate and random images; it fails after ``most`` batches."""

    def __init__(self, most: int | None = None) -> None:
        super().__init__(fingerprint="rated")
        self.most = most

    def sample(self, requests: Sequence[Request]) -> Images:
        if self.most is not None and len(self.batches) == self.most:
            raise KeyboardInterrupt
        return super().sample(requests)

    def _one(self, request: Request) -> Any:
        rng = np.random.default_rng(request.seed)
        if rng.random() < COPY_RATES[request.prompt]:
            return rng.integers(100, 116, SHAPE, dtype=np.uint8)
        return rng.integers(0, 256, SHAPE, dtype=np.uint8)


class Screenable(SyntheticSampler):
    """A sampler that scores memorised prompts 3 and 4, others 1 and 2, and fails one of these."""

    def __init__(self, fail_screen: str = "") -> None:
        super().__init__()
        self.fail_screen = fail_screen
        self.screened: list[str] = []

    def first_step(self, requests: Sequence[Request], *, guidance_scale: float) -> FirstStep:
        assert guidance_scale == 7.5
        self.screened += [r.prompt for r in requests]
        if any(r.prompt == self.fail_screen for r in requests):
            raise SamplerError("no first step")
        scores = np.array([3.0 if r.prompt in MEMORISED else 1.0 for r in requests])
        return FirstStep(scores + np.arange(len(requests)) % 2, 10 * scores)
