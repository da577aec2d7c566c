"""A generator without a model: deterministic 16 x 16 images, with planted copies and the negatives that fool an audit.

It costs well under a millisecond a prompt, so that the machinery of a run can be tried at full scale on any machine:
``memcore audit RUN --sampler memcore.study.synthetic:SyntheticSampler``. ``write_prompts`` makes its prompts; a prompt's
first word is its kind:

=========== ==================================================================== ========
kind        what its generations are                                             finding?
=========== ==================================================================== ========
memorised   10 to 16 copies of one image with a little noise, among others       yes
hubbed      the same, and a hub with 40 spokes beside it: a greedy search ends   yes
            at the hub
frequent    each one is a copy with a probability of 0.15: what a sequential     yes
            budget promises to find
nine        nine copies: one too few                                             no
hub         a hub that is near 40 images which are far from each other           no
miss        40 copies with so much noise that their pairs lie just too far       no
flat        one background, and a small object that differs                      no
black       black frames, as a safety checker answers                            no
constant    frames of one grey                                                   no
plain       images that have nothing in common                                   no
=========== ==================================================================== ========
"""

from __future__ import annotations

import functools
import itertools
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ArgumentValueError
from memcore.images.constant import flag_constant
from memcore.sampling.seeds import derive_seeds
from memcore.types import Images, Request

SHAPE = (16, 16, 3)
_BYTES = 16 * 16 * 3
#: Kinds whose prompts must be found; all others must not.
FOUND = ("memorised", "hubbed", "frequent")
NEGATIVES = ("nine", "hub", "miss", "flat", "black", "constant")
#: Copies among 256 generations of a frequent prompt.
FREQUENT = 38
#: Largest noise of a copy, in levels: pairs of copies lie within 0.05 of each other.
COPY_NOISE = 7
#: Noise of a near miss: a tile's two copies lie about 0.16 apart, the worst of 16 tiles about 0.2.
MISS_NOISE = 100
#: A spoke differs from its hub by this many levels in every byte, up or down: 0.12; two spokes lie about 0.18 apart.
SPOKE = 30
SPOKES = 40

_Words = NDArray[np.uint64]


class SyntheticSampler:
    """Images that depend on the prompt, its number and the seed alone.

    Parameters
    ----------
    generations, run_seed
        Those of the run: a generation's index decides whether it is a copy, so that a clique's size is exact.

    >>> from memcore.types import Request
    >>> SyntheticSampler().sample([Request(0, "plain 0", 7)]).pixels.shape
    (1, 16, 16, 3)
    """

    image_shape = SHAPE
    public_options = ("generations", "run_seed")

    def __init__(self, generations: int = 500, run_seed: int = 0) -> None:
        if not isinstance(generations, int) or generations < 64:
            raise ArgumentValueError(f"generations must be at least 64, got {generations!r}")
        self.generations = generations
        self.run_seed = run_seed
        self.fingerprint = f"synthetic-1:{generations}:{run_seed}"
        self._roles: tuple[int, dict[int, int]] = (-1, {})

    def describe(self) -> dict[str, str]:
        """Return what decides the images, as text."""
        return {
            "kind": "synthetic",
            "generations": str(self.generations),
            "run_seed": str(self.run_seed),
        }

    def sample(self, requests: Sequence[Request]) -> Images:
        """Return (N, 16, 16, 3) uint8 in the order of the requests."""
        pixels = np.empty((len(requests), *SHAPE), np.uint8)
        start = 0
        for (prompt_id, prompt), group in itertools.groupby(requests, lambda r: (r.prompt_id, r.prompt)):
            seeds = np.fromiter((r.seed for r in group), np.uint64)
            pixels[start : start + len(seeds)] = self._images(prompt_id, prompt, seeds)
            start += len(seeds)
        return Images(pixels, flag_constant(pixels))

    def _images(self, prompt_id: int, prompt: str, seeds: _Words) -> NDArray[np.uint8]:
        kind = prompt.partition(" ")[0]
        own = np.uint64(zlib.crc32(prompt.encode()) | prompt_id << 32)
        if kind == "black":
            return np.zeros((len(seeds), *SHAPE), np.uint8)
        if kind == "constant":
            return np.full((len(seeds), *SHAPE), 128, np.uint8)
        if kind == "flat":
            return _flat(seeds, own)
        images = _plain(seeds)
        if kind == "frequent":
            copied = _random_words(seeds, 1, 7)[:, 0] % np.uint64(256) < FREQUENT
            images[copied] = _near(_base(own), seeds[copied], COPY_NOISE)
        copies, spokes = _planted(kind, int(own))
        if copies or spokes:
            index_of = self._index_by_seed(prompt_id)
            indices = np.array([index_of.get(int(s), self.generations) for s in seeds])
            base = _base(own)
            hub = _plain(np.array([own], np.uint64) ^ np.uint64(0x5A5A))[0].clip(64, 191)
            noise = MISS_NOISE if kind == "miss" else COPY_NOISE
            # A stride that is coprime to the number of generations scatters the planted ones among the others.
            place = (indices * _coprime(self.generations)) % self.generations
            real = indices < self.generations
            copied = real & (place < copies)
            images[copied] = _near(base, seeds[copied], noise)
            spoke = real & (place >= copies) & (place < copies + spokes)
            images[spoke] = _spokes(hub, seeds[spoke])
            if spokes:
                images[real & (place == copies + spokes)] = hub
        return images

    def _index_by_seed(self, prompt_id: int) -> dict[int, int]:
        """Return the index of each of a prompt's seeds."""
        if self._roles[0] != prompt_id:
            seeds = derive_seeds(self.run_seed, prompt_id, self.generations)
            self._roles = (prompt_id, {int(s): i for i, s in enumerate(seeds)})
        return self._roles[1]


def prompts(
    count: int, planted: int = 94, *, negatives: int = 7, kinds: Sequence[str] = ("memorised", "hubbed")
) -> Iterator[str]:
    """Return ``count`` prompts, of which ``planted`` must be found.

    The planted ones have the ``kinds`` in turn. Of each kind of negative there is about one in ``negatives`` times eight,
    scattered evenly; all others are plain.

    Raises ArgumentValueError unless there is room for what is planted.

    >>> from collections import Counter
    >>> kinds = Counter(p.split()[0] for p in prompts(1000, 10))
    >>> kinds["memorised"] + kinds["hubbed"]
    10
    """
    if not 0 <= planted * 2 <= count:
        raise ArgumentValueError(f"planted must lie in [0, {count // 2}] for {count} prompts, got {planted}")
    step = count // planted if planted else count + 1
    for i in range(count):
        if i % step == step // 2 and i // step < planted:
            yield f"{kinds[i // step % len(kinds)]} {i}"
        elif i % negatives == 0:
            yield f"{NEGATIVES[i // negatives % 8] if i // negatives % 8 < len(NEGATIVES) else 'plain'} {i}"
        else:
            yield f"plain {i}"


def write_prompts(path: Path, count: int, planted: int = 94) -> None:
    """Write a text file with one prompt a line, for ``memcore audit --prompts``."""
    path.write_text("".join(f"{prompt}\n" for prompt in prompts(count, planted)), "utf-8")


def _planted(kind: str, own: int) -> tuple[int, int]:
    """Return how many copies and spokes a prompt has."""
    copies = {"memorised": 10 + own % 7, "hubbed": 10 + own % 7, "nine": 9, "miss": 40}.get(kind, 0)
    return copies, SPOKES if kind in ("hub", "hubbed") else 0


def _coprime(n: int) -> int:
    import math

    return next(k for k in range(n * 5 // 8, 2 * n) if math.gcd(k, n) == 1)


@functools.lru_cache
def _steps(count: int, salt: int) -> _Words:
    golden = 0x9E3779B97F4A7C15
    return np.array([(golden * (i + 1) + salt * 0xD1342543DE82EF95) % 2**64 for i in range(count)], np.uint64)


def _random_words(seeds: _Words, count: int, salt: int) -> _Words:
    """Return (N, count) random words, each a hash (splitmix64) of its seed and its position."""
    x = (seeds * np.uint64(0xFF51AFD7ED558CCD))[:, None] + _steps(count, salt)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def _noise(seeds: _Words, salt: int) -> NDArray[np.uint8]:
    """Return (N, 768) random bytes."""
    return _random_words(seeds, _BYTES // 8, salt).view(np.uint8)


def _plain(seeds: _Words) -> NDArray[np.uint8]:
    """Return images with a random colour in each of 4 x 4 tiles and noise of up to 16 levels."""
    colours = _random_words(seeds, 6, 1).view(np.uint8).reshape(-1, 4, 4, 3)
    rows = np.repeat(colours // 8 * 7, 4, axis=2).reshape(-1, 4, 1, 48)  # 0 to 217
    grain = (_noise(seeds, 2) & np.uint8(31)).reshape(-1, 4, 4, 48)
    return (rows + grain).reshape(-1, *SHAPE)


def _base(own: np.uint64) -> NDArray[np.uint8]:
    """Return the prompt's memorised image."""
    image: NDArray[np.uint8] = _plain(np.array([own], np.uint64) ^ np.uint64(0xA5A5))[0].clip(64, 191)
    return image


def _flat(seeds: _Words, own: np.uint64) -> NDArray[np.uint8]:
    """Return images with one bright background and one tile that differs from image to image."""
    images = np.full((len(seeds), 4, 4, 4, 4, 3), 200 + int(own) % 50, np.uint8)
    where = _random_words(seeds, 1, 3)[:, 0]
    row, column = (where >> np.uint64(8)) % 4, (where >> np.uint64(16)) % 4
    content = _noise(seeds, 4)[:, :48].reshape(-1, 4, 4, 3) // 2
    images[np.arange(len(seeds)), row, :, column] = content
    return images.reshape(-1, *SHAPE)


def _near(base: NDArray[np.uint8], seeds: _Words, noise: int) -> NDArray[np.uint8]:
    """Return copies with uniform noise of up to ``noise`` levels in all."""
    grain = _noise(seeds, 5).reshape(-1, *SHAPE).astype(np.int16) * noise // 256 - noise // 2
    return (base + grain).clip(0, 255).astype(np.uint8)


def _spokes(hub: NDArray[np.uint8], seeds: _Words) -> NDArray[np.uint8]:
    """Return images that differ from the hub by SPOKE in every byte, with random signs."""
    signs = (_noise(seeds, 6).reshape(-1, *SHAPE) & np.uint8(1)).astype(np.int16) * 2 - 1
    return (hub + SPOKE * signs).clip(0, 255).astype(np.uint8)
