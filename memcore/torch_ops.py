"""The public functions as torch operators, ``torch.ops.memcore.*``, for programs that trace or compile.

Importing this module registers them; ``import memcore`` does not, since it does not import torch. Each operator is
opaque to the compiler, has a fake implementation that gives shapes and dtypes, and calls the function of the same name,
which chooses the backend by the tensors' device.

    pairwise_tiled_l2(images, other=None, *, grid=[4, 4], tile=None, channels="first")
        -> (N, N) or (N, M) float32, with batches (B, N, N) or (B, N, M)
    tiled_l2_ssd(images, other=None, *, grid=[4, 4], tile=None, channels="first")
        -> the same shapes, int64
    tiled_l2_graph(images, threshold=0.15, *, grid=[4, 4], tile=None, channels="first")
        -> edges (E, 2) int32, ssd (E,) int64, distances (E,) float32
    max_clique(adjacency, *, node_limit)
        -> members (size,) int64, bounds (4,) int64: lower, upper, proven, nodes
    knn(queries, corpus, k)
        -> distances (Q, k) float32, indices (Q, k) int64, ssd (Q, k) int64

No operator has a gradient. E and the clique's size depend on the data: to a compiler they are unknown sizes, and finding
them waits for the device. Errors are those of the functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from memcore.clique import max_clique as _max_clique
from memcore.distance import pairwise_tiled_l2 as _pairwise_tiled_l2
from memcore.errors import ArgumentTypeError, ArgumentValueError
from memcore.graph import tiled_l2_graph as _tiled_l2_graph
from memcore.knn import knn as _knn
from memcore.types import DEFAULT_NODE_LIMIT, DEFAULT_THRESHOLD, Channels

__all__ = ["knn", "max_clique", "pairwise_tiled_l2", "tiled_l2_graph", "tiled_l2_ssd"]

_TILING = "*, int[2] grid=[4, 4], int[2]? tile=None, str channels='first'"


@torch.library.custom_op(
    "memcore::pairwise_tiled_l2",
    mutates_args=(),
    schema=f"(Tensor images, Tensor? other=None, {_TILING}) -> Tensor",
)
def pairwise_tiled_l2(
    images: torch.Tensor,
    other: torch.Tensor | None = None,
    *,
    grid: Sequence[int] = (4, 4),
    tile: Sequence[int] | None = None,
    channels: Channels = "first",
) -> torch.Tensor:
    """Return ``memcore.pairwise_tiled_l2`` of uint8 or float images."""
    tiling = _tiling(grid, tile, channels)
    return _fresh(_pairwise_tiled_l2(images, other, **tiling), images, torch.float32)


@torch.library.custom_op(
    "memcore::tiled_l2_ssd",
    mutates_args=(),
    schema=f"(Tensor images, Tensor? other=None, {_TILING}) -> Tensor",
)
def tiled_l2_ssd(
    images: torch.Tensor,
    other: torch.Tensor | None = None,
    *,
    grid: Sequence[int] = (4, 4),
    tile: Sequence[int] | None = None,
    channels: Channels = "first",
) -> torch.Tensor:
    """Return ``memcore.pairwise_tiled_l2(output="ssd")`` of uint8 images."""
    tiling = _tiling(grid, tile, channels)
    return _fresh(_pairwise_tiled_l2(images, other, output="ssd", **tiling), images, torch.int64)


@torch.library.custom_op(
    "memcore::tiled_l2_graph",
    mutates_args=(),
    schema=f"(Tensor images, float threshold={DEFAULT_THRESHOLD}, {_TILING}) -> (Tensor, Tensor, Tensor)",
)
def tiled_l2_graph(
    images: torch.Tensor,
    threshold: float = DEFAULT_THRESHOLD,
    *,
    grid: Sequence[int] = (4, 4),
    tile: Sequence[int] | None = None,
    channels: Channels = "first",
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return edges, ssd and distances of ``memcore.tiled_l2_graph`` of uint8 images, never of a partial graph."""
    if images.dtype != torch.uint8:
        raise ArgumentTypeError(
            f"images must be torch.uint8, got {images.dtype}; memcore.to_uint8() converts floats"
        )
    graph = _tiled_l2_graph(images, threshold, **_tiling(grid, tile, channels))
    return (
        _fresh(graph.edges, images, torch.int32),
        _fresh(graph.ssd, images, torch.int64),
        _fresh(graph.distances, images, torch.float32),
    )


@torch.library.custom_op(
    "memcore::max_clique",
    mutates_args=(),
    schema=f"(Tensor adjacency, *, int node_limit={DEFAULT_NODE_LIMIT}) -> (Tensor, Tensor)",
)
def max_clique(
    adjacency: torch.Tensor, *, node_limit: int = DEFAULT_NODE_LIMIT
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``memcore.max_clique`` of an (n, n) matrix, solved on the matrix's device where that is possible."""
    clique = _max_clique(adjacency, node_limit=node_limit)
    bounds = (clique.lower, clique.upper, int(clique.proven), clique.nodes)
    members = np.array(clique.members, dtype=np.int64)
    return _fresh(members, adjacency, torch.int64), _fresh(np.array(bounds), adjacency, torch.int64)


@torch.library.custom_op(
    "memcore::knn",
    mutates_args=(),
    schema="(Tensor queries, Tensor corpus, SymInt k) -> (Tensor, Tensor, Tensor)",
)
def knn(
    queries: torch.Tensor, corpus: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return distances, indices and ssd of ``memcore.knn`` of uint8 rows or images."""
    found = _knn(queries, corpus, k)
    return (
        _fresh(found.distances, queries, torch.float32),
        _fresh(found.indices, queries, torch.int64),
        _fresh(found.ssd, queries, torch.int64),
    )


@pairwise_tiled_l2.register_fake
def _(images: torch.Tensor, other: torch.Tensor | None = None, **_tiling: Any) -> torch.Tensor:
    return images.new_empty(_pairs_shape(images, other), dtype=torch.float32)


@tiled_l2_ssd.register_fake
def _(images: torch.Tensor, other: torch.Tensor | None = None, **_tiling: Any) -> torch.Tensor:
    return images.new_empty(_pairs_shape(images, other), dtype=torch.int64)


@tiled_l2_graph.register_fake
def _(
    images: torch.Tensor, threshold: float = DEFAULT_THRESHOLD, **_tiling: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    edges = torch.library.get_ctx().new_dynamic_size()
    return (
        images.new_empty((edges, 2), dtype=torch.int32),
        images.new_empty((edges,), dtype=torch.int64),
        images.new_empty((edges,), dtype=torch.float32),
    )


@max_clique.register_fake
def _(adjacency: torch.Tensor, *, node_limit: int = DEFAULT_NODE_LIMIT) -> tuple[torch.Tensor, torch.Tensor]:
    size = torch.library.get_ctx().new_dynamic_size()
    return adjacency.new_empty((size,), dtype=torch.int64), adjacency.new_empty((4,), dtype=torch.int64)


@knn.register_fake
def _(queries: torch.Tensor, corpus: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    shape = (queries.shape[0], k)
    return (
        queries.new_empty(shape, dtype=torch.float32),
        queries.new_empty(shape, dtype=torch.int64),
        queries.new_empty(shape, dtype=torch.int64),
    )


def _tiling(grid: Sequence[int], tile: Sequence[int] | None, channels: Channels) -> dict[str, Any]:
    return {"grid": tuple(grid), "tile": None if tile is None else tuple(tile), "channels": channels}


def _pairs_shape(images: torch.Tensor, other: torch.Tensor | None) -> tuple[int, ...]:
    """Return the answer's shape; both orders of channels have N in the fourth place from the end."""
    if images.dim() not in (4, 5):
        raise ArgumentValueError(f"images must have 4 or 5 dimensions, got shape {tuple(images.shape)}")
    second = images if other is None else other
    if second.dim() != images.dim():
        raise ArgumentValueError(
            f"other must have {images.dim()} dimensions, got shape {tuple(second.shape)}"
        )
    return (*images.shape[:-4], images.shape[-4], second.shape[-4])


def _fresh(answer: Any, source: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the answer as a contiguous tensor on the device of ``source``, as the fakes promise."""
    if isinstance(answer, np.ndarray):
        answer = torch.from_numpy(answer)
    tensor: torch.Tensor = answer.to(device=source.device, dtype=dtype)
    return tensor.contiguous()
