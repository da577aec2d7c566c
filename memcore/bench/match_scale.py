"""Match findings with an index of millions of images that are made on demand: the time, and whether any match is missed."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.bench.machine import others_running, processor
from memcore.distance import pairwise_tiled_l2
from memcore.index import Index, build_index, match_index
from memcore.matching.result import Match
from memcore.sources.open import Batch, Part, make_places
from memcore.system.cpus import processors
from memcore.types import Threshold

SIDE = 32
SHAPE = (SIDE, SIDE, 3)
#: One in this many images is a copy (with little noise) of one of the first ORIGINALS.
REPEAT, ORIGINALS = 9973, 400
DELTA = 0.15
BANK = 4096


class SyntheticSource:
    """A source whose image i is a function of i: smooth colours, edges and grain, of a spectrum like that of photographs."""

    kind = "synthetic"

    def __init__(self, count: int) -> None:
        self.count, self.path, self.options = count, f"synthetic:{count}", dict[str, str]()
        self.parts: Sequence[Part] = [Part("images", count)]
        rng = np.random.default_rng(20230130)
        self._banks = [_bank(rng, grain) for grain in (0, 3, 8)]

    def identity(self) -> str:
        """Return what decides the images."""
        return self.path

    def images(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return images by number, (len(numbers), 32, 32, 3) uint8: sums of one picture of each bank, by a hash."""
        copies = (numbers % REPEAT == 0) & (numbers > ORIGINALS)
        words = _hash(np.where(copies, numbers // REPEAT % ORIGINALS, numbers))
        out = np.empty((len(numbers), *SHAPE), np.uint8)
        for at in range(0, len(numbers), 256):  # what fits into the caches
            some = slice(at, at + 256)
            total = np.full((len(out[some]), *SHAPE), 128, np.int16)
            for shift, bank in zip((0, 20, 40), self._banks, strict=True):
                total += bank[(words[some] >> np.uint64(shift)) % np.uint64(BANK)]
            shaken = np.flatnonzero(copies[some])
            total[shaken] += self._banks[2][numbers[some][shaken] % BANK] // 16
            out[some] = np.clip(total, 0, 255)
        return out

    def read(self, part: int, position: int) -> Iterator[Batch]:
        """Yield batches from a position on."""
        for start in range(position, self.count, 4096):
            numbers = np.arange(start, min(self.count, start + 4096))
            yield Batch(make_places(part, numbers), numbers + 1, self.images(numbers))

    def fetch(self, places: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the images at these places."""
        return self.images(places["offset"])


def findings(source: SyntheticSource, count: int) -> tuple[NDArray[np.uint8], list[int]]:
    """Return the members of all findings, of which each one's first is the medoid, and how many each has.

    Half are copies of training images, a quarter near misses (two images mixed), a quarter images that are not in the set.
    """
    rng = np.random.default_rng(7)
    chosen = rng.integers(0, source.count, count)
    chosen[::8] = rng.integers(0, min(ORIGINALS, source.count), len(chosen[::8]))
    images = source.images(chosen).astype(np.float32)
    other = source.images(rng.integers(0, source.count, count)).astype(np.float32)
    new = source.images(source.count + np.arange(count)).astype(np.float32)
    share = rng.uniform(0.25, 0.5, (count, 1, 1, 1)).astype(np.float32)
    images[1::4] = (images * (1 - share) + other * share)[1::4]
    images[3::4] = new[3::4]
    sizes = rng.integers(10, 15, count)
    group = np.repeat(np.arange(count), sizes)
    noise = rng.normal(0, 1, (len(group), *SHAPE)) * rng.uniform(2, 12, (len(group), 1, 1, 1))
    return np.clip(images[group] + noise, 0, 255).astype(np.uint8), sizes.tolist()


def run(folder: Path, images: int, count: int, sample: int, threads: int | None = None) -> dict[str, Any]:
    """Build the index in ``folder`` unless it exists, match ``count`` findings, and return the times and counts.

    The answer is compared with brute force over ``sample`` of the images. Raises AssertionError for what the search missed.
    """
    source = SyntheticSource(images)
    started = time.perf_counter()
    build_index(folder, source, threads=threads)
    built = time.perf_counter() - started
    members, sizes = findings(source, count)
    started = time.perf_counter()
    index = Index.open(folder, sources=[source])
    opened = time.perf_counter() - started
    found = match_index(index, lambda i: members[i], sizes, [0] * count, delta=DELTA, threads=threads)
    matched = time.perf_counter() - started
    rows = np.sort(np.random.default_rng(1).choice(images, min(sample, images), replace=False))
    compared = check(source, members, sizes, found, rows)
    return {
        "images": images,
        "findings": count,
        "members": len(members),
        "build_s": round(built, 1),
        "open_and_verify_s": round(opened, 1),
        "match_s": round(matched, 1),
        "index_bytes": sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()),
        "images_read": index.fetched,
        "extracted": sum(m.extracted for m in found),
        "largest_eidetic": max(m.eidetic for m in found),
        "sample": len(rows),
        "sample_pairs_within_delta": compared,
        "missed": 0,
        "processor": processor(),
        "processors": processors(),
        "others_running": others_running(),
    }


def check(
    source: SyntheticSource,
    members: NDArray[np.uint8],
    sizes: list[int],
    found: list[Match],
    rows: NDArray[np.int64],
) -> int:
    """Compare all members with these training images, pair by pair, and return how many pairs are within delta."""
    limit = Threshold(DELTA).ssd_max(int(np.prod(SHAPE)))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    within = 0
    for at in range(0, len(rows), 2000):
        some = rows[at : at + 2000]
        ssd = pairwise_tiled_l2(members, source.images(some), grid=(1, 1), output="ssd")
        within += int((ssd <= limit).sum())
        for f, match in enumerate(found):
            own = ssd[starts[f] : starts[f + 1]]
            listed = dict(match.neighbors)
            farthest = round((max(listed.values()) * 255) ** 2 * np.prod(SHAPE))
            for j in np.flatnonzero(own[0] < 0.999999 * farthest):
                assert int(some[j]) in listed, f"finding {f}: image {some[j]} is nearer and not listed"
            near = own.min(axis=1) <= limit
            assert match.members_extracted >= near.sum(), f"finding {f}: a member's image was missed"
            assert match.extracted or own[0].min() > limit, f"finding {f}: a copy was missed"
            if near.any():
                closest = match.closest
                least = float(np.sqrt(own.min() / (255**2 * np.prod(SHAPE))))
                assert closest is not None, f"finding {f}: no closest pair"
                assert closest.distance <= least * (1 + 1e-6), f"finding {f}: a closer pair was missed"
    return within


def _hash(numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return splitmix64 of each number: random access to a stream of bits."""
    z = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x1234567)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.ascontiguousarray(z ^ (z >> np.uint64(31)))


def _bank(rng: np.random.Generator, grain: float) -> NDArray[np.int16]:
    """Return (BANK, 32, 32, 3): smooth light and colour, more of it at low frequencies, and ``grain`` levels of noise."""
    fields = np.zeros((BANK, *SHAPE), np.float32)
    for points, light, colour in ((2, 40, 14), (5, 36, 10), (9, 14, 4)):
        x = np.linspace(0, points - 1, SIDE)[:, None] - np.arange(points)[None]
        line = np.clip(1 - np.abs(x), 0, None)
        line = (line * line * (3 - 2 * line)).astype(np.float32)  # smooth weights that add up to 1
        lattice = rng.normal(0, light, (BANK, points, points, 1)) + rng.normal(
            0, colour, (BANK, points, points, 3)
        )
        fields += np.einsum("yi,xj,nijc->nyxc", line, line, lattice.astype(np.float32), optimize=True)
    fields += rng.normal(0, 1, (BANK, *SHAPE)).astype(np.float32) * grain
    return np.rint(fields).astype(np.int16)


def main() -> int:
    """Run ``python -m memcore.bench.match_scale FOLDER --images 10000000``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the index is, or will be")
    parser.add_argument("--images", type=int, default=10_000_000)
    parser.add_argument("--findings", type=int, default=1000)
    parser.add_argument("--sample", type=int, default=20_000)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    result = run(arguments.folder, arguments.images, arguments.findings, arguments.sample, arguments.threads)
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
