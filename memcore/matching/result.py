"""The result of a match, however the training set was searched."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from memcore.matching.adaptive import adaptive_distance
from memcore.matching.metric import Grid, MetricName
from memcore.runs import layout
from memcore.runs.rows import CliqueRow, FindingRow, MatchRow
from memcore.types import Neighbors


class MatchOptions(TypedDict):
    """The options of both ``match_findings`` and ``match_index``."""

    delta: float
    metric: MetricName
    grid: Grid
    neighbors: int
    adaptive: bool
    threads: int | None


@dataclasses.dataclass(frozen=True)
class Closest:
    """The member of a finding that is nearest to any training image.

    ``member`` is its position among the members, ``index`` the training image, ``distance`` the chosen distance of the
    two. Ties: the smaller index, then the smaller position.
    """

    member: int
    index: int
    distance: float


@dataclasses.dataclass(frozen=True)
class Match:
    """One finding's nearest training image.

    ``index`` is the training image nearest to the medoid in the chosen metric, if that is within delta
    (``extracted``), and else the nearest in l2. ``l2`` and ``tiled_l2`` in [0, 1] are those of the medoid to it.
    ``copies`` counts the finding's members within delta of it; ``eidetic`` the training images within delta of it, itself
    included, each as often as it is in the training set where that was given: the k of (k, l, delta)-eidetic
    memorization. ``neighbors`` are the nearest in l2, with distance.
    ``adaptive`` is the adaptive distance to it, where that was asked for. ``members_extracted`` counts members within
    delta of any training image, and ``closest`` is the closest such pair, or None.
    """

    index: int
    l2: float
    tiled_l2: float
    extracted: bool
    copies: int
    eidetic: int
    neighbors: tuple[tuple[int, float], ...]
    adaptive: float | None = None
    members_extracted: int = 0
    closest: Closest | None = None

    def indices(self) -> list[int]:
        """Return the training images that the match names, some maybe twice."""
        closest = [self.closest.index] if self.closest else []
        return [self.index, *(i for i, _ in self.neighbors), *closest]


@dataclasses.dataclass(frozen=True, eq=False)
class IndexAnswer:
    """What the search of an index found, by finding: ``near`` are neighbours in l2, the rest is as in ``Match``."""

    near: Neighbors
    index: NDArray[np.int64]
    l2: NDArray[np.float32]
    tiled_l2: NDArray[np.float32]
    extracted: NDArray[np.bool_]
    copies: NDArray[np.int64]
    eidetic: NDArray[np.int64]
    members_extracted: NDArray[np.int64]
    closest: Sequence[Closest | None]


def make_matches(answer: IndexAnswer, neighbors: int, adaptive: bool) -> list[Match]:
    """Return a match for each finding, with at most ``neighbors`` neighbours, and the adaptive distance if asked for."""
    found = []
    for f, index in enumerate(answer.index.tolist()):
        distances = answer.near.distances[f]
        listed = tuple(zip(answer.near.indices[f].tolist(), distances.tolist(), strict=True))
        l2 = float(answer.l2[f])
        found.append(
            Match(
                index,
                l2,
                float(answer.tiled_l2[f]),
                bool(answer.extracted[f]),
                int(answer.copies[f]),
                int(answer.eidetic[f]),
                listed[:neighbors],
                adaptive_distance(l2, distances) if adaptive else None,
                int(answer.members_extracted[f]),
                answer.closest[f],
            )
        )
    return found


def make_row(finding: tuple[FindingRow, int, CliqueRow], match: Match, names: Mapping[int, str]) -> MatchRow:
    """Return the row of a clique's match; ``names`` are those of all training images that it names."""
    row, number, clique = finding
    closest = match.closest
    closest_seed = clique["seeds"][closest.member] if closest else None
    return {
        "prompt_id": row["prompt_id"],
        "clique": number,
        "size": len(clique["seeds"]),
        "mean_distance": clique["mean_distance"],
        "medoid_seed": clique["medoid_seed"],
        "training_index": match.index,
        "training_name": names[match.index],
        "l2": match.l2,
        "tiled_l2": match.tiled_l2,
        "extracted": match.extracted,
        "copies": match.copies,
        "eidetic": match.eidetic,
        "neighbors": [{"index": i, "name": names[i], "l2": d} for i, d in match.neighbors],
        "adaptive": match.adaptive,
        "members_extracted": match.members_extracted,
        "closest_seed": closest_seed,
        "closest_image": None if closest_seed is None else layout.image_name(row["prompt_id"], closest_seed),
        "closest_index": closest.index if closest else None,
        "closest_name": names[closest.index] if closest else None,
        "closest_distance": closest.distance if closest else None,
    }
