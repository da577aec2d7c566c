"""Every public data type. Words and units are those of docs/numerics.md: distances and thresholds lie in [0, 1]."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ArgumentTypeError, ArgumentValueError

Backend: TypeAlias = Literal["auto", "reference", "cpu", "gpu"]
Output: TypeAlias = Literal["distance", "ssd"]
Channels: TypeAlias = Literal["first", "last"]

#: Largest number of bytes in a tile whose ssd, at most K * 255^2, still fits an unsigned 32-bit integer.
MAX_K_UINT32 = (2**32 - 1) // 255**2
#: The paper's threshold for an edge and for an extraction.
DEFAULT_THRESHOLD = 0.15
#: The paper's smallest clique that counts as a finding.
DEFAULT_MIN_CLIQUE = 10
#: Branch-and-bound nodes after which a clique search gives up proving and returns its bounds.
DEFAULT_NODE_LIMIT = 10_000_000


@dataclasses.dataclass(frozen=True)
class Threshold:
    """A distance threshold in [0, 1] and the integer that it stands for, found by exact rational arithmetic.

    A float stands for the shortest decimal that prints it: ``0.15`` is 15/100, not the binary number beside it.
    So ``Threshold(0.15).ssd_max(49152)`` is 71912448 on every machine.

    >>> Threshold(0.15).ssd_max(49152)
    71912448
    """

    value: float

    def __post_init__(self) -> None:
        if isinstance(self.value, bool) or not isinstance(self.value, int | float | np.floating | np.integer):
            raise ArgumentTypeError(f"threshold must be a number in [0, 1], got {type(self.value).__name__}")
        if not math.isfinite(self.value) or not 0 <= self.value <= 1:
            raise ArgumentValueError(f"threshold must be a number in [0, 1], got {self.value!r}")

    @property
    def fraction(self) -> Fraction:
        """The exact rational number that decides."""
        return Fraction(str(self.value))

    def ssd_max(self, tile_bytes: int) -> int:
        """floor(threshold^2 * 255^2 * tile_bytes): the largest ssd of a tile that is still an edge."""
        return math.floor(self.fraction**2 * 255**2 * tile_bytes)


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """The edges among one prompt's generations.

    ``edges`` (E, 2) int32 with i < j, sorted by (i, j). ``ssd`` (E,) uint32 or uint64: the largest tile's sum of squared
    differences (None for float images). ``distances`` (E,) float32 in [0, 1]. Both are None in a graph that was asked for
    its edges alone. ``partial`` is True when edges that cannot lie in a clique of ``min_clique`` may have been left out.
    ``stats`` counts pairs, survivors and seconds a stage.
    """

    n: int
    edges: NDArray[np.int32]
    ssd: NDArray[np.unsignedinteger[Any]] | None
    distances: NDArray[np.float32] | None
    threshold: float
    tile_bytes: int
    partial: bool = False
    stats: Mapping[str, float | int | str] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.edges)

    def within(self, threshold: float) -> Graph:
        """The graph at a smaller threshold: the same edges, bit for bit, as if it had been asked for at once.

        Raises ArgumentValueError for a larger threshold, a partial graph or one of float images.
        """
        limit = Threshold(threshold)
        if limit.fraction > Threshold(self.threshold).fraction:
            raise ArgumentValueError(
                f"threshold must be at most the graph's {self.threshold!r}, got {threshold!r}"
            )
        if self.ssd is None or self.distances is None or self.partial:
            raise ArgumentValueError(
                "a partial graph, or one of float images or without distances, has no part at a smaller threshold"
            )
        if threshold == self.threshold:
            return self
        kept = self.ssd <= limit.ssd_max(self.tile_bytes)
        edges, ssd, distances = self.edges[kept], self.ssd[kept], self.distances[kept]
        return dataclasses.replace(
            self, edges=edges, ssd=ssd, distances=distances, threshold=float(limit.value)
        )

    def adjacency(self) -> NDArray[np.bool_]:
        """(n, n) bool, symmetric, False on the diagonal."""
        a = np.zeros((self.n, self.n), dtype=np.bool_)
        i, j = self.edges[:, 0], self.edges[:, 1]
        a[i, j] = True
        a[j, i] = True
        return a

    def degrees(self) -> NDArray[np.int64]:
        """(n,) number of edges at each vertex."""
        return np.bincount(self.edges.ravel(), minlength=self.n).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Clique:
    """A clique and what is known of the largest one: ``lower`` <= clique number <= ``upper``.

    ``members`` are vertex numbers, ascending. ``proven`` means that no larger clique exists and, then, that ``members``
    is the lexicographically smallest of all maximum cliques: the same on every machine and backend.
    """

    members: tuple[int, ...]
    lower: int
    upper: int
    proven: bool
    nodes: int = 0

    def __len__(self) -> int:
        return len(self.members)


class Cliques(list[Clique]):
    """Vertex-disjoint cliques, largest first, and what is known of the vertices that they leave.

    ``upper``: a clique among those has at most so many members. ``proven``: none of the size asked for is left. Without
    it the node limit ended the search: an empty list then means "none found", not "there is none".
    """

    def __init__(self, cliques: Iterable[Clique], upper: int, min_size: int) -> None:
        super().__init__(cliques)
        self.upper = upper
        self.proven = upper < min_size


@dataclasses.dataclass(frozen=True, eq=False)
class Neighbors:
    """k nearest corpus rows of each query, nearest first, ties by the smaller index.

    ``distances`` (Q, k) float32 in [0, 1], ``indices`` (Q, k) int64, ``ssd`` (Q, k) uint32 or uint64 (None for floats).
    """

    distances: Any
    indices: Any
    ssd: Any


@dataclasses.dataclass(frozen=True)
class Finding:
    """One clique of at least ``min_clique`` generations of a prompt.

    ``mean_distance`` is the mean tiled l2 over all pairs of the clique, the ranking key (lower = stronger). ``medoid`` is
    the member with the smallest sum of distances to the others, ties by the smaller index. Indices count the prompt's
    generations in the order in which they were given.
    """

    members: tuple[int, ...]
    mean_distance: float
    medoid: int
    proven: bool
    upper: int

    @property
    def size(self) -> int:
        return len(self.members)


class PromptStatus(enum.StrEnum):
    """What became of a prompt."""

    FINDING = "finding"
    NONE = "none"
    FAILED = "failed"
    SCREENED = "screened"


class StopReason(enum.StrEnum):
    """Why a prompt got no more images.

    ALL: it has as many as the fixed rule makes. FOUND: its clique is complete. HOPELESS: stopped for futility: its clique
    is so small that, at the stated copy rate, it would still be so with less than the stated miss rate. IMPOSSIBLE: the
    images that are left cannot complete a clique. SCREENED: it was not sampled, since its first denoising step scored too
    low.
    """

    ALL = "all"
    FOUND = "found"
    HOPELESS = "hopeless"
    IMPOSSIBLE = "impossible"
    SCREENED = "screened"


@dataclasses.dataclass(frozen=True)
class Request:
    """One image to sample: the prompt's number in the run, its text, and a seed in [0, 2^63)."""

    prompt_id: int
    prompt: str
    seed: int


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """What a sampler returns: (N, H, W, C) uint8, a NumPy array or a torch tensor on any device, in request order.

    ``flagged`` (N,) bool marks images that a safety checker replaced (black frames): they are counted, never compared.
    ``broken`` (N,) bool marks those of them that hold no picture, for example NaN; None where there are none.
    """

    pixels: Any
    flagged: NDArray[np.bool_]
    broken: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return int(self.pixels.shape[0])
