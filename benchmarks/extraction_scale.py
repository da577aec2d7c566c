"""Search many samples for training images, and compare its time with that of the bare product in the same run.

The samples are synthetic: random images, and among them noisy copies of some training images, so that the answer is known
and asserted before a figure is printed. They are made chunk by chunk, as a model would. On each chunk the bare product is
timed just before ``extract`` gets it: the core's products of the chunk with both sets, of which only the least sum is kept
(``memcore.knn`` with k = 1). That is the strictest measure: writing all sums, as ``pairwise_tiled_l2`` does, takes half as
long again. Making samples counts on neither side.

    python benchmarks/extraction_scale.py                                   # 2^20 samples x 50,000 images of 32 x 32 x 3
    python benchmarks/extraction_scale.py --samples 16384 --training 5000   # a minute

Prints JSON. At full size ``times_the_product`` is to be at most 1.2 and ``peak_bytes`` at most 2e9. With fewer samples,
merging the duplicates of both sets weighs more, whose time depends on the sets alone; with smaller sets, the 50 nearest do.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

import memcore
from memcore.bench import machine
from memcore.study.attacks.extraction import Extraction, extract
from memcore.system.cpus import processors

SHAPE = (32, 32, 3)
CHUNK = 8192
#: One sample in so many is a copy; so many training images have copies.
COPY_EVERY, COPIED = 64, 200
NOISE = 6


class Samples:
    """The samples as they are drawn, and the clocks of what is not the extraction's own time."""

    def __init__(
        self, count: int, training: NDArray[np.uint8], held_out: NDArray[np.uint8], threads: int | None
    ) -> None:
        self.count, self.sets, self.threads = count, (training, held_out), threads
        self.product_s = self.making_s = self.began = 0.0
        self.expected: set[int] = set()

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        self.began = time.perf_counter()
        for start in range(0, self.count, CHUNK):
            began = time.perf_counter()
            chunk = self._make(start, min(CHUNK, self.count - start))
            made = time.perf_counter()
            for images in self.sets:
                memcore.knn(chunk, images, 1, threads=self.threads)
            self.making_s += made - began
            self.product_s += time.perf_counter() - made
            yield chunk

    def _make(self, start: int, count: int) -> NDArray[np.uint8]:
        rng = np.random.default_rng([1, start])
        chunk = _random_images(rng, count)
        copies = np.flatnonzero(np.arange(start, start + count) % COPY_EVERY == 0)
        of = rng.integers(0, min(COPIED, len(self.sets[0])), len(copies))
        self.expected |= set(of.tolist())
        noisy = self.sets[0][of].astype(np.int16) + rng.integers(
            -NOISE, NOISE + 1, (len(copies), *SHAPE), dtype=np.int16
        )
        chunk[copies] = np.clip(noisy, 0, 255).astype(np.uint8)
        return chunk


def _random_images(rng: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """Return images with large and small structure: blocks of 8 pixels, and noise on them."""
    coarse = rng.integers(16, 200, (count, SHAPE[0] // 8, SHAPE[1] // 8, SHAPE[2]), dtype=np.uint8)
    fine = np.frombuffer(rng.bytes(count * SHAPE[0] * SHAPE[1] * SHAPE[2]), np.uint8).reshape(count, *SHAPE)
    return coarse.repeat(8, axis=1).repeat(8, axis=2) + fine // 5


def check(found: Extraction, samples: Samples) -> None:
    """Every planted copy is found, and nothing else but what the threshold of l2 lets pass, here and in the control."""
    copies = np.arange(found.samples) % COPY_EVERY == 0
    for rule, others in (("ratio", 0.0), ("adaptive", 0.0), ("l2", 0.003)):
        result = found.rules[rule]  # type: ignore[index]
        assert result.training.hits[copies].all(), rule
        assert set(found.near.image[copies].tolist()) == samples.expected
        assert result.training.hits[~copies].sum() <= others * found.samples, rule
        assert result.held_out.hits.sum() <= others * found.samples, rule


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=1 << 20)
    parser.add_argument("--training", type=int, default=50_000, help="images in each of the two sets")
    parser.add_argument("--threads", type=int, help="default: every processor")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    training, held_out = (_random_images(rng, arguments.training) for _ in range(2))
    samples = Samples(arguments.samples, training, held_out, arguments.threads)
    began = time.perf_counter()
    found = extract(samples, training, held_out, k=50, threads=arguments.threads)
    extraction_s = time.perf_counter() - began - samples.product_s - samples.making_s
    check(found, samples)
    record = {
        **machine.describe(False),
        "samples": found.samples,
        "training": found.compared[0],
        "held_out": found.compared[1],
        "bytes": training[0].size,
        "k": found.neighbors,
        "extraction_s": round(extraction_s, 1),
        "of_which_merging_duplicates_s": round(samples.began - began, 1),
        "product_s": round(samples.product_s, 1),
        "times_the_product": round(extraction_s / samples.product_s, 3),
        "making_samples_s": round(samples.making_s, 1),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "found": found.rules["ratio"].training.unique,
        "threads": arguments.threads or processors(),
    }
    print(json.dumps(record, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
