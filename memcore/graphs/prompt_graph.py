"""One prompt's graph, growing as its generations arrive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memcore import arrays
from memcore.arrays import ImageArray
from memcore.distance import choose_backend, pairwise_tiled_l2, ssd_to_distance
from memcore.errors import ArgumentTypeError, ArgumentValueError, DeviceError
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

if TYPE_CHECKING:
    from memcore.backends.cpu import Features
    from memcore.graphs.reread import LetGo, Reread


#: Generations whose block sums get room at once, of as many as ``capacity`` says.
_MOST_EXPECTED = 4096


class PromptGraph:
    """The exact graph of one prompt's generations, extended batch by batch.

    However the images are cut into batches, edges and findings are the same, bit for bit. ``extend`` copies the images
    and takes their block sums while they are in the cache; pairs are decided when the graph is asked for, each once.
    Images are kept until the graph is dropped, since each new one is compared with all before it; on a CUDA device they
    stay there. Where they can be read again at little cost, ``reread`` spares that memory.

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
    room
        (M, H, W, C) uint8, C-contiguous: the caller's array to keep images in, for prompts that come one after the other.
        Images that were read into it, each behind the one before, are not copied. It belongs to the graph until that is
        dropped.
    reread
        Reads generations again: called with their indices (k,) int64, ascending, and an array (k, H, W, C) to fill. Given
        it, the native core does not keep images: ``extend`` takes their block sums, and the few that these leave undecided
        are read again when the graph is asked for, each once, held against their sums, and kept, in ``room`` if that is
        given and while it suffices. What it raises is passed on. Other backends keep images as without it.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError, DeviceError; ImagesChangedError where an image that was read again differs.

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
        room: NDArray[np.uint8] | None = None,
        reread: Reread | None = None,
    ) -> None:
        sides = tuple(shape) if isinstance(shape, Iterable) else ()
        if len(sides) != 3:
            raise ArgumentValueError(f"shape must be (height, width, channels), got {shape!r}")
        self.shape = tuple(arrays.check_count(s, "shape", 1) for s in sides)
        self.threshold = Threshold(threshold)
        self.tile = arrays.tile_shape((self.shape[0], self.shape[1], self.shape[2]), grid, tile)
        self.tile_bytes = self.tile[0] * self.tile[1] * self.shape[2]
        self.min_clique = min(arrays.check_count(min_clique, "min_clique", 2), arrays.MOST)
        self.node_limit = arrays.check_count(node_limit, "node_limit")
        self.n = 0
        self.excluded = 0
        self._ssd_max = self.threshold.ssd_max(self.tile_bytes)
        self._channels = channels
        self._backend: Backend = backend
        self._threads = threads
        self._workers = arrays.check_threads(threads)
        self._capacity = arrays.check_count(capacity, "capacity")
        if room is not None and (
            room.dtype != np.uint8 or room.shape[1:] != self.shape or not room.flags.c_contiguous
        ):
            raise ArgumentValueError(
                f"room must be C-contiguous uint8 of shape (M, {self.shape}), got {room.dtype} {room.shape}"
            )
        self._caller_room = room
        self._reread = reread
        self._let_go: LetGo | None = None
        self._pixels: Any = None
        self._features: Features | None = None
        self._place: NDArray[np.uint8] | None = None
        self._kept = 0
        self._vertices: list[NDArray[np.int64]] = []
        self._connected = 0
        self._edges = np.empty((0, 2), dtype=np.int32)
        self._ssd: NDArray[np.unsignedinteger[Any]] = np.empty(0, dtype=arrays.ssd_dtype(self.tile_bytes))
        self._counts: dict[str, float | int] = {}
        self._graph: Graph | None = None

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
        pixels = view.pixels[0]
        count = int(pixels.shape[0])
        vertices = np.arange(self.n, self.n + count)
        if exclude is not None:
            mask = np.asarray(exclude)
            if mask.shape != (count,) or mask.dtype != np.bool_:
                raise ArgumentValueError(
                    f"exclude must be bool of shape ({count},), got {mask.dtype} {mask.shape}"
                )
            if mask.any():
                vertices = vertices[~mask]
                pixels = pixels[~mask] if view.on_cpu else pixels[(~mask).tolist()]
        if len(vertices):
            self._keep(pixels, view, backend)
            self._vertices.append(vertices)
            self._kept += len(vertices)
        self.excluded += count - len(vertices)
        self.n += count
        self._graph = self._place = None

    def place(self) -> NDArray[np.uint8] | None:
        """(H, W, C): where the next generation will be kept. One that is read into it is not copied.

        None where images are not kept by the native core: with ``reread``, or another backend.
        """
        if self._reread is not None or self._backend not in ("auto", "cpu") or arrays.is_torch(self._pixels):
            return None
        self._place = self._make_room(1)[self._kept]
        return self._place

    def extend_one(self, image: NDArray[np.uint8]) -> bool:
        """Adds one generation (H, W, C) uint8, with less to do than ``extend`` has for a batch: for images that are decoded
        one after the other, each looked at while it is in the cache.

        False where all its pixels are the same: then it counts, but is excluded. Raises ArgumentValueError for another
        shape or dtype, or where ``place`` is None.

        >>> import numpy as np, memcore
        >>> graph = memcore.PromptGraph((8, 8, 3))
        >>> place = graph.place()
        >>> place[:] = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
        >>> graph.extend_one(place), graph.extend_one(np.zeros((8, 8, 3), np.uint8)), graph.n
        (True, False, 2)
        """
        there = image is self._place  # nothing was added since that was asked for
        place = None if there else self.place()
        if not there:
            if place is None or image.shape != self.shape or image.dtype != np.uint8:
                raise ArgumentValueError(
                    f"image must be uint8 of shape {self.shape}, for a graph that keeps images on the CPU, got "
                    f"{image.dtype} {image.shape}"
                )
            image = np.ascontiguousarray(image)
        kept = self._sums().append_one(image, place)
        self._place = None
        if kept:
            self._vertices.append(np.array([self.n]))
            self._kept += 1
        self.excluded += not kept
        self.n += 1
        self._graph = None
        return kept

    def extend_from(self, descriptor: int, offset: int, count: int) -> NDArray[np.bool_]:
        """Adds up to ``count`` generations straight from an open file, where they lie one behind the other as uint8
        (H, W, C) from byte ``offset``: each is looked at where it was read, and none is kept.

        Constant ones are excluded. Returns which are, (k,); k is less than ``count`` where the file ends before, of whose
        last image what is there is left out. Only with ``reread``, on the native core. Raises OSError.

        >>> import numpy as np, tempfile
        >>> images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
        >>> images[1] = 7
        >>> def reread(indices, out):
        ...     out[:] = images[indices]
        >>> with tempfile.TemporaryFile() as file:
        ...     _ = file.write(images), file.flush()
        ...     graph = PromptGraph((8, 8, 3), reread=reread)
        ...     print(graph.extend_from(file.fileno(), 0, 5), graph.n, graph.excluded)
        [False  True False] 3 1
        """
        if self._reread is None or self._backend not in ("auto", "cpu"):
            raise ArgumentValueError(
                f"extend_from lets images go: it needs reread and backend='cpu', got {self._backend!r}"
            )
        if self._let_go is None:
            if self._kept:
                raise DeviceError("images must stand where those before them stand: they were kept")
            self._let_go = self._begin_to_let_go(self._reread)
        constant = self._let_go.read(
            descriptor,
            arrays.check_count(offset, "offset", 0),
            arrays.check_count(count, "count"),
            self.shape,
        )
        vertices = self.n + np.nonzero(~constant)[0]
        if len(vertices):
            self._vertices.append(vertices)
            self._kept += len(vertices)
        self.excluded += len(constant) - len(vertices)
        self.n += len(constant)
        self._graph = None
        return constant

    def graph(self) -> Graph:
        """The graph of all generations so far.

        ``stats`` counts, over all calls, the pairs left by each stage and its seconds, and the excluded generations.
        """
        if self._graph is None:
            self._connect()
            self._graph = Graph(
                self.n,
                self._edges,
                self._ssd,
                ssd_to_distance(self._ssd, self.tile_bytes),
                float(self.threshold.value),
                self.tile_bytes,
                stats={**self._counts, "pairs": self.n * (self.n - 1) // 2, "excluded": self.excluded},
            )
        return self._graph

    def clique_size(self) -> int:
        """Size of the largest clique so far: what a budget asks after each batch, cheaper than ``findings``.

        Exact unless ``node_limit`` is used up; then a clique of this size exists, and a larger one may.
        """
        return self.largest_clique()[0]

    def largest_clique(self, node_limit: int | None = None) -> tuple[int, int]:
        """Bounds (lower, upper) of the size of the largest clique so far, equal where it is proven within ``node_limit``
        nodes (by default the graph's).
        """
        from memcore.graphs.findings import largest_clique

        return largest_clique(self.graph(), node_limit=node_limit or self.node_limit)

    def findings(self) -> list[Finding]:
        """Vertex-disjoint cliques of at least ``min_clique`` generations, largest first."""
        from memcore.graphs.findings import findings

        return findings(self.graph(), self.min_clique, node_limit=self.node_limit)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """(H, W, C) of the generation with this index, copied to the CPU; excluded ones were not kept."""
        vertices = self._kept_vertices()
        position = int(np.searchsorted(vertices, index))
        if position == len(vertices) or vertices[position] != index:
            raise ArgumentValueError(f"index {index} is not a kept generation of this prompt")
        if self._let_go is not None:
            return self._let_go.image(position, vertices).copy()
        image = self._pixels[position]
        return np.array(image.cpu() if arrays.is_torch(image) else image)

    def images(self) -> Any:
        """(N, H, W, C) of the generations that were kept, where they stand; a view until the next ``extend``.

        ArgumentValueError where images were let go when they had been looked at, as large stored arrays are.
        """
        if self._let_go is not None:
            raise ArgumentValueError("this graph let its images go; pixels(index) reads one again")
        if self._pixels is None:
            return np.empty((0, *self.shape), dtype=np.uint8)
        return self._pixels[: self._kept]

    def _kept_vertices(self) -> NDArray[np.int64]:
        """(kept,) the index of each kept generation, ascending."""
        if len(self._vertices) != 1:
            self._vertices = [np.concatenate([np.empty(0, np.int64), *self._vertices])]
        return self._vertices[0]

    def _keep(self, pixels: Any, view: ImageArray, backend: Backend) -> None:
        """Copies images (M, H, W, C) behind the others; on the native core their block sums are taken in passing."""
        have, count = self._kept, int(pixels.shape[0])
        if self._reread is not None and not have and backend == "cpu" and self._let_go is None:
            self._let_go = self._begin_to_let_go(self._reread)
        if self._let_go is not None:
            if backend != "cpu":
                raise DeviceError(f"images must stand where those before them stand, got {view.device}")
            self._let_go.append(pixels)
            return
        if self._pixels is not None and arrays.is_torch(self._pixels) == view.on_cpu:
            raise DeviceError(f"images must stand where those before them stand, got {view.device}")
        place = self._make_room(count, None if view.on_cpu else view.pixels)[have : have + count]
        if backend != "cpu":
            place[:] = pixels
            return
        there = pixels.ctypes.data == place.ctypes.data and pixels.strides == place.strides
        self._sums().append(pixels, self._workers, None if there else place)

    def _sums(self) -> Features:
        """What takes the block sums of images that are kept."""
        if self._features is None:
            from memcore.backends.cpu import Features

            self._features = Features(*self.tile, min(self._capacity, _MOST_EXPECTED))
        return self._features

    def _make_room(self, count: int, like: Any = None) -> Any:
        """Where images are kept, with room for ``count`` more; on the device of the tensor ``like`` if that is given."""
        needed = self._kept + count
        if self._pixels is None:
            given = self._caller_room
            fits = given is not None and like is None and len(given) >= count
            self._pixels = given if fits else self._room(like, max(self._capacity, count))
        elif needed > len(self._pixels):
            larger = self._room(like, max(2 * len(self._pixels), needed))
            larger[: self._kept] = self._pixels[: self._kept]
            self._pixels = larger
        return self._pixels

    def _begin_to_let_go(self, reread: Reread) -> LetGo:
        from memcore.graphs.reread import LetGo

        given = self._caller_room
        room = given if given is not None and len(given) else np.empty((1, *self.shape), dtype=np.uint8)
        return LetGo(self.tile, reread, self._workers, room, min(self._capacity, _MOST_EXPECTED))

    def _room(self, like: Any, count: int) -> Any:
        if like is None:
            return np.empty((count, *self.shape), dtype=np.uint8)
        return like.new_empty((count, *self.shape))

    def _connect(self) -> None:
        """Decides the pairs with a generation that came since the last call."""
        since, end = self._connected, self._kept
        if since == end:
            return
        stats: Mapping[str, float | int] = {}
        if self._let_go is not None:
            edges, ssd, stats = self._let_go.connect(self._ssd_max, since, self._kept_vertices())
        elif self._features is not None:
            from memcore.backends import cpu

            edges, ssd, stats = cpu.tiled_l2_graph(
                self._pixels[:end], self.tile, self._ssd_max, self._workers, 0, self._features, since
            )
        else:
            edges, ssd = self._connect_elsewhere(self._pixels[:end], since)
        for name, value in stats.items():
            self._counts[name] = self._counts.get(name, 0) + value
        if end != self.n:
            edges = self._kept_vertices()[edges].astype(np.int32)
        if since:
            edges, ssd = np.concatenate([self._edges, edges]), np.concatenate([self._ssd, ssd])
            order = np.lexsort((edges[:, 1], edges[:, 0]))
            edges, ssd = edges[order], ssd[order]
        self._edges, self._ssd = edges, ssd
        self._connected = end

    def _connect_elsewhere(
        self, images: Any, since: int
    ) -> tuple[NDArray[np.int32], NDArray[np.unsignedinteger[Any]]]:
        """The same by the public functions: edges among the new images, and between them and all before."""
        new = images[since:]
        inner = tiled_l2_graph(
            new,
            self.threshold.value,
            tile=self.tile,
            channels="last",
            backend=self._backend,
            threads=self._threads,
        )
        assert inner.ssd is not None
        if not since:
            return inner.edges, inner.ssd
        cross = pairwise_tiled_l2(
            images[:since],
            new,
            tile=self.tile,
            output="ssd",
            channels="last",
            backend=self._backend,
            threads=self._threads,
        )
        cross = np.asarray(cross.cpu() if arrays.is_torch(cross) else cross)
        i, j = np.nonzero(cross <= self._ssd_max)
        edges = np.concatenate([inner.edges + since, np.stack([i, j + since], axis=1)]).astype(np.int32)
        return edges, np.concatenate([inner.ssd, cross[i, j].astype(inner.ssd.dtype)])
