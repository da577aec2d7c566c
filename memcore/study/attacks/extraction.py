"""Which training images a model's samples reproduce, and how many of them a control that it never saw would."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from memcore.arrays import check_count
from memcore.distance import ssd_to_distance
from memcore.errors import ArgumentValueError
from memcore.knn import knn
from memcore.matching.adaptive import ADAPTIVE_NEIGHBORS, adaptive_distances
from memcore.study.attacks.duplicates import (
    MERGE_WITHIN,
    Merged,
    check_images,
    image_digests,
    merge_duplicates,
)
from memcore.study.attacks.extraction_result import RULES, Extraction, Found, Nearest, Rule, RuleResult

__all__ = [
    "RULES",
    "Extraction",
    "Found",
    "Merged",
    "Nearest",
    "Rule",
    "RuleResult",
    "extract",
    "merge_duplicates",
]

#: Carlini et al. 2023, section 5.1: the nearest is at most alpha = 0.5 times as far as the 50 nearest are on average.
ADAPTIVE_LIMIT = 1.0
#: Share of samples that may be within a threshold of held-out images.
HELD_OUT_RATE = 0.001
#: The least number of held-out images, as a share of the training set's.
_SIZES_AGREE = 0.9
#: Samples that are searched at once.
_CHUNK = 8192


def extract(
    samples: NDArray[np.uint8] | Iterable[NDArray[np.uint8]],
    training: NDArray[np.uint8],
    held_out: NDArray[np.uint8],
    *,
    calibration: NDArray[np.uint8] | None = None,
    k: int = ADAPTIVE_NEIGHBORS,
    merge_within: float = MERGE_WITHIN,
    held_out_rate: float = HELD_OUT_RATE,
    threads: int | None = None,
) -> Extraction:
    """Return which unique training images the samples reproduce, and the same count for images that were never trained on.

    Duplicates are merged first (``merge_duplicates``) in both sets, and the held-out set is cut to the number of unique
    training images, since the nearest of more images is nearer. Distances are exact, by ``memcore.knn``. Of the samples a
    chunk is in memory at a time, so memory grows with N only by 28 bytes a sample and set.

    Parameters
    ----------
    samples
        (N, height, width, channels) uint8, in the order in which they were drawn: an array, a memory map, or an iterable of
        such arrays.
    training, held_out
        (n, height, width, channels) uint8. Held-out images come from the same distribution and were not trained on; there
        must be at least 0.9 times as many unique ones as in the training set, better a few more than as many.
    calibration
        Further held-out images, to set thresholds on: as many as in ``held_out``. By default thresholds are set on
        ``held_out`` itself, and then its count is no independent control of the rules "l2" and "adaptive_held_out".
    k
        How many nearest images the adaptive distance takes the mean of; of smaller sets all.
    merge_within
        l2 within which two images are duplicates.
    held_out_rate
        In [0, 1): a threshold that is set on held-out images is the largest that this share of the samples, or less, is
        within.
    threads
        CPU threads, by default all that the process may use.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An array, a shape or an option cannot be used, there is no sample, or a set has fewer than 2 unique images.
    MissingExtraError
        scipy is not installed.

    References
    ----------
    Carlini et al. 2023, section 5.1 (adaptive distance); Yoon et al. 2023 (d1 / d2 < 1/3), "Diffusion Probabilistic Models
    Generalize when They Fail to Memorize".

    Examples
    --------
    >>> images = np.random.default_rng(0).integers(0, 256, (200, 8, 8, 1), dtype=np.uint8)
    >>> training, held_out = images[:100], images[100:]
    >>> extract(training[:30], training, held_out, k=50)
    Extraction(samples=30, compared=(100, 100), adaptive=30:0, adaptive_held_out=30:0, ratio=30:0, l2=30:0)
    """
    count = check_count(k, "k", 2)
    rate = _check_rate(held_out_rate)
    sets = _Sets.of(training, held_out, calibration, merge_within, threads)
    near, near_held_out, *more = _search(samples, sets.images, sets.rows, count, threads)
    source: Literal["held_out", "calibration"] = "calibration" if more else "held_out"
    null = more[0] if more else near_held_out
    l2 = _ssd_limit(null.ssd, rate)
    adaptive = _float_limit(null.adaptive, rate)
    rules: dict[Rule, RuleResult] = {
        "adaptive": RuleResult(
            "adaptive",
            ADAPTIVE_LIMIT,
            "paper",
            *(_found(n.adaptive <= ADAPTIVE_LIMIT, n) for n in (near, near_held_out)),
        ),
        "adaptive_held_out": RuleResult(
            "adaptive_held_out",
            adaptive,
            source,
            *(_found(_at_most(n.adaptive, adaptive), n) for n in (near, near_held_out)),
        ),
        # d1 / d2 < 1/3 without a root: 9 d1^2 < d2^2, in integers.
        "ratio": RuleResult(
            "ratio",
            1 / 3,
            "paper",
            *(_found(9 * n.ssd < n.second_ssd, n) for n in (near, near_held_out)),
        ),
        "l2": RuleResult(
            "l2",
            None if l2 is None else float(ssd_to_distance(np.array([l2], np.uint64), near.image_bytes)[0]),
            source,
            *(_found(_at_most(n.ssd, l2), n) for n in (near, near_held_out)),
        ),
    }
    return Extraction(
        len(near.image),
        min(count, len(sets.rows[0])),
        sets.merged,
        sets.merged_held_out,
        sets.shared,
        (len(sets.rows[0]), len(sets.rows[1])),
        near,
        near_held_out,
        rules,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Sets:
    """The unique images of each set: training, held-out, and calibration where it was given; ``rows`` are theirs."""

    images: list[NDArray[np.uint8]]
    rows: list[NDArray[np.int64]]
    merged: Merged
    merged_held_out: Merged
    shared: int

    @classmethod
    def of(
        cls,
        training: NDArray[np.uint8],
        held_out: NDArray[np.uint8],
        calibration: NDArray[np.uint8] | None,
        within: float,
        threads: int | None,
    ) -> _Sets:
        """Merge duplicates, leave out what is in the training set too, and cut to one size."""
        check_images(training, "training")
        merged = merge_duplicates(training, within, threads=threads)
        unique = len(merged.rows)
        if unique < 2:
            raise ArgumentValueError(
                f"training must hold at least 2 unique images, got {unique} of {len(training)}; merge_within={within} "
                "merges the others"
            )
        images, rows, groups, shared = [_take(training, merged.rows)], [merged.rows], [], 0
        known = set(image_digests(training))
        for name, others in (("held_out", held_out), ("calibration", calibration)):
            if others is None:
                continue
            check_images(others, name)
            if others.shape[1:] != training.shape[1:]:
                raise ArgumentValueError(
                    f"{name} must hold images of training's shape {training.shape[1:]}, got {others.shape[1:]}"
                )
            groups.append(merge_duplicates(others, within, threads=threads))
            at = groups[-1].rows
            own = at[[digest not in known for digest in image_digests(_take(others, at))]]
            shared += len(at) - len(own)
            if len(own) < max(2, _SIZES_AGREE * unique):
                raise ArgumentValueError(
                    f"{name} must hold about as many unique images as training ({unique}), got {len(own)} after "
                    f"{len(others) - len(at)} duplicates and {len(at) - len(own)} training images were left out; pass more"
                )
            rows.append(own[:unique])
            images.append(_take(others, rows[-1]))
        return cls(images, rows, merged, groups[0], shared)


def _take(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return these rows, without a copy where they are all."""
    return images if len(rows) == len(images) else images[rows]


def _search(
    samples: NDArray[np.uint8] | Iterable[NDArray[np.uint8]],
    sets: list[NDArray[np.uint8]],
    rows: list[NDArray[np.int64]],
    k: int,
    threads: int | None,
) -> list[Nearest]:
    """Return each sample's nearest images in every set, chunk by chunk."""
    parts: list[list[tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.uint64], NDArray[np.float64]]]]
    parts = [[] for _ in sets]
    for chunk in _chunks(samples, sets[0].shape[1:]):
        for images, at, into in zip(sets, rows, parts, strict=True):
            near = knn(chunk, images, min(k, len(images)), threads=threads)
            ssd = near.ssd[:, :2].astype(np.uint64)
            adaptive = adaptive_distances(near.distances[:, 0], near.distances)
            into.append((at[near.indices[:, 0]], ssd[:, 0].copy(), ssd[:, 1].copy(), adaptive))
    if not parts[0]:
        raise ArgumentValueError("samples must hold at least one image, got none")
    image_bytes = int(sets[0][0].size)
    joined = ([np.concatenate(column) for column in zip(*of, strict=True)] for of in parts)
    return [Nearest(image, ssd, second, near, image_bytes) for image, ssd, second, near in joined]


def _chunks(
    samples: NDArray[np.uint8] | Iterable[NDArray[np.uint8]], shape: tuple[int, ...]
) -> Iterator[NDArray[np.uint8]]:
    """Return the samples in chunks, each checked."""
    for array in [samples] if hasattr(samples, "shape") else samples:
        check_images(array, "samples")
        if array.shape[1:] != shape:
            raise ArgumentValueError(f"samples must have training's shape {shape}, got {array.shape[1:]}")
        for start in range(0, len(array), _CHUNK):
            yield array[start : start + _CHUNK]


def _check_rate(rate: float) -> float:
    if isinstance(rate, bool) or not isinstance(rate, int | float | np.floating) or not 0 <= rate < 1:
        raise ArgumentValueError(f"held_out_rate must be a number in [0, 1), got {rate!r}")
    return float(rate)


def _ssd_limit(ssd: NDArray[np.uint64], rate: float) -> int | None:
    """Return the largest ssd that at most ``rate`` of the samples reach; None if not even 0 is."""
    limit = int(np.sort(ssd)[math.floor(rate * len(ssd))]) - 1
    return limit if limit >= 0 else None


def _float_limit(values: NDArray[np.float64], rate: float) -> float | None:
    """Return the same of distances that are no integers."""
    first_outside = float(np.sort(values)[math.floor(rate * len(values))])
    return math.nextafter(first_outside, -math.inf) if first_outside > 0 else None


def _at_most(values: NDArray[np.uint64] | NDArray[np.float64], limit: float | None) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.zeros(len(values), np.bool_) if limit is None else values <= limit
    return found


def _found(hits: NDArray[np.bool_], near: Nearest) -> Found:
    at = np.flatnonzero(hits)
    images, first = np.unique(near.image[at], return_index=True)
    return Found(hits, images, at[first])
