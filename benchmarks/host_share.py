"""The host's share of an audit on a device: CPU time a prompt of 500 images, with kernels and a sampler that cost nothing.

    python benchmarks/host_share.py [--batches 500 64 2000] [--prompts 400] [--rounds 5] [--profile]

Prints one line of JSON for each batch size: the least of the rounds, which other processes disturbed the least, and their
spread; and each round's time in ``sum(range(1000))``, measured before and after it, which tells a slow program from a slow
machine. A whole audit of ``memcore.audit`` runs: seeds, batches, slots, decisions, rows, files. The device
is this process: images of 1 kB on the CPU, kernels of Triton and CUDA replaced by functions that return at once; what
torch itself does stays, on tensors that are tiny. Nothing here times a device.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from memcore.audit import audit
from memcore.runs.config import Config
from memcore.types import Images, Request
from tests.support.counted_device import SHAPE, counted_device

GENERATIONS = 500


class FreeSampler:
    """A sampler that answers every batch with the same memory."""

    fingerprint = "free"
    image_shape = SHAPE

    def __init__(self, most: int) -> None:
        self._pixels = torch.zeros(most, *SHAPE, dtype=torch.uint8)
        self._flagged = np.zeros(most, np.bool_)

    def sample(self, requests: Sequence[Request]) -> Images:
        """Return N images, whatever is asked for."""
        count = len(requests)
        return Images(self._pixels[:count], self._flagged[:count])


def seconds_a_prompt(batch_size: int, prompts: int) -> float:
    """Return the CPU seconds of this process for one audit, divided by its prompts."""
    config = Config(source="custom", generations=GENERATIONS, batch_size=batch_size, shard_prompts=prompts)
    sampler = FreeSampler(batch_size)
    with tempfile.TemporaryDirectory() as folder, counted_device():
        texts = [f"prompt {i}" for i in range(prompts)]
        start = time.process_time()
        audit(Path(folder) / "run", config, sampler=sampler, prompts=texts, quiet=True, threads=1)
        return (time.process_time() - start) / prompts


def reference_ms() -> float:
    """Return the CPU milliseconds that ``sum(range(1000))`` takes at the moment."""
    start = time.process_time()
    for _ in range(500):
        sum(range(1000))
    return 1000 * (time.process_time() - start) / 500


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--batches", type=int, nargs="*", default=[500, 64, 2000])
    parser.add_argument("--prompts", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="print where the time goes, and no figures")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for batch_size in given.batches:
        seconds_a_prompt(batch_size, 20)  # imports
        if given.profile:
            profile = cProfile.Profile()
            profile.runcall(seconds_a_prompt, batch_size, given.prompts)
            pstats.Stats(profile).sort_stats("cumtime").print_stats("memcore|kernels|built-in", 80)
            continue
        found, in_references = [], []
        for _ in range(given.rounds):
            before = reference_ms()
            found.append(1000 * seconds_a_prompt(batch_size, given.prompts))
            in_references.append(2 * found[-1] / (before + reference_ms()))
        print(
            json.dumps(
                {
                    "batch": batch_size,
                    "prompts": given.prompts,
                    "rounds": given.rounds,
                    "least_ms": round(min(found), 4),
                    "median_ms": round(statistics.median(found), 4),
                    "most_ms": round(max(found), 4),
                    "median_references": round(statistics.median(in_references), 1),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
