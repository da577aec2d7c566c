"""A data set as a study uses it: its images, their classes, and images of the same kind that no model ever sees."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError

#: Of a data set without a test set, the share that no model sees: the Frechet distance's network and reference are of it.
REFERENCE_SHARE = 0.2


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """``images`` (n, side, side, channels) uint8 and ``labels`` (n,), -1 where there are no classes.

    ``reference`` and ``reference_labels`` are images of the same kind that are never trained on. ``source`` says where all
    of it comes from, and under which licence.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    reference: NDArray[np.uint8]
    reference_labels: NDArray[np.int64]
    source: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return height, width and channels."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    @property
    def classes(self) -> int:
        """Return the number of classes; 0 if there are none."""
        return int(max(self.labels.max(initial=-1), self.reference_labels.max(initial=-1))) + 1

    def digest(self) -> str:
        """Return the sha256 of all images and labels."""
        found = hashlib.sha256(json.dumps([self.images.shape, self.reference.shape]).encode())
        for array in (self.images, self.labels, self.reference, self.reference_labels):
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()


def split(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    seed: int,
    source: str,
    share: float = REFERENCE_SHARE,
) -> ImageSet:
    """Return a data set of which a random ``share`` is the reference."""
    order = np.random.default_rng([seed, 1]).permutation(len(images))
    kept = len(images) - int(len(images) * share)
    own, other = np.sort(order[:kept]), np.sort(order[kept:])
    return ImageSet(images[own], labels[own], images[other], labels[other], source)


def make_grey(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the luma of RGB images as one channel, in integers; grey images as they are.

    >>> make_grey(np.full((1, 1, 1, 3), 200, np.uint8)).item()
    200
    """
    if images.shape[-1] == 1:
        return images
    weighted = images.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32)
    return ((weighted + 32768) >> 16).astype(np.uint8)[..., None]


def shrink(images: NDArray[np.uint8], side: int, name: str) -> NDArray[np.uint8]:
    """Return square images shrunk to ``side`` by the mean of whole blocks, in integers, the same on every machine.

    Raises ConfigError if the side is no whole fraction of theirs.

    >>> shrink(np.array([0, 0, 1, 1], np.uint8).reshape(1, 2, 2, 1), 1, "it").item()
    1
    """
    n, height, width, channels = images.shape
    if height != width or side < 1 or height % side:
        raise ConfigError(f"side of {name} must divide {height}, got {side}")
    block = height // side
    if block == 1:
        return images
    sums = images.reshape(n, side, block, side, block, channels).sum(axis=(2, 4), dtype=np.uint32)
    half = block * block // 2
    return ((sums + half) // (block * block)).astype(np.uint8)
