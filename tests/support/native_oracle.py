"""NumPy int64 oracles of the native core, shared by the tests in tests/native."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore import _core

ISAS = tuple(_core.isa_available())
MAX_UINT32 = _core.MAX_BYTES_UINT32


def tile_ssd(a: NDArray[Any], b: NDArray[Any], tile: tuple[int, int]) -> NDArray[np.int64]:
    """Return the largest tile's sum of squared differences: (N, H, W, C) x (M, H, W, C) -> (N, M)."""
    th, tw = tile
    n, h, w, c = a.shape

    def cut(x: NDArray[Any]) -> NDArray[Any]:
        return x.astype(np.int64).reshape(len(x), h // th, th, w // tw, tw, c)

    x, y = cut(a), cut(b)
    return np.array([((x[i] - y) ** 2).sum((2, 4, 5)).max((1, 2)) for i in range(n)]).reshape(n, len(b))


def ssd_dtype(tile_bytes: int) -> type:
    return np.uint32 if tile_bytes <= MAX_UINT32 else np.uint64


def native_ssd(
    a: NDArray[Any], b: NDArray[Any] | None, tile: tuple[int, int], threads: int = 1
) -> NDArray[Any]:
    """Return the core's answer for one set of images."""
    m = len(a) if b is None else len(b)
    out: NDArray[Any] = np.full((1, len(a), m), 7, dtype=ssd_dtype(tile[0] * tile[1] * a.shape[-1]))
    _core.tiled_l2_ssd(a[None], None if b is None else b[None], *tile, out, threads)
    first: NDArray[Any] = out[0]
    return first


def planar(a: NDArray[Any]) -> NDArray[Any]:
    """Return an equal (..., H, W, C) array with channels first in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, -1, -3)), -3, -1)


def knn(queries: NDArray[Any], corpus: NDArray[Any], k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    d = ((queries[:, None].astype(np.int64) - corpus[None].astype(np.int64)) ** 2).sum(-1)
    order = np.argsort(d, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(d, order, 1), order


def edges(ssd: NDArray[np.int64], ssd_max: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    i, j = np.nonzero(np.triu(ssd <= ssd_max, 1))
    return np.stack([i, j], 1).astype(np.int32), ssd[i, j]
