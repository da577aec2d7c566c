"""One prompt's graph, growing as its generations arrive."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memcore import arrays, interop
from memcore.arrays import ImageArray
from memcore.distance import choose_backend, ssd_to_distance
from memcore.errors import ArgumentTypeError, ArgumentValueError, DeviceError
from memcore.graphs.elsewhere import connect_new
from memcore.graphs.kept_images import KeptImages, check_buffer
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
    from memcore.graphs.reread import Reread, StreamedImages


#: Generations whose block sums are allocated at once, of as many as ``capacity`` says.
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
        Images to allocate memory for at once; more is allocated when more arrive.
    buffer
        (M, H, W, C) uint8, C-contiguous: the caller's array to keep images in, for prompts that come one after the other.
        Images that are read into it in order are not copied. It belongs to the graph until that is
        dropped.
    reread
        Callable that reads generations again, with their indices (k,) int64, ascending, and an array (k, H, W, C) to fill.
        Given it, the native core does not keep images: ``extend`` takes their block sums, and the few that these leave
        undecided are read again when the graph is asked for, each once, compared with their sums, and kept, in ``buffer``
        if that is given and while it suffices. Its exceptions are passed on. Other backends ignore it and keep images.
    room
        The former name of ``buffer``.

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
        buffer: NDArray[np.uint8] | None = None,
        reread: Reread | None = None,
        room: NDArray[np.uint8] | None = None,
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
        if room is not None and buffer is not None:
            raise ArgumentValueError("buffer and room are two names of one argument: give buffer alone")
        given = check_buffer(room if buffer is None else buffer, self.shape)
        self._images = KeptImages(self.shape, self._capacity, given)
        self._reread = reread
        self._streamed: StreamedImages | None = None
        self._features: Features | None = None
        self._next_slot: NDArray[np.uint8] | None = None
        self._kept = 0
        self._vertices: list[NDArray[np.int64]] = []
        self._connected = 0
        self._edges = np.empty((0, 2), dtype=np.int32)
        self._ssd: NDArray[np.unsignedinteger[Any]] = np.empty(0, dtype=arrays.ssd_dtype(self.tile_bytes))
        self._counts: dict[str, float | int] = {}
        self._graph: Graph | None = None

    def __len__(self) -> int:
        """Return the number of generations so far, excluded ones among them."""
        return self.n

    def __repr__(self) -> str:
        """Return one line; the graph is not computed for it."""
        excluded = f", excluded={self.excluded}" if self.excluded else ""
        return f"PromptGraph(shape={self.shape}, threshold={self.threshold.value!r}, n={self.n}{excluded})"

    def extend(self, images: Any, *, exclude: NDArray[np.bool_] | None = None) -> None:
        """Add generations (N, H, W, C) uint8, in order; those marked in ``exclude`` (N,) count but get no edges.

        Exclude a safety checker's black frames and other constant images this way: 500 of them are no finding.
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
            mask = arrays.check_marks(exclude, "exclude", count)
            if mask.any():
                vertices = vertices[~mask]
                pixels = pixels[~mask] if view.on_cpu else pixels[(~mask).tolist()]
        if len(vertices):
            self._keep(pixels, view, backend)
            self._vertices.append(vertices)
            self._kept += len(vertices)
        self.excluded += count - len(vertices)
        self.n += count
        self._graph = self._next_slot = None

    def next_slot(self) -> NDArray[np.uint8] | None:
        """Return the (H, W, C) array in which the next generation will be kept.

        A generation that is read into it is not copied. None where the native core does not keep images: with ``reread``, or
        another backend.
        """
        on_device = arrays.is_torch(self._images.array)
        if self._reread is not None or self._backend not in ("auto", "cpu") or on_device:
            return None
        self._next_slot = self._images.make_space(self._kept, 1)[self._kept]
        return self._next_slot

    def place(self) -> NDArray[np.uint8] | None:
        """Return ``next_slot()``, whose former name this is."""
        return self.next_slot()

    def extend_one(self, image: NDArray[np.uint8]) -> bool:
        """Add one generation (H, W, C) uint8, with less overhead than ``extend``.

        For images that are decoded one after the other: the block sums of each are taken while it is in the cache. Returns
        False where all its pixels are equal: such an image counts, but is excluded. Raises ArgumentValueError for another
        shape or dtype, or where ``next_slot`` is None.

        >>> import numpy as np, memcore
        >>> graph = memcore.PromptGraph((8, 8, 3))
        >>> slot = graph.next_slot()
        >>> slot[:] = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
        >>> graph.extend_one(slot), graph.extend_one(np.zeros((8, 8, 3), np.uint8)), graph.n
        (True, False, 2)
        """
        in_place = image is self._next_slot  # nothing was added since it was returned
        slot = None if in_place else self.next_slot()
        if not in_place:
            pixels, _, dtype, _ = interop.as_array(image, "image")
            if slot is None or pixels.shape != self.shape or dtype != "uint8" or arrays.is_torch(pixels):
                raise ArgumentValueError(
                    f"image must be uint8 of shape {self.shape}, for a graph that keeps images on the CPU, got "
                    f"{dtype} {tuple(pixels.shape)}"
                )
            image = np.ascontiguousarray(pixels)
        kept = self._sums().append_one(image, slot)
        self._next_slot = None
        if kept:
            self._vertices.append(np.array([self.n]))
            self._kept += 1
        self.excluded += not kept
        self.n += 1
        self._graph = None
        return kept

    def extend_from(self, descriptor: int, offset: int, count: int) -> NDArray[np.bool_]:
        """Add up to ``count`` generations straight from an open file, and keep none of them.

        They follow each other as uint8 (H, W, C) from byte ``offset``; the block sums of each are taken where it was read.
        Constant ones are excluded. Returns which are constant, (k,); k is less than ``count`` where the file ends before,
        and a part of an image at its end is left out. Needs ``reread`` and the native core. Raises OSError.

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
                f"extend_from does not keep images: it needs reread and backend='cpu', got {self._backend!r}"
            )
        if self._streamed is None:
            if self._kept:
                raise DeviceError("images before these were kept: extend_from cannot follow extend")
            self._streamed = self._stream(self._reread)
        constant = self._streamed.read(
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
        """Return the graph of all generations so far.

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
        """Return the size of the largest clique so far, as a budget needs it after each batch; cheaper than ``findings``.

        It is exact unless the search uses up ``node_limit``: then a clique of this size exists, and a larger one may.
        """
        return self.largest_clique()[0]

    def largest_clique(self, node_limit: int | None = None) -> tuple[int, int]:
        """Return bounds (lower, upper) of the size of the largest clique so far.

        They are equal where the size is proven within ``node_limit`` nodes (by default the graph's).
        """
        from memcore.graphs.findings import largest_clique

        return largest_clique(self.graph(), node_limit=node_limit or self.node_limit)

    def findings(self) -> list[Finding]:
        """Return vertex-disjoint cliques of at least ``min_clique`` generations, largest first."""
        from memcore.graphs.findings import findings

        return findings(self.graph(), self.min_clique, node_limit=self.node_limit)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """Return the generation (H, W, C) with this index, copied to the CPU; excluded ones were not kept."""
        vertices = self._kept_vertices()
        position = bisect.bisect_left(vertices, arrays.check_index(index, "index"))
        if position == len(vertices) or vertices[position] != index:
            raise ArgumentValueError(f"index {index} is not a kept generation of this prompt")
        if self._streamed is not None:
            return self._streamed.image(position, vertices).copy()
        image = self._images.array[position]
        return np.array(image.cpu() if arrays.is_torch(image) else image)

    def images(self) -> Any:
        """Return the generations (N, H, W, C) that were kept, on their device; a view until the next ``extend``.

        Raises ArgumentValueError where images are not kept (with ``reread``, as for large stored arrays).
        """
        if self._streamed is not None:
            raise ArgumentValueError("this graph does not keep its images; pixels(index) reads one again")
        if self._images.array is None:
            return np.empty((0, *self.shape), dtype=np.uint8)
        return self._images.array[: self._kept]

    def _kept_vertices(self) -> NDArray[np.int64]:
        """Return the index of each kept generation (kept,), ascending."""
        if len(self._vertices) != 1:
            self._vertices = [np.concatenate([np.empty(0, np.int64), *self._vertices])]
        return self._vertices[0]

    def _keep(self, pixels: Any, view: ImageArray, backend: Backend) -> None:
        """Copy images (M, H, W, C) after the others; the native core takes their block sums while it copies."""
        have, count = self._kept, int(pixels.shape[0])
        if self._reread is not None and not have and backend == "cpu" and self._streamed is None:
            self._streamed = self._stream(self._reread)
        if self._streamed is not None:
            if backend != "cpu":
                raise DeviceError(f"images must be on the device of those before them, got {view.device}")
            self._streamed.append(pixels)
            return
        if self._images.array is not None and arrays.is_torch(self._images.array) == view.on_cpu:
            raise DeviceError(f"images must be on the device of those before them, got {view.device}")
        like = None if view.on_cpu else view.pixels
        slots = self._images.make_space(have, count, like)[have : have + count]
        if backend != "cpu":
            slots[:] = pixels
            return
        in_place = pixels.ctypes.data == slots.ctypes.data and pixels.strides == slots.strides
        self._sums().append(pixels, self._workers, None if in_place else slots)

    def _sums(self) -> Features:
        """Return the features that hold the block sums of images that are kept."""
        if self._features is None:
            from memcore.backends.cpu import Features

            self._features = Features(*self.tile, min(self._capacity, _MOST_EXPECTED))
        return self._features

    def _stream(self, reread: Reread) -> StreamedImages:
        from memcore.graphs.reread import StreamedImages

        given = self._images.buffer
        buffer = given if given is not None and len(given) else np.empty((1, *self.shape), dtype=np.uint8)
        return StreamedImages(self.tile, reread, self._workers, buffer, min(self._capacity, _MOST_EXPECTED))

    def _connect(self) -> None:
        """Decide the pairs with a generation that came since the last call."""
        since, end = self._connected, self._kept
        if since == end:
            return
        stats: Mapping[str, float | int] = {}
        if self._streamed is not None:
            edges, ssd, stats = self._streamed.connect(self._ssd_max, since, self._kept_vertices())
        elif self._features is not None:
            from memcore.backends import cpu

            edges, ssd, stats = cpu.tiled_l2_graph(
                self._images.array[:end], self.tile, self._ssd_max, self._workers, 0, self._features, since
            )
        else:
            edges, ssd = connect_new(
                self._images.array[:end], since, self.threshold, self.tile, self._backend, self._threads
            )
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
