"""Checks of arguments, and one view of every array: NumPy, torch or DLPack as (B, N, H, W, C), without a copy."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ArgumentTypeError, ArgumentValueError, DeviceError
from memcore.interop import FLOATS, Library, as_array, give_back
from memcore.interop import is_plain_bytes as is_plain_bytes
from memcore.interop import is_torch as is_torch
from memcore.types import MAX_K_UINT32, Channels
from memcore.types import MOST as MOST

#: Made once: `int | np.integer` in a check builds a new object at each call, which slows down short calls.
_INTEGERS = (int, np.integer)
_LARGEST = 2**63 - 1
_MOST_THREADS = 4096  # as in csrc/arguments/call.cpp
MAX_CHANNELS = 4


@dataclasses.dataclass(frozen=True, eq=False)
class ImageArray:
    """Images in the form that the backends take.

    ``pixels`` has the logical shape (B, N, H, W, C) and is a view of the caller's array: NumPy on the CPU, torch on
    another device. NumPy has no bfloat16, so on the CPU those are uint16 bits, with ``bfloat16`` set.
    """

    pixels: Any
    library: Library
    batched: bool
    dtype: str
    device: str
    source: Any

    @property
    def is_float(self) -> bool:
        """Whether the values are floats in [0, 1] rather than uint8."""
        return self.dtype != "uint8"

    @property
    def bfloat16(self) -> bool:
        """Whether the values are bfloat16, which NumPy holds as uint16 bits."""
        return self.dtype == "bfloat16"

    @property
    def on_cpu(self) -> bool:
        """Whether ``pixels`` is a NumPy array in the CPU's memory."""
        return self.device == "cpu"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return (H, W, C)."""
        _, _, h, w, c = self.pixels.shape
        return int(h), int(w), int(c)

    def give_back(self, answer: NDArray[Any]) -> Any:
        """Return ``answer`` in the caller's library, on the caller's device."""
        return answer if self.library == "numpy" else give_back(answer, self.library, self.source)


def as_images(
    x: Any, name: str, *, channels: Channels | None = None, ndims: tuple[int, ...] = (4, 5)
) -> ImageArray:
    """Return ``x`` as a view of images (B, N, H, W, C).

    Raises ArgumentTypeError or ArgumentValueError; the message names the argument.
    """
    if channels not in (None, "first", "last"):
        raise ArgumentValueError(f"channels must be 'first', 'last' or None, got {channels!r}")
    array, library, dtype, device = as_array(x, name)
    source = x if hasattr(x, "shape") else array
    order = channels or ("first" if library == "torch" else "last")
    if array.ndim not in ndims:
        hint = "; a single image is images[None]" if array.ndim == 3 else ""
        layout = "N, C, H, W" if order == "first" else "N, H, W, C"
        allowed = " or ".join(f"({'B, ' if n == 5 else ''}{layout})" for n in ndims)
        raise ArgumentValueError(f"{name} must have the shape {allowed}, got {tuple(array.shape)}{hint}")
    if dtype != "uint8" and dtype not in FLOATS:
        raise ArgumentTypeError(
            f"{name} must be uint8, or float16, bfloat16 or float32 in [0, 1], got {dtype}; "
            "convert explicitly, for example with memcore.to_uint8() or images.astype('float32')"
        )
    if order == "first":
        array = array.swapaxes(-3, -2).swapaxes(-2, -1)
    batched = array.ndim == 5
    if not batched:
        array = array[None]
    b, n, h, w, c = (int(s) for s in array.shape)
    if 0 in (b, n, h, w, c):
        raise ArgumentValueError(
            f"{name} must hold at least one image of at least one pixel, got {tuple(source.shape)}"
        )
    if c > MAX_CHANNELS:
        raise ArgumentValueError(
            f"{name} must have 1 to {MAX_CHANNELS} channels, got {c} with channels={order!r} and shape "
            f"{tuple(source.shape)}; pass channels='{'last' if order == 'first' else 'first'}' if the channels are there"
        )
    if device == "cpu":
        array = _line_layout(array, name)
    return ImageArray(array, library, batched, dtype, device, source)


def as_rows(x: Any, name: str) -> ImageArray:
    """Return ``x`` (N, ...) uint8 as rows for k nearest neighbours; ``pixels`` is then (N, D)."""
    array, library, dtype, device = as_array(x, name)
    if dtype != "uint8":
        raise ArgumentTypeError(
            f"{name} must be uint8, got {dtype}; memcore.to_uint8() converts floats in [0, 1]"
        )
    if array.ndim < 2:
        raise ArgumentValueError(
            f"{name} must have the shape (N, D) or (N, H, W, C), got {tuple(array.shape)}"
        )
    if 0 in array.shape:
        raise ArgumentValueError(
            f"{name} must hold at least one row of at least one byte, got {tuple(array.shape)}"
        )
    if device != "cpu" and not device.startswith("cuda"):
        hint = "" if device == "meta" else f"; call {name}.cpu() first"  # a meta tensor has no values to copy
        raise DeviceError(f"{name} must be on the CPU or a CUDA device, got {device}{hint}")
    source = x if hasattr(x, "shape") else array
    rows = array.reshape(array.shape[0], -1)
    if device == "cpu" and not rows.flags.c_contiguous and rows.shape[1] > 1 and rows.strides[1] != 1:
        rows = copy_in_order(rows, name)  # the core reads rows of adjacent bytes
    return ImageArray(rows, library, False, dtype, device, source)


def allocate(shape: tuple[int, ...], dtype: Any, what: str) -> NDArray[Any]:
    """Return a new array; raise ArgumentValueError, which names what it is for, where memory or addresses do not suffice.

    >>> allocate((2**40, 2**40), np.uint8, "x: ask for less")
    Traceback (most recent call last):
        ...
    memcore.errors.ArgumentValueError: uint8 of (1099511627776, 1099511627776) do not fit into memory, for x: ask for less
    """
    try:
        return np.empty(shape, dtype)
    except (MemoryError, ValueError):
        raise ArgumentValueError(
            f"{np.dtype(dtype).name} of {shape} do not fit into memory, for {what}"
        ) from None


def copy_in_order(array: NDArray[Any], name: str) -> NDArray[Any]:
    """Return the array in C order. Raise ArgumentValueError where the copy that this needs does not fit into memory."""
    try:
        return np.ascontiguousarray(array)
    except MemoryError:
        raise ArgumentValueError(
            f"{name} must be in C order, or small enough for a copy: {array.nbytes:,} bytes do not fit into memory"
        ) from None


def check_same_kind(first: ImageArray, second: ImageArray, name: str, first_name: str) -> None:
    """Raise unless both arguments agree in library, device, dtype, batch and image shape."""
    for what, a, b in (("dtype", first.dtype, second.dtype), ("library", first.library, second.library)):
        if a != b:
            raise ArgumentTypeError(f"{name} must have the same {what} as {first_name} ({a}), got {b}")
    if first.device != second.device:
        raise DeviceError(
            f"{name} must be on the same device as {first_name} ({first.device}), got {second.device}"
        )
    if first.batched != second.batched or first.pixels.shape[0] != second.pixels.shape[0]:
        raise ArgumentValueError(
            f"{name} must have the same batch as {first_name} {tuple(first.source.shape)}, got "
            f"{tuple(second.source.shape)}"
        )
    if first.image_shape != second.image_shape:
        raise ArgumentValueError(
            f"{name} must hold images of the same shape as {first_name} {first.image_shape} (H, W, C), "
            f"got {second.image_shape}"
        )


def tile_shape(
    image_shape: tuple[int, int, int], grid: tuple[int, int], tile: tuple[int, int] | None
) -> tuple[int, int]:
    """Return height and width of a tile, given as ``grid`` (rows, columns) or as ``tile``.

    Raises ArgumentValueError where the tiles do not cover the image exactly.
    """
    h, w, _ = image_shape
    name, pair = ("grid", grid) if tile is None else ("tile", tile)
    try:
        a, b = (int(v) for v in pair)
        exact = all(v == int(v) for v in pair)
        both = tile is not None and tuple(grid) != (4, 4)
    except (TypeError, ValueError, OverflowError):
        raise ArgumentTypeError(f"{name} must be two integers (rows, columns), got {pair!r}") from None
    if not exact or a < 1 or b < 1:
        raise ArgumentValueError(f"{name} must be two positive integers, got {pair!r}")
    if both:
        raise ArgumentValueError(f"give grid or tile, not both, got grid={grid!r} and tile={tile!r}")
    if h % a or w % b:
        wanted = f"{a} x {b} tiles" if tile is None else f"tiles of {a} x {b} pixels"
        raise ArgumentValueError(
            f"{name}={pair!r} does not divide the images: {h} x {w} pixels cannot be cut into {wanted}; "
            f"choose {name} so that both sides divide, or crop"
        )
    return (h // a, w // b) if tile is None else (a, b)


def ssd_dtype(tile_bytes: int) -> type[np.uint32] | type[np.uint64]:
    """Return uint32 where K * 255^2 fits it, else uint64."""
    return np.uint32 if tile_bytes <= MAX_K_UINT32 else np.uint64


def check_threads(threads: int | None) -> int:
    """Return the number of threads for the core, 0 for None: every processor that this process may use."""
    if threads is None:
        return 0
    if isinstance(threads, bool) or not isinstance(threads, _INTEGERS):
        raise ArgumentTypeError(f"threads must be a positive integer or None, got {type(threads).__name__}")
    if threads < 1:
        raise ArgumentValueError(f"threads must be a positive integer or None, got {threads}")
    if threads > _MOST_THREADS:
        raise ArgumentValueError(f"threads must be at most {_MOST_THREADS}, got {threads}")
    return int(threads)


def check_count(value: Any, name: str, minimum: int = 1, maximum: int | None = None) -> int:
    """Return an integer argument, or raise where it is out of bounds or too large for the core's 64 bits."""
    if isinstance(value, bool) or not isinstance(value, _INTEGERS):
        raise ArgumentTypeError(f"{name} must be an integer, got {type(value).__name__}")
    largest = _LARGEST if maximum is None else maximum
    if not minimum <= value <= largest:
        bounds = f">= {minimum}" if maximum is None and value < minimum else f"in [{minimum}, {largest}]"
        raise ArgumentValueError(f"{name} must be {bounds}, got {value}")
    return int(value)


def check_flag(value: Any, name: str) -> bool:
    """Return True or False, or raise for a value that Python would merely take for one of them."""
    if not isinstance(value, bool | np.bool_):
        raise ArgumentTypeError(f"{name} must be True or False, got {type(value).__name__}")
    return bool(value)


def check_index(value: Any, name: str) -> int:
    """Return an index as an int, or raise where it is not an integer; a fraction would be cut to another one."""
    if isinstance(value, bool) or not isinstance(value, _INTEGERS):
        raise ArgumentTypeError(f"{name} must be an integer, got {type(value).__name__}")
    return int(value)


def check_marks(marks: Any, name: str, count: int) -> NDArray[np.bool_]:
    """Return marks of ``count`` items as (count,) bool in NumPy, or raise."""
    if type(marks) is np.ndarray and marks.dtype == np.bool_ and marks.shape == (count,):
        return marks
    array = as_array(np.asarray(marks) if isinstance(marks, list | tuple) else marks, name)[0]
    found = array.cpu().numpy() if is_torch(array) else array
    if found.shape != (count,) or found.dtype != np.bool_:
        raise ArgumentValueError(f"{name} must be bool of shape ({count},), got {found.dtype} {found.shape}")
    checked: NDArray[np.bool_] = found
    return checked


def in_order_of(like: NDArray[Any], array: NDArray[Any], name: str) -> NDArray[Any]:
    """Return images in the order of memory (pixels or planes) of ``like``: the core compares tiles byte by byte."""
    if array.strides[-2:] == like.strides[-2:]:
        return array
    if (pixels := _is_interleaved(like)) == _is_interleaved(array):
        return array
    if pixels:
        return copy_in_order(array, name)
    return copy_in_order(array.transpose(0, 1, 4, 2, 3), name).transpose(0, 1, 3, 4, 2)


def _line_layout(array: NDArray[Any], name: str) -> NDArray[Any]:
    """Return the array itself where each line of a tile is contiguous (pixels or planes), else a copy."""
    if array.flags.c_contiguous:
        return array
    planes = array.shape[-2] == 1 or array.strides[-2] == array.itemsize
    return array if planes or _is_interleaved(array) else copy_in_order(array, name)


def _is_interleaved(array: NDArray[Any]) -> bool:
    """Return whether the pixels of a line are adjacent, channel by channel: as csrc/arguments/images.cpp decides it."""
    w, c = array.shape[-2:]
    column, channel = array.strides[-2:]
    item = array.itemsize
    return (c == 1 or channel == item) and (w == 1 or column == c * item)
