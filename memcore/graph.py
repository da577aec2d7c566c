"""The exact graph of near-identical generations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore import arrays
from memcore.backends import reference
from memcore.distance import check_unit_interval, choose_backend, pairwise_tiled_l2, ssd_to_distance
from memcore.types import DEFAULT_THRESHOLD, Backend, Channels, Graph, Threshold


def tiled_l2_graph(
    images: Any,
    threshold: float = DEFAULT_THRESHOLD,
    *,
    grid: tuple[int, int] = (4, 4),
    tile: tuple[int, int] | None = None,
    min_clique: int | None = None,
    distances: bool = True,
    channels: Channels | None = None,
    backend: Backend = "auto",
    threads: int | None = None,
) -> Graph:
    """Return the graph of images whose tiled l2 is at most ``threshold``, exactly.

    Parameters
    ----------
    images
        (N, H, W, C) NumPy or (N, C, H, W) torch; uint8, or floats in [0, 1].
    threshold
        In [0, 1]. It becomes one integer, floor(threshold^2 * 255^2 * K), by exact rational arithmetic, in which a float
        means the shortest decimal that prints it. Edges of uint8 images are then decided in integers.
    grid, tile, channels, backend, threads
        As in ``pairwise_tiled_l2``.
    min_clique
        Edges that cannot belong to a clique of this size may be left out; the graph is then ``partial``.
    distances
        False asks for the edges alone, which is all that cliques need: ``ssd`` and ``distances`` are then None. The edges
        are the same, but upper bounds and the triangle inequality may decide them, so that many images that are all
        alike take less time.

    Returns
    -------
    Graph
        Edges sorted by (i, j) with i < j, their ssd and distances. It is the same on every backend.

    Raises
    ------
    ArgumentTypeError
        The array's kind or dtype is not accepted.
    ArgumentValueError
        A shape, a value or an option cannot be used.
    DeviceError
        The backend cannot reach the array's device.

    References
    ----------
    Carlini et al. 2023, section 4.2.1.

    Examples
    --------
    >>> import numpy as np, memcore
    >>> images = np.full((3, 8, 8, 3), 100, dtype=np.uint8)
    >>> images[2] = 200
    >>> memcore.tiled_l2_graph(images, 0.1).edges
    array([[0, 1]], dtype=int32)
    """
    limit = Threshold(threshold)
    workers = arrays.check_threads(threads)
    smallest = 0 if min_clique is None else min(arrays.check_count(min_clique, "min_clique", 2), arrays.MOST)
    distances = arrays.check_flag(distances, "distances")
    view = arrays.as_images(images, "images", channels=channels, ndims=(4,))
    tile_hw = arrays.tile_shape(view.image_shape, grid, tile)
    chosen = choose_backend(backend, view)
    n = int(view.pixels.shape[1])
    k = tile_hw[0] * tile_hw[1] * view.image_shape[2]
    pairs: dict[str, float | int | str] = {"pairs": n * (n - 1) // 2, "min_clique": smallest}

    if view.is_float:
        if chosen != "gpu":
            check_unit_interval(view, "images")
        dense = np.asarray(
            pairwise_tiled_l2(images, tile=tile_hw, channels=channels, backend=backend, threads=threads)
        )
        i, j = np.nonzero(np.triu(dense <= np.float32(limit.value), 1))
        edges = np.stack([i, j], axis=1).astype(np.int32)
        return Graph(n, edges, None, dense[i, j] if distances else None, float(limit.value), k, stats=pairs)

    ssd_max = limit.ssd_max(k)
    ssd: NDArray[np.unsignedinteger[Any]]
    if chosen == "gpu":
        from memcore.backends import gpu

        edges, signed = gpu.tiled_l2_graph(view.pixels[0], tile_hw, ssd_max)
        ssd = signed.astype(arrays.ssd_dtype(k))
        stats: Mapping[str, float | int] = {}
    elif chosen == "reference":
        edges, ssd = reference.tiled_l2_graph(view.pixels[0], tile_hw, ssd_max)
        stats = {}
    else:
        from memcore.backends import cpu

        edges, ssd, stats = cpu.tiled_l2_graph(
            view.pixels[0], tile_hw, ssd_max, workers, smallest, sums=distances
        )
    partial = smallest > 2  # each edge is a clique of two
    return Graph(
        n,
        edges,
        ssd if distances else None,
        ssd_to_distance(ssd, k) if distances else None,
        float(limit.value),
        k,
        partial=partial,
        stats={**pairs, **stats},
    )
