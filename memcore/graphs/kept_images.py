"""The images that a prompt's graph keeps: one array on their device, which grows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ArgumentTypeError, ArgumentValueError


class KeptImages:
    """An array (M, H, W, C) for images of ``shape``; ``array`` is None before the first.

    ``capacity`` images are allocated at first. ``buffer`` is the caller's array to keep them in while it suffices.
    """

    def __init__(self, shape: tuple[int, ...], capacity: int, buffer: NDArray[np.uint8] | None) -> None:
        self._shape, self._capacity = shape, capacity
        self.buffer = buffer
        self.array: Any = None

    def make_space(self, kept: int, count: int, like: Any = None) -> Any:
        """Return the array, large enough for ``count`` more than ``kept``; on the device of ``like``, if given."""
        if self.array is None:
            given = self.buffer
            fits = given is not None and like is None and len(given) >= count
            self.array = given if fits else self._allocate(like, max(self._capacity, count))
        elif kept + count > len(self.array):
            larger = self._allocate(like, max(2 * len(self.array), kept + count))
            larger[:kept] = self.array[:kept]
            self.array = larger
        return self.array

    def _allocate(self, like: Any, count: int) -> Any:
        if like is None:
            return np.empty((count, *self._shape), dtype=np.uint8)
        return like.new_empty((count, *self._shape))


def check_buffer(buffer: Any, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Return the caller's array for images. Raises ArgumentTypeError and ArgumentValueError."""
    if buffer is None:
        return None
    if not isinstance(buffer, np.ndarray) or isinstance(buffer, np.ma.MaskedArray):
        raise ArgumentTypeError(f"buffer must be a NumPy array, got {type(buffer).__name__}")
    if buffer.dtype != np.uint8 or buffer.shape[1:] != shape or not buffer.flags.c_contiguous:
        raise ArgumentValueError(
            f"buffer must be C-contiguous uint8 of shape (M, {shape}), got {buffer.dtype} {buffer.shape}"
        )
    return buffer
