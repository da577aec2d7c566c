"""The public data types. Distances and thresholds lie in [0, 1], as in docs/numerics.md."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from memcore.conditions import Condition as Condition
from memcore.errors import ArgumentTypeError, ArgumentValueError
from memcore.notebook import html_table
from memcore.vertices import MOST as MOST
from memcore.vertices import as_edges, as_vertex_count

if TYPE_CHECKING:
    import torch

Backend: TypeAlias = Literal["auto", "reference", "cpu", "gpu"]
Output: TypeAlias = Literal["distance", "ssd"]
Channels: TypeAlias = Literal["first", "last"]

#: Largest number of bytes in a tile whose ssd, at most K * 255^2, still fits an unsigned 32-bit integer.
MAX_K_UINT32 = (2**32 - 1) // 255**2
_INT32 = np.dtype(np.int32)
_MASKED = np.ma.MaskedArray
#: The paper's threshold for an edge and for an extraction.
DEFAULT_THRESHOLD = 0.15
#: The paper's smallest clique that counts as a finding.
DEFAULT_MIN_CLIQUE = 10
#: Branch-and-bound nodes after which a clique search gives up proving and returns its bounds.
DEFAULT_NODE_LIMIT = 10_000_000


@dataclasses.dataclass(frozen=True)
class Threshold:
    """A distance threshold in [0, 1] and its integer form, found by exact rational arithmetic.

    A float means the shortest decimal that prints it: ``0.15`` is 15/100, not the binary number next to it. So
    ``Threshold(0.15).ssd_max(49152)`` is 71912448 on every machine. Raises ArgumentTypeError for anything but a number,
    ArgumentValueError for one outside [0, 1].

    Examples
    --------
    >>> Threshold(0.15).ssd_max(49152)
    71912448
    """

    value: float

    def __post_init__(self) -> None:
        """Check the value."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float | np.floating | np.integer):
            raise ArgumentTypeError(f"threshold must be a number in [0, 1], got {type(self.value).__name__}")
        if not math.isfinite(self.value) or not 0 <= self.value <= 1:
            raise ArgumentValueError(f"threshold must be a number in [0, 1], got {self.value!r}")

    @property
    def fraction(self) -> Fraction:
        """The threshold as an exact rational number."""
        return Fraction(str(self.value))

    def ssd_max(self, tile_bytes: int) -> int:
        """Return floor(threshold^2 * 255^2 * tile_bytes), the largest ssd of a tile that is still an edge."""
        return math.floor(self.fraction**2 * 255**2 * tile_bytes)


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """The edges among one prompt's generations.

    Attributes
    ----------
    n
        Number of vertices, at most 2^31 - 2.
    edges
        (E, 2) int32 with i < j, sorted by (i, j). Integers of another width are converted where their values fit.
    ssd
        (E,) uint32 or uint64: the largest tile's sum of squared differences. None for float images, and in a graph that
        was requested with ``distances=False``.
    distances
        (E,) float32 in [0, 1]; None in a graph that was requested without them.
    threshold, tile_bytes
        The threshold of the edges, and K, the bytes of a tile.
    partial
        True where edges that cannot belong to a clique of ``min_clique`` may have been left out.
    stats
        Pairs that each stage left, and its seconds.

    Raises
    ------
    ArgumentTypeError
        ``n`` or the edges are not integers, or an array is masked.
    ArgumentValueError
        ``n``, a vertex number or a shape cannot be used. Whether 0 <= i < j < n holds is checked where edges are used.

    Examples
    --------
    >>> import numpy as np
    >>> Graph(3, np.array([[0, 2]]), None, None, 0.15, 48)
    Graph(n=3, edges=1, threshold=0.15)
    """

    n: int
    edges: NDArray[np.int32]
    ssd: NDArray[np.unsignedinteger[Any]] | None
    distances: NDArray[np.float32] | None
    threshold: float
    tile_bytes: int
    partial: bool = False
    stats: Mapping[str, float | int | str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Convert what is not yet in the core's form, so that no vertex number is ever cut to 32 bits."""
        edges = self.edges
        ready = (
            type(edges) is np.ndarray and edges.dtype == _INT32 and edges.ndim == 2 and edges.shape[1] == 2
        )
        if not ready:
            object.__setattr__(self, "edges", as_edges(edges))
        if type(self.n) is not int or not 0 <= self.n < MOST:
            object.__setattr__(self, "n", as_vertex_count(self.n))
        if isinstance(self.ssd, _MASKED) or isinstance(self.distances, _MASKED):
            raise ArgumentTypeError("ssd and distances must not be masked, since the mask would be ignored")

    def __len__(self) -> int:
        """Return the number of edges."""
        return len(self.edges)

    def __repr__(self) -> str:
        """Return one line, without the arrays."""
        partial = ", partial=True" if self.partial else ""
        return f"Graph(n={self.n}, edges={len(self.edges)}, threshold={self.threshold!r}{partial}{self._range()})"

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows."""
        degrees = self.degrees()
        rows = {
            "vertices": self.n,
            "edges": len(self.edges),
            "threshold": self.threshold,
            "distances": self._range().removeprefix(", distances="),
            "largest degree": int(degrees.max()) if self.n else 0,
            "vertices without an edge": int((degrees == 0).sum()),
            "partial": "yes" if self.partial else "",
        }
        return html_table((name, value) for name, value in rows.items() if value != "")

    def _range(self) -> str:
        if self.distances is None or not len(self.distances):
            return ""
        return f", distances={self.distances.min():.4g}..{self.distances.max():.4g}"

    def within(self, threshold: float) -> Graph:
        """Return the graph at a smaller threshold, bit for bit as if it had been built with it.

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
        """Return (n, n) bool, symmetric, False on the diagonal."""
        i, j = self._checked_edges()
        a = np.zeros((self.n, self.n), dtype=np.bool_)
        a[i, j] = True
        a[j, i] = True
        return a

    def degrees(self) -> NDArray[np.int64]:
        """Return (n,) int64, the number of edges at each vertex."""
        self._checked_edges()
        return np.bincount(self.edges.ravel(), minlength=self.n).astype(np.int64)

    def _checked_edges(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the edges' two columns, or raise ArgumentValueError unless 0 <= i < j < n for each."""
        i, j = self.edges[:, 0], self.edges[:, 1]
        bad = (i < 0) | (i >= j) | (j >= self.n)
        if bad.any():
            row = int(bad.argmax())
            raise ArgumentValueError(
                f"edges must hold 0 <= i < j < n; row {row} is ({i[row]}, {j[row]}) and n is {self.n}"
            )
        return i, j


@dataclasses.dataclass(frozen=True)
class Clique:
    """A clique and what is known of the largest one: ``lower`` <= clique number <= ``upper``.

    ``members`` are vertex numbers in ascending order. ``proven`` means that no larger clique exists, and that ``members``
    is the lexicographically smallest of all maximum cliques: the same on every machine and backend. ``nodes`` counts the
    branch-and-bound nodes of the search.
    """

    members: tuple[int, ...]
    lower: int
    upper: int
    proven: bool
    nodes: int = 0

    def __repr__(self) -> str:
        """Return one line; of more than 16 members, the first and the last three."""
        members = repr(self.members)
        if len(self.members) > 16:
            first, last = self.members[:3], self.members[-3:]
            members = f"({', '.join(map(str, first))}, ..., {', '.join(map(str, last))})"
        return f"Clique(members={members}, lower={self.lower}, upper={self.upper}, proven={self.proven}, nodes={self.nodes})"

    def __len__(self) -> int:
        """Return the number of members."""
        return len(self.members)


class Cliques(list[Clique]):
    """Vertex-disjoint cliques, largest first, and what is known of the remaining vertices.

    A clique of the remaining vertices has at most ``upper`` members. ``proven`` says that none of the requested size
    remains. Where it is False, the node limit ended the search: an empty list then means "none found", not "none exists".
    """

    def __init__(self, cliques: Iterable[Clique], upper: int, min_size: int) -> None:
        super().__init__(cliques)
        self.upper = upper
        self.proven = upper < min_size


@dataclasses.dataclass(frozen=True, eq=False)
class Neighbors:
    """The k nearest corpus rows of each query, nearest first; ties go to the smaller index.

    ``distances`` (Q, k) float32 in [0, 1], ``indices`` (Q, k) int64, ``ssd`` (Q, k) uint32 or uint64 (int64 in torch).
    """

    distances: NDArray[np.float32]
    indices: NDArray[np.int64]
    ssd: NDArray[np.unsignedinteger[Any]]

    def __repr__(self) -> str:
        """Return one line, without the arrays."""
        queries, k = self.indices.shape
        return f"Neighbors(queries={queries}, k={k})"

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows: of the first queries the indices of the nearest rows, with distances."""
        queries, k = self.indices.shape
        shown = min(k, 5)
        indices = self.indices[:10, :shown].tolist()
        distances = self.distances[:10, :shown].tolist()
        rows = [
            [query, *(f"{i} ({d:.4g})" for i, d in zip(*found, strict=True))]
            for query, found in enumerate(zip(indices, distances, strict=True))
        ]
        more = f"<p>queries: {queries:,}; k: {k:,}</p>" if queries > 10 or k > shown else ""
        titles = ["query", *(f"nearest {n}" for n in range(1, shown + 1))]
        return html_table(rows, titles) + more


class TensorNeighbors(Protocol):
    """The type of the ``Neighbors`` of torch tensors, for type checkers: its arrays are tensors on the queries' device."""

    @property
    def distances(self) -> torch.Tensor:
        """Return (Q, k) float32 in [0, 1]."""
        ...

    @property
    def indices(self) -> torch.Tensor:
        """Return (Q, k) int64."""
        ...

    @property
    def ssd(self) -> torch.Tensor:
        """Return (Q, k) int64."""
        ...


@dataclasses.dataclass(frozen=True)
class Finding:
    """One clique of at least ``min_clique`` generations of a prompt.

    ``mean_distance`` is the mean tiled l2 of all pairs of the clique, by which findings are ranked (lower is stronger).
    ``medoid`` is the member with the smallest sum of distances to the others; ties go to the smaller index. Indices count
    the prompt's generations in the order in which they were given.
    """

    members: tuple[int, ...]
    mean_distance: float
    medoid: int
    proven: bool
    upper: int

    @property
    def size(self) -> int:
        """The number of members."""
        return len(self.members)


class PromptStatus(enum.StrEnum):
    """What became of a prompt."""

    FINDING = "finding"
    NONE = "none"
    FAILED = "failed"
    SCREENED = "screened"


class StopReason(enum.StrEnum):
    """Why sampling of a prompt stopped.

    ALL: it has as many images as the fixed rule makes. FOUND: its clique is complete. HOPELESS: it was stopped for
    futility; if it repeated an image at the stated copy rate, a clique this small would be less probable than the stated
    miss rate. IMPOSSIBLE: the images that remain cannot complete a clique. SCREENED: it was not sampled, since its first
    denoising step scored too low.
    """

    ALL = "all"
    FOUND = "found"
    HOPELESS = "hopeless"
    IMPOSSIBLE = "impossible"
    SCREENED = "screened"


@dataclasses.dataclass(frozen=True)
class Request:
    """One image to sample: the prompt's number in the run, its text, and a seed below 2^53, or of the sampler's bits.

    ``condition`` is what the image is made from besides, for models that take a label or an image.
    """

    prompt_id: int
    prompt: str
    seed: int
    condition: Condition | None = None

    def __repr__(self) -> str:
        """Return one line; a condition is named where there is one."""
        more = "" if self.condition is None else f", condition={self.condition!r}"
        return f"Request(prompt_id={self.prompt_id!r}, prompt={self.prompt!r}, seed={self.seed!r}{more})"


class SampleNote(NamedTuple):
    """Something that a sampler met while it made an image of a prompt: a reason code, and what was said."""

    prompt_id: int
    reason: str
    detail: str


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """What a sampler returns: (N, H, W, C) uint8, a NumPy array or a torch tensor on any device, in request order.

    ``flagged`` (N,) bool marks images that a safety checker replaced (black frames): they are counted but not compared.
    ``broken`` (N,) bool marks those of them that hold no picture, for example NaN; None where there are none.
    ``notes`` says of prompts what went wrong on the way, for a run's quarantine: why an image is broken, or that a server
    had to be asked again.
    """

    pixels: Any
    flagged: NDArray[np.bool_]
    broken: NDArray[np.bool_] | None = None
    notes: Sequence[SampleNote] = ()

    def __len__(self) -> int:
        """Return the number of images."""
        return int(self.pixels.shape[0])

    def __repr__(self) -> str:
        """Return one line, without the pixels."""
        shape = "x".join(map(str, getattr(self.pixels, "shape", ())))
        broken = 0 if self.broken is None else int(self.broken.sum())
        return f"Images({shape}, flagged={int(np.sum(self.flagged))}, broken={broken})"
