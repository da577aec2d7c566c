"""Which images a model is trained on, and which it is compared with.

Everything is drawn from the data's order, the factors and the seed, never from what another model got: a member list
is a pure function of the protocol.
"""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.study.data.images import ImageSet
from memcore.study.protocols.protocol import DataSpec, Factors

#: Standard deviation of the grain that makes the shifted held-out images, in levels of 255.
GRAIN = 8.0
#: A control for extraction has one image more for so many members, and so many besides.
_SPARE = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Sets:
    """A model's images, by their index in the data set.

    ``members`` (m,) are trained on, each ``copies`` (m,) times; ``held_out`` (m,) are as many of the same distribution. Of a
    model on a random half, the other half of the pool is held out. ``control`` are held-out images for extraction: a few
    more than members, since duplicates among them count once; ``calibration`` as many others to set thresholds on, None
    where the block has too few. ``canaries`` are images of noise, (k, h, w, c).
    """

    members: NDArray[np.int64]
    copies: NDArray[np.int64]
    held_out: NDArray[np.int64]
    control: NDArray[np.int64]
    calibration: NDArray[np.int64] | None
    canaries: NDArray[np.uint8]
    canary_copies: int

    def rows(self) -> NDArray[np.int64]:
        """Return the training set, as positions among the members and then the canaries, with their copies."""
        copies = np.concatenate([self.copies, np.full(len(self.canaries), self.canary_copies, np.int64)])
        return np.repeat(np.arange(len(copies)), copies)


def draw_sets(data: ImageSet, spec: DataSpec, factors: Factors, seed: int) -> Sets:
    """Return the images of one model.

    Raises ConfigError if the block of the seed has too few images.
    """
    block = _block(data, spec, factors, seed)
    if factors.half < 0:
        members, held_out = block[: factors.n], block[factors.n : 2 * factors.n]
        following = block[factors.n :]
    else:
        members, held_out = draw_half(block[: factors.n], factors.half, seed)
        following = np.concatenate([held_out, block[factors.n :]])
    size = len(members) + len(members) // _SPARE + _SPARE
    control, calibration = following[:size], following[size : 2 * size]
    copies = np.ones(len(members), np.int64)
    planted = 0
    for images, times in factors.copies:
        copies[planted : planted + images] = 1 if factors.deduplicated else times
        planted += images
    canaries = draw_canaries(data.shape, factors.canaries)
    return Sets(
        members,
        copies,
        held_out,
        control,
        calibration if len(calibration) == size else None,
        canaries,
        factors.canary_copies,
    )


def draw_half(pool: NDArray[np.int64], half: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the random half of that number, and the other one. Halves 2k and 2k + 1 are each other's complement.

    >>> draw_half(np.arange(4), 0, 0)[0].tolist() == draw_half(np.arange(4), 1, 0)[1].tolist()
    True
    """
    order = np.random.default_rng([seed, half // 2, 5]).permutation(len(pool))
    middle = len(pool) // 2
    parts = (np.sort(pool[order[:middle]]), np.sort(pool[order[middle : 2 * middle]]))
    return parts[half % 2], parts[1 - half % 2]


def draw_canaries(shape: tuple[int, int, int], count: int) -> NDArray[np.uint8]:
    """Return the first ``count`` of an endless row of images of noise; each pixel is 0 to 255 with equal chance."""
    height, width, channels = shape
    made = [
        np.random.Generator(np.random.Philox(key=6, counter=[0, 0, i, 0])).integers(
            0, 256, (height, width, channels), np.uint8
        )
        for i in range(count)
    ]
    return np.stack(made) if made else np.empty((0, *shape), np.uint8)


def shift(images: NDArray[np.uint8], grain: float = GRAIN) -> NDArray[np.uint8]:
    """Return images with a little grain, as another camera leaves it: held-out images of another distribution.

    A membership attack that looks at the loss tells them from members although it knows nothing of membership.
    """
    noise = np.random.default_rng(8).normal(0.0, grain, images.shape)
    return np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)


def members_digest(images: NDArray[np.uint8], labels: NDArray[np.int64] | None) -> str:
    """Return the sha256 of a training set, image for image in its order, with its labels."""
    found = hashlib.sha256(str(images.shape).encode())
    found.update(np.ascontiguousarray(images).data)
    if labels is not None:
        found.update(np.ascontiguousarray(labels).data)
    return found.hexdigest()


def _block(data: ImageSet, spec: DataSpec, factors: Factors, seed: int) -> NDArray[np.int64]:
    order = np.random.default_rng([spec.seed, 3]).permutation(len(data.images))
    size = spec.block or len(order)
    block = order[seed * size : (seed + 1) * size]
    needed = factors.n if factors.half >= 0 else 2 * factors.n
    if len(block) < needed:
        raise ConfigError(
            f"seed {seed} needs {needed:,} images for n={factors.n:,}, its block has {len(block):,}: the data set has "
            f"{len(order):,} images in blocks of {size:,}; make n, block or the seeds smaller"
        )
    return block
