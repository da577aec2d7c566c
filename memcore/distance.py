"""Tiled l2 between images: the distance of the paper, exact for uint8."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from memcore import arrays, interop
from memcore.arrays import ImageArray
from memcore.backends import reference
from memcore.errors import ArgumentTypeError, ArgumentValueError, DeviceError
from memcore.types import Backend, Channels, Output

if TYPE_CHECKING:
    import torch


@overload
def pairwise_tiled_l2(
    images: NDArray[Any],
    other: NDArray[Any] | None = None,
    *,
    grid: tuple[int, int] = (4, 4),
    tile: tuple[int, int] | None = None,
    output: Literal["distance"] = "distance",
    out: NDArray[Any] | None = None,
    channels: Channels | None = None,
    backend: Backend = "auto",
    threads: int | None = None,
) -> NDArray[np.float32]: ...


@overload
def pairwise_tiled_l2(
    images: NDArray[Any],
    other: NDArray[Any] | None = None,
    *,
    grid: tuple[int, int] = (4, 4),
    tile: tuple[int, int] | None = None,
    output: Literal["ssd"],
    out: NDArray[Any] | None = None,
    channels: Channels | None = None,
    backend: Backend = "auto",
    threads: int | None = None,
) -> NDArray[np.unsignedinteger[Any]]: ...


@overload
def pairwise_tiled_l2(
    images: torch.Tensor,
    other: torch.Tensor | None = None,
    *,
    grid: tuple[int, int] = (4, 4),
    tile: tuple[int, int] | None = None,
    output: Output = "distance",
    out: None = None,
    channels: Channels | None = None,
    backend: Backend = "auto",
    threads: int | None = None,
) -> torch.Tensor: ...


@overload
def pairwise_tiled_l2(
    images: Any,
    other: Any | None = None,
    *,
    grid: tuple[int, int] = (4, 4),
    tile: tuple[int, int] | None = None,
    output: Output = "distance",
    out: Any | None = None,
    channels: Channels | None = None,
    backend: Backend = "auto",
    threads: int | None = None,
) -> Any: ...


def pairwise_tiled_l2(
    images: Any,
    other: Any | None = None,
    *,
    grid: tuple[int, int] = (4, 4),
    tile: tuple[int, int] | None = None,
    output: Output = "distance",
    out: Any | None = None,
    channels: Channels | None = None,
    backend: Backend = "auto",
    threads: int | None = None,
) -> Any:
    """Return the tiled l2 of all pairs of images, in [0, 1].

    Tiled l2 is the maximum over tiles of sqrt(ssd / (K * 255^2)): ssd is the sum of squared differences of a tile, K its
    number of values.

    Parameters
    ----------
    images
        (N, H, W, C), or (B, N, H, W, C) for B independent sets; torch tensors are channels first, (N, C, H, W). uint8,
        or float16, bfloat16 or float32 with values in [0, 1].
    other
        A second set (M, H, W, C) to compare with, by default ``images`` itself.
    grid, tile
        ``grid`` cuts each image into that many rows and columns of tiles (4 x 4: the paper's 128-pixel tiles at 512);
        ``tile`` gives their height and width in pixels instead. The tiles must cover the image exactly.
    output
        "distance": float32 in [0, 1]. "ssd", for uint8 images only: the exact integer of the largest tile, uint32 (uint64
        where a tile of K > 66,051 bytes could exceed it; torch gets int64).
    out
        A NumPy array of the answer's shape and dtype to write into.
    channels
        "first" or "last", where the channels are not where the library usually has them.
    backend
        "auto": the device's own. "reference": the int64 oracle in NumPy. "cpu": the native core. "gpu": CUDA tensors.
    threads
        CPU threads, by default all that the process may use. The answer does not depend on them.

    Returns
    -------
    array
        (N, N), or (N, M) with ``other``; (B, N, N) or (B, N, M) for batches; of the caller's library, on the caller's
        device. For uint8 images it is bit-identical on every backend and machine. For float images the sums are float32:
        the relative error of a distance is at most K * 2^-24, in practice near 1e-6.

    Raises
    ------
    ArgumentTypeError
        The array's kind or dtype is not accepted.
    ArgumentValueError
        A shape, a value or an option cannot be used.
    DeviceError
        The backend cannot reach the array's device, or the two arrays are on different devices.

    References
    ----------
    Carlini et al. 2023, section 4.2.1: the maximum over 16 tiles, since plain l2 pairs up images that only share a flat
    background.

    Examples
    --------
    >>> import numpy as np, memcore
    >>> images = np.zeros((3, 64, 64, 3), dtype=np.uint8)
    >>> images[1, :16, :16] = 255          # one white tile of 16
    >>> memcore.pairwise_tiled_l2(images)
    array([[0., 1., 0.],
           [1., 0., 1.],
           [0., 1., 0.]], dtype=float32)
    """
    if output not in ("distance", "ssd"):
        raise ArgumentValueError(f"output must be 'distance' or 'ssd', got {output!r}")
    workers = arrays.check_threads(threads)
    left = arrays.as_images(images, "images", channels=channels)
    right = None if other is None else arrays.as_images(other, "other", channels=channels)
    if right is not None:
        arrays.check_same_kind(left, right, "other", "images")
        if (
            right.on_cpu
            and (pixels := arrays.in_order_of(left.pixels, right.pixels, "other")) is not right.pixels
        ):
            right = dataclasses.replace(right, pixels=pixels)
    tile_hw = arrays.tile_shape(left.image_shape, grid, tile)
    chosen = choose_backend(backend, left)
    if left.is_float and output == "ssd":
        raise ArgumentValueError(f"output='ssd' is an integer of uint8 images, got {left.dtype} images")
    k = tile_hw[0] * tile_hw[1] * left.image_shape[2]
    target = _check_out(out, left, right, output, k)

    if chosen == "gpu":
        answer = _on_gpu(left, right, tile_hw, output, k)
        return answer if left.batched else answer[0]
    if left.is_float:
        check_unit_interval(left, "images")
        if right is not None:
            check_unit_interval(right, "other")
        result: NDArray[Any] = _float_distances(left, right, tile_hw, chosen, workers)
    else:
        direct = target if output == "ssd" and target is not None and target.flags.aligned else None
        result = _ssd(left, right, tile_hw, chosen, workers, direct)
        if output == "distance":
            result = ssd_to_distance(result, k)
    answer = result if left.batched else result[0]
    if target is not None:
        if answer.base is not target and answer is not target:
            np.copyto(target.reshape(answer.shape), answer)
        return out
    return left.give_back(answer)


#: Sums that are converted at a time: Ctrl-C is answered between, and they stay in the cache.
_CONVERTED = 1 << 18


def ssd_to_distance(ssd: NDArray[Any], tile_bytes: int) -> NDArray[np.float32]:
    """Return sqrt(ssd / (K * 255^2)), computed in float64 and rounded once: the same bits everywhere."""
    if ssd.size > _CONVERTED:
        sums, distances = ssd.reshape(-1), np.empty(ssd.shape, np.float32)
        answer = distances.reshape(-1)
        for start in range(0, ssd.size, _CONVERTED):
            piece = slice(start, start + _CONVERTED)
            answer[piece] = ssd_to_distance(sums[piece], tile_bytes)
        return distances
    scaled = ssd.astype(np.float64)
    scaled /= tile_bytes * 255**2
    np.sqrt(scaled, out=scaled)
    return scaled.astype(np.float32)


@overload
def to_uint8(images: NDArray[Any]) -> NDArray[np.uint8]: ...


@overload
def to_uint8(images: torch.Tensor) -> torch.Tensor: ...


@overload
def to_uint8(images: Any) -> Any: ...


def to_uint8(images: Any) -> Any:
    """Convert float images in [0, 1] to uint8, rounding as diffusers does when it saves: round(255 x), halves to even.

    Parameters
    ----------
    images
        NumPy array, torch tensor or array with ``__dlpack__``, of any shape: float16, bfloat16, float32 or float64. uint8
        is returned unchanged.

    Returns
    -------
    array
        uint8 of the same shape, of the same library, on the same device.

    Raises
    ------
    ArgumentTypeError
        The array's kind or dtype is not accepted.
    ArgumentValueError
        A value is NaN or outside [0, 1]. Images of a pipeline that answers in [-1, 1] must be shifted first. Or the images
        do not fit into memory as float32.
    DeviceError
        The tensor is on the meta device, so it has no values.

    Examples
    --------
    >>> import numpy as np, memcore
    >>> memcore.to_uint8(np.array([0.0, 0.5, 1.0], dtype=np.float32))
    array([  0, 128, 255], dtype=uint8)
    """
    try:
        return _round_to_uint8(images)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "allocate memory" in str(
            error
        ):  # torch has no type of its own for it
            raise ArgumentValueError(
                f"images {tuple(images.shape)} do not fit into memory as float32, in which they are rounded; "
                "convert them in parts"
            ) from None
        raise


def _round_to_uint8(images: Any) -> Any:
    if interop.is_torch(images):
        import torch

        interop.check_in_memory(images, "images")
        if images.dtype is torch.uint8:
            return images
        if not images.dtype.is_floating_point:
            raise ArgumentTypeError(f"images must be floats in [0, 1] or uint8, got {images.dtype}")
        wide = images.float()
        if wide.numel() and not bool(((wide >= 0) & (wide <= 1)).all()):
            raise ArgumentValueError(_range_text("images", float(wide.min()), float(wide.max())))
        return (wide * 255).round().to(torch.uint8)
    array, library, dtype, _ = interop.as_array(images, "images")
    if library == "torch":  # from another library's device
        return to_uint8(array)
    if dtype == "uint8":
        return images
    if array.dtype.kind != "f" and dtype != "bfloat16":
        raise ArgumentTypeError(f"images must be floats in [0, 1] or uint8, got {dtype}")
    wide = _from_bfloat16(array) if dtype == "bfloat16" else array.astype(np.float32, copy=False)
    if wide.size and not bool(((wide >= 0) & (wide <= 1)).all()):
        raise ArgumentValueError(_range_text("images", float(wide.min()), float(wide.max())))
    return interop.give_back(np.rint(wide * np.float32(255)).astype(np.uint8), library, images)


def choose_backend(backend: Backend, images: ImageArray) -> Backend:
    """Return the backend for these images, or raise an error that says why the requested one cannot take them."""
    if backend not in ("auto", "reference", "cpu", "gpu"):
        raise ArgumentValueError(f"backend must be 'auto', 'reference', 'cpu' or 'gpu', got {backend!r}")
    if images.on_cpu:
        if backend == "gpu":
            raise DeviceError(
                "backend='gpu' needs images on a CUDA device, got CPU images; call images.cuda() first"
            )
        return "cpu" if backend == "auto" else backend
    if backend in ("reference", "cpu"):
        raise DeviceError(
            f"backend={backend!r} needs images on the CPU, got {images.device}; call images.cpu() first"
        )
    if not images.device.startswith("cuda"):
        hint = "" if images.device == "meta" else "; call images.cpu()"  # a meta tensor has no values to copy
        raise DeviceError(f"images must be on the CPU or a CUDA device, got {images.device}{hint}")
    return "gpu"


def check_unit_interval(images: ImageArray, name: str) -> None:
    """Raise unless all values of float images lie in [0, 1]."""
    from memcore.backends import cpu

    at = cpu.first_outside_unit_interval(images.pixels, images.bfloat16)
    if at >= 0:
        index = tuple(int(i) for i in np.unravel_index(at, images.pixels.shape))
        raise ArgumentValueError(
            f"{name} must lie in [0, 1] without NaN, got another value at (batch, image, row, column, channel) = {index}; "
            "a pipeline that answers in [-1, 1] gives (x + 1) / 2"
        )


def _ssd(
    left: ImageArray,
    right: ImageArray | None,
    tile: tuple[int, int],
    backend: Backend,
    threads: int,
    out: NDArray[Any] | None,
) -> NDArray[Any]:
    other = None if right is None else right.pixels
    if backend == "reference":
        return reference.tiled_l2_ssd(left.pixels, other, tile)
    from memcore.backends import cpu

    if out is not None and not left.batched:
        out = out[None]
    return cpu.tiled_l2_ssd(left.pixels, other, tile, threads, out)


def _float_distances(
    left: ImageArray, right: ImageArray | None, tile: tuple[int, int], backend: Backend, threads: int
) -> NDArray[np.float32]:
    other = None if right is None else right.pixels
    if backend == "reference":
        widen = _from_bfloat16 if left.bfloat16 else np.asarray
        wide = None if other is None else widen(other)
        return reference.tiled_l2_float(widen(left.pixels), wide, tile).astype(np.float32)
    from memcore.backends import cpu

    return cpu.tiled_l2_float(left.pixels, other, tile, threads, left.bfloat16)


def _from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _on_gpu(left: ImageArray, right: ImageArray | None, tile: tuple[int, int], output: Output, k: int) -> Any:
    if left.is_float:
        raise ArgumentTypeError(
            f"images on {left.device} must be uint8, got {left.dtype}; memcore.to_uint8(images) rounds as diffusers "
            "saves, images.cpu() computes float distances"
        )
    from memcore.backends import gpu

    ssd = gpu.tiled_l2_ssd(left.pixels, None if right is None else right.pixels, tile)
    return ssd if output == "ssd" else gpu.to_distances(ssd, k)


def _check_out(
    out: Any, left: ImageArray, right: ImageArray | None, output: Output, k: int
) -> NDArray[Any] | None:
    if out is None:
        return None
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray) or left.library != "numpy":
        raise ArgumentTypeError(f"out must be a NumPy array, with NumPy images, got {type(out).__name__}")
    n = left.pixels.shape[1]
    m = n if right is None else right.pixels.shape[1]
    shape = (left.pixels.shape[0], n, m) if left.batched else (n, m)
    dtype = np.dtype(np.float32 if output == "distance" else arrays.ssd_dtype(k))
    if out.shape != shape or out.dtype != dtype:
        raise ArgumentValueError(f"out must be {dtype.name} of shape {shape}, got {out.dtype} of {out.shape}")
    if not out.flags.c_contiguous or not out.flags.writeable:
        raise ArgumentValueError("out must be C-contiguous and writeable")
    return out


def _range_text(name: str, low: float, high: float) -> str:
    return (
        f"{name} must lie in [0, 1] without NaN, got values from {low:g} to {high:g}; "
        "a pipeline that answers in [-1, 1] gives (x + 1) / 2"
    )
