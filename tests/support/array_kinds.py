"""Arrays of unusual kinds, for the tests that give every kind to every function."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def field(x: NDArray[Any]) -> NDArray[Any]:
    """Return a field of records of which the next item is not a multiple of its size away."""
    records = np.zeros(x.shape, dtype=[("value", x.dtype), ("other", np.uint8, 3)])
    records["value"] = x
    return records["value"]


def read_only(x: NDArray[Any]) -> NDArray[Any]:
    """Return a copy that cannot be written."""
    x = x.copy()
    x.setflags(write=False)
    return x


def quietly(function: Callable[[], Any]) -> Any:
    """Call a function without the warnings of torch about prototypes and deprecations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function()


def tensor(x: NDArray[Any]) -> torch.Tensor:
    """Return a tensor of the array's values."""
    return torch.from_numpy(x.copy())


class Exporter:
    """An array of which nothing is known but DLPack's two methods."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array

    def __dlpack__(self, **named: Any) -> Any:
        return self._array.__dlpack__(**named)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()
