"""Merge a training set's duplicates before anything is compared with it."""

from __future__ import annotations

import dataclasses
import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from memcore import arrays
from memcore.distance import pairwise_tiled_l2
from memcore.duplicates.groups import Components
from memcore.errors import ArgumentTypeError, ArgumentValueError
from memcore.types import Threshold

#: l2 within which two training images count as one: a sixth of the paper's 0.15.
MERGE_WITHIN = 0.025
#: Pairs of images that are compared at once: 64 MiB of distances.
_PAIRS = 1 << 24


@dataclasses.dataclass(frozen=True, eq=False)
class Merged:
    """A training set in which each group of duplicates counts as one image.

    Attributes
    ----------
    rows
        (u,) int64, ascending: the smallest row of each group, which represents it.
    group
        (n,) int64: to which of the u groups each of the n rows belongs.
    within
        The l2 within which two images are duplicates.

    Examples
    --------
    >>> images = np.zeros((3, 2, 2, 1), np.uint8); images[1] = 200
    >>> merged = merge_duplicates(images)
    >>> merged.rows.tolist(), merged.group.tolist(), merged.copies.tolist(), merged.merged
    ([0, 1], [0, 1, 0], [2, 1], 1)
    """

    rows: NDArray[np.int64]
    group: NDArray[np.int64]
    within: float

    @property
    def copies(self) -> NDArray[np.int64]:
        """Return (u,) int64: how many rows each group holds."""
        return np.bincount(self.group, minlength=len(self.rows)).astype(np.int64)

    @property
    def merged(self) -> int:
        """Return how many rows were merged into another one."""
        return len(self.group) - len(self.rows)

    def __repr__(self) -> str:
        """Return one line, without the arrays."""
        return f"Merged(images={len(self.group)}, unique={len(self.rows)}, within={self.within})"


def merge_duplicates(
    images: NDArray[np.uint8], within: float = MERGE_WITHIN, *, threads: int | None = None
) -> Merged:
    """Return the groups of exact and near duplicates among ``images``.

    The rule: two images are duplicates if their l2 is at most ``within``, and a group is a connected component of that
    relation, as in ``memcore prompts``. It is decided in integers, so groups depend neither on threads nor on the machine.

    A copy in the training set hides extraction from both rules that compare distances: with two copies the nearest and the
    second nearest are equally far, and with fifty the mean of the 50 nearest is the distance itself.

    Parameters
    ----------
    images
        (n, height, width, channels) uint8, n >= 1.
    within
        l2 in [0, 1]; 0 merges exact copies alone.
    threads
        CPU threads, by default all that the process may use.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        ``images`` are no uint8 images, or ``within`` is no number in [0, 1].
    MissingExtraError
        scipy is not installed.

    Examples
    --------
    >>> images = np.zeros((2, 4, 4, 3), np.uint8); images[1] = 5
    >>> merge_duplicates(images), merge_duplicates(images, 0)
    (Merged(images=2, unique=1, within=0.025), Merged(images=2, unique=2, within=0))
    """
    check_images(images, "images")
    try:
        limit = Threshold(within).ssd_max(images[0].size)
    except (ArgumentTypeError, ArgumentValueError) as error:
        raise type(error)(str(error).replace("threshold", "within", 1)) from None
    first = _first_equal(images)
    distinct, exact = np.unique(first, return_inverse=True)
    near = _near_groups(images if len(distinct) == len(images) else images[distinct], limit, threads)
    rows, group = np.unique(distinct[near][exact], return_inverse=True)
    return Merged(rows, group.astype(np.int64), within)


def check_images(images: NDArray[np.uint8], name: str) -> None:
    """Raise ArgumentTypeError or ArgumentValueError, naming the argument, unless it is uint8 (n, h, w, c), n >= 1."""
    found = arrays.as_images(images, name, channels="last", ndims=(4,))
    if found.is_float or found.library != "numpy":
        raise ArgumentTypeError(
            f"{name} must be a uint8 NumPy array, got {found.dtype} of {found.library}; memcore.to_uint8() converts floats"
        )


def image_digests(images: NDArray[np.uint8]) -> list[bytes]:
    """Return a digest of each image's bytes: two are equal where the images are."""
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]


def _first_equal(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the smallest row that holds the same bytes as each row."""
    seen: dict[bytes, int] = {}
    first = [seen.setdefault(digest, row) for row, digest in enumerate(image_digests(images))]
    return np.array(first, np.int64)


def _near_groups(images: NDArray[np.uint8], limit: int, threads: int | None) -> NDArray[np.int64]:
    """Return the smallest row of each row's component; images with an ssd of at most ``limit`` are connected."""
    groups = Components(len(images))
    n = len(images)
    if limit == 0:
        return groups.labels()  # these images are distinct
    # (sum x - sum y)^2 <= K ssd: sorted by their sums, an image is near only to those of a window; no other is compared.
    sums = images.reshape(n, -1).sum(axis=1, dtype=np.int64)
    order = np.argsort(sums, kind="stable")
    last = np.searchsorted(sums[order], sums[order] + math.isqrt(images[0].size * limit), side="right")
    start = 0
    while start < n - 1:
        stop = min(n, start + max(1, _PAIRS // int(last[start] - start)))
        end = int(last[stop - 1])
        while (stop - start) * (end - start) > _PAIRS and stop - start > 1:
            stop = start + (stop - start) // 2
            end = int(last[stop - 1])
        rows, others = order[start:stop], order[start:end]
        ssd = pairwise_tiled_l2(images[rows], images[others], grid=(1, 1), output="ssd", threads=threads)
        left, right = np.nonzero(ssd <= limit)
        groups.connect(rows[left[right > left]], others[right[right > left]])
        start = stop
    return groups.labels()
