"""Make kinds of generations from photographs that scikit-image and scikit-learn ship, deterministically.

How fast a pruned graph is depends on what the images look like. These kinds are the cases that matter: what a
prompt's generations usually are, what a memorised prompt's are, and what defeats a bound.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.arrays import check_count
from memcore.bench.peers import load
from memcore.errors import ArgumentValueError

Images = NDArray[np.uint8]
Random = np.random.Generator

DEFAULT_SEED = 7
#: Pairs of copies lie between 0.02 and 0.07: edges at both of the thresholds that are used, 0.10 and 0.15.
COPY_NOISE = (0.01, 0.05)
#: Pairs of white-noise images are at about this distance.
NOISE_THRESHOLD = 0.15

# Inside the wheels, read as files: the loaders of scikit-image may download. Pure textures are left out: in a
# small size they are all the same grey.
_SKIMAGE = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "ihc.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
_SKLEARN = ("china.jpg", "flower.jpg")


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind: its name, what it represents, and how many of N images are copies of one image."""

    name: str
    about: str
    make: Callable[[Random, int, int], Images]
    copies: int = 0


def images(
    name: str, n: int = 500, size: int = 512, *, seed: int = DEFAULT_SEED, cache: Path | None = None
) -> Images:
    """Return (n, size, size, 3) uint8 of the kind ``name``; the same arguments give the same bytes.

    ``cache`` is a folder in which finished arrays are kept and found again.
    """
    kind = _kind(name)
    check_count(n, "n", 2)
    check_count(size, "size", 16)
    if cache is None:
        return _build(kind, n, size, seed)
    path = cache / f"{name.replace(' ', '-')}-{n}-{size}-{seed}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache, suffix=".npy", delete=False) as file:
            np.save(file, _build(kind, n, size, seed))
        os.replace(file.name, path)
    kept: Images = np.load(path)
    return kept


def planted(name: str, n: int = 500, *, seed: int = DEFAULT_SEED) -> tuple[int, ...]:
    """Return the indices of the images that are copies of one another, ascending; a clique at 0.10 and at 0.15."""
    count = min(_kind(name).copies, n)
    return tuple(sorted(int(i) for i in np.random.default_rng([seed, 1]).permutation(n)[:count]))


def rows(n: int, *, side: int = 32, seed: int = DEFAULT_SEED) -> Images:
    """Return (n, side * side * 3) uint8: flattened small crops of the photographs, for k nearest neighbours.

    Every eighth repeats an earlier one, exactly or with a little noise: there are near neighbours and ties.
    """
    check_count(n, "n", 1)
    random = np.random.default_rng([seed, 2])
    small = [_shrunk(photo, 2 * side) for photo in photographs()]
    out = np.empty((n, side, side, 3), dtype=np.uint8)
    for i in range(n):
        if i % 8 == 7:
            noise = random.integers(-4, 5, out.shape[1:]) * (i % 16 == 7)
            out[i] = np.clip(out[random.integers(i)] + noise, 0, 255)
            continue
        photo = small[random.integers(len(small))]
        y, x = random.integers(photo.shape[0] - side + 1), random.integers(photo.shape[1] - side + 1)
        crop = photo[y : y + side, x : x + side].astype(np.float32)
        out[i] = np.clip(crop * random.uniform(0.7, 1.2) + random.uniform(-20, 20), 0, 255)
    return out.reshape(n, -1)


@functools.cache
def photographs() -> tuple[Any, ...]:
    """Return the photographs as RGB Pillow images, in a fixed order."""
    image = load("PIL.Image", "the benchmark's images")
    found = []
    for module, folder, names in (("skimage", "data", _SKIMAGE), ("sklearn", "datasets/images", _SKLEARN)):
        load(module, "the benchmark's images")
        for name in names:
            with importlib.resources.as_file(importlib.resources.files(module) / folder / name) as path:
                found.append(image.open(path).convert("RGB"))
    return tuple(found)


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise ArgumentValueError(f"name must be one of {', '.join(map(repr, KINDS))}, got {name!r}")
    return KINDS[name]


def _build(kind: Kind, n: int, size: int, seed: int) -> Images:
    made = kind.make(np.random.default_rng([seed, 0]), n, size)
    group = planted(kind.name, n, seed=seed)
    noise = np.random.default_rng([seed, 3])
    for index in group[1:]:
        made[index] = _copy(noise, made[group[0]])
    return made


def _shrunk(photo: Any, side: int) -> Images:
    """Return the photograph as an array whose shorter side is ``side``."""
    scale = side / min(photo.size)
    size = (max(side, round(photo.width * scale)), max(side, round(photo.height * scale)))
    return np.asarray(photo.resize(size, load("PIL.Image").Resampling.BILINEAR))


def _crop(
    random: Random, photo: Any, size: int, lowest: float, highest: float, around: float | None
) -> Images:
    """Return a square of the photograph, brought to ``size``, with other contrast, brightness, colour, some noise.

    Its side is ``lowest`` to ``highest`` of the photograph's shorter side; it lies anywhere and is mirrored
    half of the time, or it lies within ``around`` of the shorter side from the middle.
    """
    pil = load("PIL.Image")
    shorter = min(photo.size)
    side = shorter * random.uniform(lowest, highest)
    room = np.array(photo.size) - side
    if around is None:
        corner = random.uniform(size=2) * room
    else:
        corner = np.clip(room / 2 + random.uniform(-around, around, 2) * shorter, 0, room)
    box = (corner[0], corner[1], corner[0] + side, corner[1] + side)
    cut = photo.resize((size, size), pil.Resampling.BILINEAR, box=box)
    if around is None and random.random() < 0.5:
        cut = cut.transpose(pil.Transpose.FLIP_LEFT_RIGHT)
    shift = random.uniform(-15, 15) + random.uniform(-10, 10, 3)
    pixels = (np.asarray(cut, dtype=np.float32) - 128) * np.float32(random.uniform(0.75, 1.25))
    pixels += (128 + shift).astype(np.float32)
    pixels += 3 * random.standard_normal(pixels.shape, dtype=np.float32)
    return _to_uint8(pixels)


def _copy(random: Random, original: Images) -> Images:
    """Return the image as a model would reproduce it: with noise of one level, part of it coarse."""
    size = original.shape[0]
    level = random.uniform(COPY_NOISE[0], COPY_NOISE[1]) * 255
    coarse = random.standard_normal((-(-size // 8), -(-size // 8), 3), dtype=np.float32)
    noise = np.float32(0.3) * coarse.repeat(8, axis=0).repeat(8, axis=1)[:size, :size]
    noise += np.float32(0.95) * random.standard_normal(original.shape, dtype=np.float32)
    return _to_uint8(original.astype(np.float32) + np.float32(level) * noise)


def _to_uint8(pixels: NDArray[np.float32]) -> Images:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _filled(n: int, size: int, each: Iterable[Images]) -> Images:
    out = np.empty((n, size, size, 3), dtype=np.uint8)
    for i, image in zip(range(n), each, strict=False):
        out[i] = image
    return out


def _diverse(random: Random, n: int, size: int) -> Images:
    photos = photographs()
    return _filled(
        n,
        size,
        (_crop(random, photos[random.integers(len(photos))], size, 0.35, 1.0, None) for _ in range(n)),
    )


def _one_scene(random: Random, n: int, size: int) -> Images:
    photo = photographs()[0]
    return _filled(n, size, (_crop(random, photo, size, 0.6, 0.9, 0.12) for _ in range(n)))


def _all_same(random: Random, n: int, size: int) -> Images:
    original = _crop(random, photographs()[0], size, 0.8, 0.9, 0.05)
    return np.repeat(original[None], n, axis=0)


def _low_contrast_grey(random: Random, n: int, size: int) -> Images:
    """1/f noise of one brightness: the block sums of different images differ little, their pixels do."""
    vertical, horizontal = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    frequency = np.sqrt(vertical**2 + horizontal**2)
    frequency[0, 0] = 1

    def one() -> Images:
        spectrum = random.standard_normal((2, *frequency.shape))
        field = np.fft.irfft2((spectrum[0] + 1j * spectrum[1]) / frequency, s=(size, size))
        field = (field - field.mean()) / field.std() * (0.07 * 255) + 128
        noise = 2 * random.standard_normal((size, size, 3), dtype=np.float32)
        return _to_uint8(field[..., None].astype(np.float32) + noise)

    return _filled(n, size, (one() for _ in range(n)))


def _white_noise(random: Random, n: int, size: int) -> Images:
    """Return flat grey under noise, pairs on both sides of the threshold: blocks say nothing, only pixels decide."""
    # The largest of 16 tiles lies a little above the mean of all, by an amount that shrinks with the tile.
    level = NOISE_THRESHOLD / np.sqrt(2) * 255 * (1 - 1.25 / np.sqrt(size * size * 3 / 16))

    def one() -> Images:
        sigma = np.float32(level * random.uniform(0.97, 1.03))
        return _to_uint8(128 + sigma * random.standard_normal((size, size, 3), dtype=np.float32))

    return _filled(n, size, (one() for _ in range(n)))


KINDS = {
    kind.name: kind
    for kind in (
        Kind("diverse", "crops of different photographs: most prompts", _diverse),
        Kind(
            "12 duplicates",
            "diverse, and 12 copies of one image: a memorised prompt at its weakest",
            _diverse,
            12,
        ),
        Kind("60 duplicates", "diverse, and 60 copies of one image: a memorised prompt", _diverse, 60),
        Kind(
            "one scene",
            "crops of one photograph and 12 copies: a prompt that leaves little choice",
            _one_scene,
            12,
        ),
        Kind("all same", "nothing but copies of one image: the graph is complete", _all_same, 2**31),
        Kind(
            "low-contrast grey",
            "grey 1/f noise, pairs near the threshold: bounds say little",
            _low_contrast_grey,
        ),
        Kind("white noise", "grey white noise, pairs at the threshold: bounds say nothing", _white_noise),
    )
}
