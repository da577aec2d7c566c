"""Prompts a second of an audit whose sampler's images lie on the device already. Arguments: batch sizes."""

from __future__ import annotations

import functools
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from results import case, random_images, with_copies

from memcore.audit import audit
from memcore.runs.config import Config
from memcore.types import Images

SIZE, GENERATIONS = (512, 512, 3), 500


class Pool:
    """A sampler that costs nothing: slices of images that are there. One prompt in 20 has copies."""

    image_shape = SIZE
    fingerprint = "pool-1"

    def __init__(self, batch: int) -> None:
        self._plain = random_images(70, 3 * batch + GENERATIONS, *SIZE)
        self._copies = with_copies(71, max(batch, GENERATIONS), SIZE, GENERATIONS // 8)
        self._at = 0

    def describe(self) -> dict[str, Any]:
        return {"kind": "pool"}

    def sample(self, requests: Sequence[Any]) -> Images:
        count = len(requests)
        self._at = (self._at + count) % (len(self._plain) - count + 1)
        copies = requests[0].prompt_id % 20 == 7
        pixels = self._copies[:count] if copies else self._plain[self._at : self._at + count]
        return Images(pixels, np.zeros(count, dtype=np.bool_))


def run(batch: int, prompts: int, budget: str) -> dict[str, Any]:
    config = Config(
        source="custom", generations=GENERATIONS, batch_size=batch, shard_prompts=prompts, budget=budget
    )
    sampler = Pool(batch)
    with tempfile.TemporaryDirectory() as folder:

        def once(count: int, name: str) -> float:
            torch.cuda.synchronize()
            start = time.perf_counter()
            audit(
                f"{folder}/{name}",
                config,
                sampler=sampler,
                prompts=[f"prompt {i}" for i in range(count)],
                quiet=True,
            )
            torch.cuda.synchronize()
            return time.perf_counter() - start

        once(min(8, prompts), "warm")
        seconds = once(prompts, "run")
    return {
        "prompts": prompts,
        "prompts_a_second": round(prompts / seconds, 1),
        "ms_a_prompt": round(1000 * seconds / prompts, 3),
    }


if __name__ == "__main__":
    for batch in map(int, sys.argv[1:] or ("500", "64", "2000")):
        call = functools.partial(run, batch, 24 if batch < 500 else 60, "fixed")
        case("path", f"audit, fixed budget, batch {batch}", call)
    case("path", "audit, sequential budget, batch 128", functools.partial(run, 128, 40, "sequential"))
