"""The result of an extraction attack: which training images were found by each rule, and which of the control."""

from __future__ import annotations

import dataclasses
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memcore.distance import ssd_to_distance
from memcore.study.attacks.duplicates import Merged

#: "adaptive": the adaptive distance is at most 1. "adaptive_held_out" and "l2": it, or plain l2, is at most a threshold that
#: was set on held-out images. "ratio": d1 / d2 is below 1/3.
Rule: TypeAlias = Literal["adaptive", "adaptive_held_out", "ratio", "l2"]
RULES: tuple[Rule, ...] = ("adaptive", "adaptive_held_out", "ratio", "l2")


@dataclasses.dataclass(frozen=True, eq=False)
class Nearest:
    """How near each of N samples is to a set of unique images.

    Attributes
    ----------
    image
        (N,) int64: the nearest image, as a row of the set that was given; of a group of duplicates its smallest row.
    ssd, second_ssd
        (N,) uint64: the sums of squared differences to the nearest and to the second nearest unique image.
    adaptive
        (N,) float64: the distance to the nearest, over 0.5 times the mean distance to the k nearest.
    image_bytes
        Bytes of an image: l2 = sqrt(ssd / (image_bytes * 255^2)).
    """

    image: NDArray[np.int64]
    ssd: NDArray[np.uint64]
    second_ssd: NDArray[np.uint64]
    adaptive: NDArray[np.float64]
    image_bytes: int

    @property
    def l2(self) -> NDArray[np.float32]:
        """Return (N,) l2 to the nearest image, in [0, 1]."""
        return ssd_to_distance(self.ssd, self.image_bytes)

    @property
    def ratio(self) -> NDArray[np.float64]:
        """Return (N,) d1 / d2 in [0, 1]: the nearest image's distance over the second nearest's."""
        return np.sqrt(self.ssd.astype(np.float64) / self.second_ssd.astype(np.float64))


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """What one rule finds in one set.

    Attributes
    ----------
    hits
        (N,) bool: whether the rule holds for a sample.
    images
        (f,) int64, ascending: the unique images that are found, as rows of the set that was given.
    first
        (f,) int64: the sample that each is found by first.
    """

    hits: NDArray[np.bool_]
    images: NDArray[np.int64]
    first: NDArray[np.int64]

    @property
    def share(self) -> float:
        """Return the share of samples that are hits, in [0, 1]."""
        return float(self.hits.mean())

    @property
    def unique(self) -> int:
        """Return how many unique images are found."""
        return len(self.images)

    def coverage(self, drawn: ArrayLike | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (samples drawn, unique images found by them), in the order in which samples were drawn.

        ``drawn`` are numbers of samples; by default the powers of two below N, and N.

        >>> Found(np.array([True, False, True, True]), np.array([3, 8]), np.array([0, 2])).coverage()
        (array([1, 2, 4]), array([1, 1, 2]))
        """
        n = len(self.hits)
        default = sorted({*(1 << e for e in range(n.bit_length()) if 1 << e <= n), n})
        points = np.asarray(default if drawn is None else drawn, np.int64)
        return points, np.searchsorted(np.sort(self.first), points, side="left").astype(np.int64)


@dataclasses.dataclass(frozen=True, eq=False)
class RuleResult:
    """One rule's finds in the training set, and beside it those in the held-out set of the same size.

    Attributes
    ----------
    rule, threshold
        The rule, and what the distance is compared with. None where no threshold keeps the share of samples near held-out
        images as low as was asked: nothing is a hit then.
    set_on
        Where the threshold comes from: "paper", "held_out" or "calibration". With "held_out" the control's share is at most
        the rate by construction; only images of their own, "calibration", leave it free.
    training, held_out
        What is found in the two sets.
    """

    rule: Rule
    threshold: float | None
    set_on: Literal["paper", "held_out", "calibration"]
    training: Found
    held_out: Found


@dataclasses.dataclass(frozen=True, eq=False)
class Extraction:
    """The result of ``extract``.

    Attributes
    ----------
    samples
        N, how many samples were drawn.
    neighbors
        k, the neighbours whose mean distance the adaptive distance is relative to.
    merged, merged_held_out
        The groups of duplicates in the two sets as they were given.
    shared
        Held-out images that are in the training set too, byte for byte: they are no control and were left out.
    compared
        Unique images in each of the two sets that samples were compared with: (training, held-out).
    near, near_held_out
        Each sample's nearest image in the two sets.
    rules
        A result for each rule.
    """

    samples: int
    neighbors: int
    merged: Merged
    merged_held_out: Merged
    shared: int
    compared: tuple[int, int]
    near: Nearest
    near_held_out: Nearest
    rules: dict[Rule, RuleResult]

    def __repr__(self) -> str:
        """Return one line: of each rule the unique training images, and the held-out ones."""
        found = ", ".join(f"{r.rule}={r.training.unique}:{r.held_out.unique}" for r in self.rules.values())
        return f"Extraction(samples={self.samples}, compared={self.compared}, {found})"
