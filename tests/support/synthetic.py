"""A deterministic generator for tests, and its training set: some prompts are memorised, one is black, one fails."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memcore.errors import SamplerError
from memcore.types import Images, Request

SHAPE = (16, 16, 3)
MEMORISED = ("a red fox", "two boats")
PROMPTS = ["a red fox", "a green hill", "two boats", "nothing but black", "an old clock", "rain", "a door"]


def training_image(prompt: str) -> NDArray[np.uint8]:
    """Return the one training image of a prompt."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:8]))
    return rng.integers(0, 256, SHAPE, dtype=np.uint8)


class SyntheticSampler:
    """A sampler of copies with a little noise, three in four of a memorised prompt; other images are random."""

    image_shape = SHAPE

    def __init__(self, fail: str = "", fingerprint: str = "synthetic-1") -> None:
        self.fail = fail
        self.fingerprint = fingerprint
        self.batches: list[int] = []

    def describe(self) -> dict[str, str]:
        return {"kind": "synthetic", "fail": self.fail}

    def sample(self, requests: Sequence[Request]) -> Images:
        self.batches.append(len(requests))
        if any(r.prompt == self.fail for r in requests):
            raise SamplerError(f"cannot sample {self.fail!r}")
        pixels = np.stack([self._one(r) for r in requests])
        return Images(pixels, np.array([r.prompt == "nothing but black" for r in requests]))

    def _one(self, request: Request) -> NDArray[np.uint8]:
        rng = np.random.default_rng(request.seed)
        if request.prompt == "nothing but black":
            return np.zeros(SHAPE, dtype=np.uint8)
        if request.prompt in MEMORISED and rng.random() < 0.75:
            noisy = training_image(request.prompt).astype(int) + rng.integers(-8, 9, SHAPE)
            return np.clip(noisy, 0, 255).astype(np.uint8)
        return rng.integers(0, 256, SHAPE, dtype=np.uint8)


def write_training_set(folder: Path) -> Path:
    """Write train.npy (20 other images, then the prompts' images) and truth.json."""
    others = np.random.default_rng(5).integers(0, 256, (20, *SHAPE), dtype=np.uint8)
    images = np.concatenate([others, np.stack([training_image(p) for p in PROMPTS])])
    np.save(folder / "train.npy", images)
    entries = [
        {
            "prompt": p,
            "kind": "planted" if p in MEMORISED else "once",
            "copies": 50 if p in MEMORISED else 1,
            "expected": p in MEMORISED,
            "training_images": [20 + n],
        }
        for n, p in enumerate(PROMPTS)
    ]
    (folder / "truth.json").write_text(json.dumps({"format": 1, "prompts": entries}))
    return folder / "train.npy"


def write_stored(folder: Path, generations: int, prompts: Sequence[str] = PROMPTS) -> Path:
    """Write the sampler's generations as .npy files, one a prompt, for ``memcore filter``."""
    from memcore.sampling.seeds import derive_seed

    folder.mkdir(parents=True)
    sampler = SyntheticSampler()
    for n, prompt in enumerate(prompts):
        requests = [Request(n, prompt, derive_seed(0, n, i)) for i in range(generations)]
        np.save(folder / f"{n:03d}.npy", sampler.sample(requests).pixels)
    (folder / "prompts.txt").write_text("\n".join(prompts) + "\n")
    return folder
