"""Numbers of vertices, as the core takes them: none is ever cut to 32 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ArgumentTypeError, ArgumentValueError
from memcore.interop import as_array, is_torch

#: The core counts vertices and images in 32 bits: a larger minimum size means the same as this one.
MOST = 2**31 - 1


def as_vertex_count(n: Any) -> int:
    """Return a number of vertices as an int, or raise for anything but a whole number that 32 bits hold."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise ArgumentTypeError(f"n must be an integer, got {type(n).__name__}")
    if not 0 <= n < MOST:
        raise ArgumentValueError(f"n must be in [0, 2^31 - 2], got {n}")
    return int(n)


def as_edges(edges: Any) -> NDArray[np.int32]:
    """Return edges as (E, 2) int32, or raise for anything but pairs of vertex numbers that 32 bits hold."""
    array = as_array(np.asarray(edges) if isinstance(edges, list | tuple) else edges, "edges")[0]
    if is_torch(array):
        array = array.cpu().numpy()  # not a dtype of images, so as_array left it
    if array.size == 0 and array.ndim <= 2:
        return np.empty((0, 2), np.int32)
    if array.dtype.kind not in "iu":
        raise ArgumentTypeError(f"edges must be integers, got {array.dtype.name}")
    if array.ndim != 2 or array.shape[1] != 2:
        raise ArgumentValueError(f"edges must have the shape (E, 2), got {array.shape}")
    least, most = int(array.min()), int(array.max())
    if least < 0 or most >= MOST:
        raise ArgumentValueError(
            f"edges must hold vertex numbers from 0 to 2^31 - 2, got {least if least < 0 else most}"
        )
    narrow: NDArray[np.int32] = array.astype(np.int32)
    return narrow
