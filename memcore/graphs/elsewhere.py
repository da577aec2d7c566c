"""Decide the pairs of images that are not kept by the native core: on another backend, by the public functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore import arrays
from memcore.distance import pairwise_tiled_l2
from memcore.graph import tiled_l2_graph
from memcore.types import Backend, Threshold


def connect_new(
    images: Any,
    since: int,
    threshold: Threshold,
    tile: tuple[int, int],
    backend: Backend,
    threads: int | None,
) -> tuple[NDArray[np.int32], NDArray[np.unsignedinteger[Any]]]:
    """Return (edges, ssd) among the images from ``since`` on, and between them and all before."""
    new = images[since:]
    inner = tiled_l2_graph(new, threshold.value, tile=tile, channels="last", backend=backend, threads=threads)
    assert inner.ssd is not None
    if not since:
        return inner.edges, inner.ssd
    cross = pairwise_tiled_l2(
        images[:since], new, tile=tile, output="ssd", channels="last", backend=backend, threads=threads
    )
    cross = np.asarray(cross.cpu() if arrays.is_torch(cross) else cross)
    i, j = np.nonzero(cross <= threshold.ssd_max(inner.tile_bytes))
    edges = np.concatenate([inner.edges + since, np.stack([i, j + since], axis=1)]).astype(np.int32)
    return edges, np.concatenate([inner.ssd, cross[i, j].astype(inner.ssd.dtype)])
