"""Count the seeds that images of different prompts share, where a sampler takes seeds of few bits."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from memcore.runs.folder import RunFolder
from memcore.sampling.seeds import SEED_BITS, derive_seeds

#: Images of a run up to which shared seeds are counted; of more, their number is estimated.
COUNTED = 20_000_000


class SharedSeeds:
    """The images of a run that have the seed of another prompt's image.

    A prompt's own images never share one. ``bits`` is None where shared seeds are not counted: images were stored, or the
    sampler takes the usual 53 bits, of which a run of 350,000 prompts and 500 images each shares about two.
    """

    def __init__(self, folder: RunFolder) -> None:
        declared = str(folder.meta["sampler"].get("describe", {}).get("seed_bits", ""))
        bits = int(declared) if declared.isdecimal() else SEED_BITS
        self.bits = bits if bits < SEED_BITS and folder.config.source != "stored" else None
        self._run_seed = folder.config.seed
        self._images = 0
        self._prompts: list[tuple[int, int]] = []

    def add(self, prompt_id: int, images: int) -> None:
        """Add a prompt with its number of images."""
        if self.bits is not None and images:
            self._images += images
            self._prompts.append((prompt_id, images))

    def count(self) -> int:
        """Return how many images share a seed with an image of another prompt."""
        if self.bits is None or len(self._prompts) < 2:
            return 0
        if self._images > COUNTED:
            return round(self._images * -math.expm1(-self._images / 2**self.bits))
        seeds = np.sort(np.concatenate([self._seeds(*prompt) for prompt in self._prompts]))
        same = seeds[1:] == seeds[:-1]
        shared = np.zeros(len(seeds), np.bool_)
        shared[1:] |= same
        shared[:-1] |= same
        return int(shared.sum())

    def _seeds(self, prompt_id: int, images: int) -> NDArray[np.int64]:
        assert self.bits is not None
        return derive_seeds(self._run_seed, prompt_id, images, bits=self.bits)
