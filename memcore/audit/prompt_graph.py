"""One prompt's graph, growing as its generations arrive."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore import arrays
from memcore.arrays import ImageArray
from memcore.distance import choose_backend, pairwise_tiled_l2, ssd_to_distance
from memcore.errors import ArgumentTypeError, ArgumentValueError
from memcore.graph import tiled_l2_graph
from memcore.types import (
    DEFAULT_MIN_CLIQUE,
    DEFAULT_NODE_LIMIT,
    DEFAULT_THRESHOLD,
    Backend,
    Channels,
    Finding,
    Graph,
    Threshold,
)


class PromptGraph:
    """The exact graph of one prompt's generations, extended batch by batch.

    However the images are cut into batches, edges and findings are the same, bit for bit. Images are kept until the
    graph is dropped, since each new one is compared with all before it; on a CUDA device they stay there.

    Parameters
    ----------
    shape
        (H, W, C) of every image.
    threshold, grid, tile, backend, threads
        As in ``tiled_l2_graph``.
    min_clique
        Cliques of at least this size are findings.
    capacity
        Images to make room for at once; the room grows when more arrive.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError, DeviceError

    >>> import numpy as np, memcore
    >>> graph = memcore.PromptGraph((8, 8, 3), 0.15, min_clique=3)
    >>> for level in (100, 101, 200):
    ...     graph.extend(np.full((2, 8, 8, 3), level, dtype=np.uint8))
    >>> graph.findings()[0].members
    (0, 1, 2, 3)
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        threshold: float = DEFAULT_THRESHOLD,
        *,
        grid: tuple[int, int] = (4, 4),
        tile: tuple[int, int] | None = None,
        min_clique: int = DEFAULT_MIN_CLIQUE,
        node_limit: int = DEFAULT_NODE_LIMIT,
        channels: Channels | None = None,
        backend: Backend = "auto",
        threads: int | None = None,
        capacity: int = 64,
    ) -> None:
        if len(shape) != 3:
            raise ArgumentValueError(f"shape must be (height, width, channels), got {shape!r}")
        self.shape = tuple(arrays.check_count(s, "shape", 1) for s in shape)
        self.threshold = Threshold(threshold)
        self.tile = arrays.tile_shape((self.shape[0], self.shape[1], self.shape[2]), grid, tile)
        self.tile_bytes = self.tile[0] * self.tile[1] * self.shape[2]
        self.min_clique = arrays.check_count(min_clique, "min_clique", 2)
        self.node_limit = arrays.check_count(node_limit, "node_limit")
        self.n = 0
        self._ssd_max = self.threshold.ssd_max(self.tile_bytes)
        self._channels = channels
        self._backend: Backend = backend
        self._threads = threads
        self._capacity = arrays.check_count(capacity, "capacity")
        self._pixels: Any = None
        self._vertices = np.empty(0, dtype=np.int64)
        self._edges: list[NDArray[np.int32]] = []
        self._ssd: list[NDArray[Any]] = []
        self.excluded = 0

    def __len__(self) -> int:
        return self.n

    def extend(self, images: Any, *, exclude: NDArray[np.bool_] | None = None) -> None:
        """Adds generations (N, H, W, C) uint8, in order; those marked in ``exclude`` (N,) count but get no edges.

        A safety checker's black frames and other constant images are excluded so: 500 of them are no finding.
        """
        view = arrays.as_images(images, "images", channels=self._channels, ndims=(4,))
        if view.is_float:
            raise ArgumentTypeError(f"images must be uint8, got {view.dtype}; memcore.to_uint8() converts")
        if view.image_shape != self.shape:
            raise ArgumentValueError(
                f"images must have the shape {self.shape} (H, W, C), got {view.image_shape}"
            )
        backend = choose_backend(self._backend, view)
        count = int(view.pixels.shape[1])
        keep = np.ones(count, dtype=np.bool_)
        if exclude is not None:
            mask = np.asarray(exclude)
            if mask.shape != (count,) or mask.dtype != np.bool_:
                raise ArgumentValueError(
                    f"exclude must be bool of shape ({count},), got {mask.dtype} {mask.shape}"
                )
            keep = ~mask
        vertices = self.n + np.nonzero(keep)[0]
        if len(vertices):
            new = self._append(view, keep)
            self._connect(new, vertices, backend)
        self._vertices = np.concatenate([self._vertices, vertices])
        self.excluded += count - len(vertices)
        self.n += count

    def graph(self) -> Graph:
        """The graph of all generations so far."""
        edges = np.concatenate([np.empty((0, 2), np.int32), *self._edges])
        ssd = np.concatenate([np.empty(0, arrays.ssd_dtype(self.tile_bytes)), *self._ssd])
        order = np.lexsort((edges[:, 1], edges[:, 0]))
        edges, ssd = edges[order], ssd[order]
        stats = {"pairs": self.n * (self.n - 1) // 2, "excluded": self.excluded}
        return Graph(
            self.n,
            edges,
            ssd,
            ssd_to_distance(ssd, self.tile_bytes),
            float(self.threshold.value),
            self.tile_bytes,
            stats=stats,
        )

    def findings(self) -> list[Finding]:
        """Vertex-disjoint cliques of at least ``min_clique`` generations, largest first."""
        from memcore.audit.findings import findings

        return findings(self.graph(), self.min_clique, node_limit=self.node_limit)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """(H, W, C) of the generation with this index, copied to the CPU; excluded ones were not kept."""
        position = int(np.searchsorted(self._vertices, index))
        if position == len(self._vertices) or self._vertices[position] != index:
            raise ArgumentValueError(f"index {index} is not a kept generation of this prompt")
        image = self._pixels[position]
        return np.array(image.cpu() if arrays.is_torch(image) else image)

    def _append(self, view: ImageArray, keep: NDArray[np.bool_]) -> Any:
        """Stores the kept images behind the others and returns them, (M, H, W, C)."""
        have, count = len(self._vertices), int(keep.sum())
        if self._pixels is None:
            self._pixels = self._room(view, max(self._capacity, count))
        elif have + count > len(self._pixels):
            larger = self._room(view, max(2 * len(self._pixels), have + count))
            larger[:have] = self._pixels[:have]
            self._pixels = larger
        pixels = view.pixels[0]
        if not keep.all():
            pixels = pixels[keep] if view.on_cpu else pixels[keep.tolist()]
        self._pixels[have : have + count] = pixels
        return self._pixels[have : have + count]

    def _room(self, view: ImageArray, count: int) -> Any:
        if view.on_cpu:
            return np.empty((count, *self.shape), dtype=np.uint8)
        return view.pixels.new_empty((count, *self.shape))

    def _connect(self, new: Any, vertices: NDArray[np.int64], backend: Backend) -> None:
        """Edges among the new images, and between them and all before."""
        have = len(self._vertices)
        inner = tiled_l2_graph(
            new, self.threshold.value, tile=self.tile, channels="last", backend=backend, threads=self._threads
        )
        self._keep_edges(vertices[inner.edges], inner.ssd)
        if not have:
            return
        ssd = pairwise_tiled_l2(
            self._pixels[:have],
            new,
            tile=self.tile,
            output="ssd",
            channels="last",
            backend=backend,
            threads=self._threads,
        )
        ssd = np.asarray(ssd.cpu() if arrays.is_torch(ssd) else ssd)
        i, j = np.nonzero(ssd <= self._ssd_max)
        self._keep_edges(np.stack([self._vertices[i], vertices[j]], axis=1), ssd[i, j])

    def _keep_edges(self, edges: NDArray[Any], ssd: NDArray[Any] | None) -> None:
        assert ssd is not None
        self._edges.append(edges.astype(np.int32))
        self._ssd.append(ssd.astype(arrays.ssd_dtype(self.tile_bytes)))
