"""Deduplication of a training set as its owner would do it: what is a copy is found, not known."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from memcore.duplicates.groups import Components
from memcore.errors import ArgumentValueError
from memcore.study.attacks.duplicates import merge_duplicates
from memcore.study.classifier import FeatureNetwork
from memcore.study.data.images import ImageSet
from memcore.study.data.sets import Sets
from memcore.study.protocols.protocol import Merge

#: Share of the reference images, of which none is known to be a copy, that may have another one within the cosine.
_WRONG = 0.01


@dataclasses.dataclass(frozen=True, eq=False)
class MergedSet:
    """A model's sets without what was found to be a copy.

    ``removed`` rows were taken out, ``wrongly`` of them the last of their image: an image that stood there, and was no copy
    of another byte for byte.
    """

    sets: Sets
    removed: int = 0
    wrongly: int = 0


def merge_set(sets: Sets, data: ImageSet, merge: Merge, network: FeatureNetwork | None = None) -> MergedSet:
    """Return the sets with one image of each group of duplicates, canaries too.

    "graph" groups by the exact graph of memcore, l2 of at most 0.025 (``merge_duplicates``). "embeddings" groups
    by the cosine
    of the features of ``network``, at the least one that at most 1 % of its reference images exceed among each other.

    Raises ArgumentValueError for "embeddings" without a network.
    """
    if merge == "none":
        return MergedSet(sets)
    rows = sets.rows()
    unique = np.concatenate([data.images[sets.members], sets.canaries])
    if merge == "graph":
        group = merge_duplicates(unique[rows], threads=1).group
    elif network is None:
        raise ArgumentValueError("network must be given to find duplicates by embeddings")
    else:
        group = _group_by_cosine(network.features(unique), network)[rows]
    _, first = np.unique(group, return_index=True)  # the smallest row of each group stays
    left = np.bincount(rows[first], minlength=len(unique)).astype(np.int64)
    members = len(sets.members)
    own, canaries = left[:members], left[members:]
    merged = dataclasses.replace(
        sets,
        copies=own,
        canary_copies=int(canaries.max(initial=0)) if len(canaries) else sets.canary_copies,
    )
    return MergedSet(merged, len(rows) - len(first), int((left == 0).sum()))


def find_cosine(features: NDArray[np.floating], wrong: float = _WRONG) -> float:
    """Return the cosine that at most the share ``wrong`` of images has a neighbour above.

    >>> find_cosine(np.eye(3), 0.0)
    0.0
    """
    unit = _unit(features)
    near = unit @ unit.T
    np.fill_diagonal(near, -1)
    nearest = np.sort(near.max(axis=1))
    return float(nearest[len(nearest) - 1 - int(wrong * len(nearest))])


def _group_by_cosine(features: NDArray[np.floating], network: FeatureNetwork) -> NDArray[np.int64]:
    """Return the smallest image of each image's group."""
    limit = find_cosine(network.reference_features()[:2000])
    unit = _unit(features)
    left, right = np.nonzero(np.triu(unit @ unit.T > limit, 1))
    groups = Components(len(unit))
    groups.connect(left, right)
    return groups.labels()


def _unit(features: NDArray[np.floating]) -> NDArray[np.float64]:
    held = np.asarray(features, np.float64)
    unit: NDArray[np.float64] = held / np.maximum(np.linalg.norm(held, axis=1, keepdims=True), 1e-12)
    return unit
