"""Arrays of other libraries as NumPy arrays, and answers as theirs: torch by itself, others by DLPack.

What cannot be read as it is (masked, sparse, nested, quantised, without values) is refused, never read as something else.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ArgumentTypeError, ArgumentValueError, DeviceError, MissingExtraError

Library = Literal["numpy", "torch", "dlpack"]
FLOATS = ("float16", "bfloat16", "float32")
#: Names of the dtypes that some function takes: a tensor of another one is refused before NumPy sees it.
_USED = ("uint8", "bool", *FLOATS)
_NO_VALUES = "must be a tensor with values in memory, which tensors within vmap, grad or tracing do not have"
_CPU_DLPACK = 1


def as_array(x: Any, name: str) -> tuple[Any, Library, str, str]:
    """Return (array, library, dtype's name, device), or raise ArgumentTypeError.

    The array is NumPy in native byte order where it is on the CPU and of a dtype that some function takes. The caller
    must refuse other dtypes. A masked array is refused here, since its mask would be ignored.
    """
    if type(x) is np.ndarray:
        dtype, read_as = _describe(x.dtype)
        return (x, "numpy", dtype, "cpu") if read_as is None else _from_numpy(x, name)
    if is_torch(x):
        return _from_torch(x, name)
    if isinstance(x, np.ndarray):
        if isinstance(x, np.ma.MaskedArray):
            raise ArgumentTypeError(_masked_text(name))
        return _from_numpy(np.asarray(x), name)
    if hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__"):
        return _from_dlpack(x, name)
    raise ArgumentTypeError(
        f"{name} must be a NumPy array, a torch tensor or an array with __dlpack__, got {type(x).__name__}; "
        "a list of images of one shape becomes one with numpy.stack()"
    )


def give_back(answer: NDArray[Any], library: Library, source: Any) -> Any:
    """Return ``answer`` as an array of the library and on the device of ``source``."""
    if library == "torch":
        import torch

        if answer.dtype in (np.uint32, np.uint64):
            # torch has few operations for unsigned 32 and 64-bit integers; int64 holds every ssd
            answer = answer.astype(np.int64)
        return torch.from_numpy(np.ascontiguousarray(answer)).to(source.device)
    if library == "dlpack" and hasattr(source, "__array_namespace__"):
        return _to_library(answer, source.__array_namespace__())
    return answer


def is_torch(x: Any) -> bool:
    """Return whether ``x`` is a torch tensor, without importing torch: no tensor exists before somebody did."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def is_plain_bytes(x: Any) -> bool:
    """Return whether ``x`` is a torch tensor of uint8 whose values lie in memory one after the other, as nearly all are.

    Nothing of it needs to be converted or refused. What is none may still be usable: ``as_array`` tells.
    """
    torch = sys.modules.get("torch")
    if torch is None or type(x) is not torch.Tensor or x.dtype is not torch.uint8 or x.is_meta:
        return False
    if x.layout is not torch.strided or x.is_nested or not x.is_contiguous():
        return False
    try:
        return bool(x.untyped_storage().nbytes() >= x.storage_offset() + x.numel())
    except (NotImplementedError, RuntimeError):  # within vmap, grad or tracing
        return False


def check_dense(x: Any, name: str) -> None:
    """Raise ArgumentTypeError for a tensor whose values are not simply in memory: sparse, nested or masked."""
    import torch

    if x.layout is not torch.strided:
        raise ArgumentTypeError(f"{name} must be a dense tensor, got layout {x.layout}")
    if x.is_nested:
        raise ArgumentTypeError(
            f"{name} must be a dense tensor, got a nested one; pass one of its tensors at a time"
        )
    if type(x) is not torch.Tensor and any(c.__name__ == "MaskedTensor" for c in type(x).__mro__):
        raise ArgumentTypeError(_masked_text(name))


def check_in_memory(x: Any, name: str) -> None:
    """Raise for a tensor without values: what ``check_dense`` refuses, the meta device, and tensors within vmap."""
    check_dense(x, name)
    if x.is_meta:
        raise DeviceError(f"{name} must be on a device with memory, got meta")
    try:
        _check_storage(x, name)
    except (NotImplementedError, RuntimeError) as error:
        if isinstance(error, DeviceError):
            raise
        raise ArgumentTypeError(f"{name} {_NO_VALUES}: {_first_line(error)}") from None


def _check_storage(x: Any, name: str) -> None:
    """Raise DeviceError where a tensor's memory was freed, as sharded training does between steps: reading it crashes."""
    last = x.storage_offset() + sum((n - 1) * step for n, step in zip(x.shape, x.stride(), strict=True))
    held = x.untyped_storage().nbytes()
    if x.numel() and held < (last + 1) * x.element_size():
        raise DeviceError(
            f"{name} must have its values in memory, got a tensor of {tuple(x.shape)} whose storage has {held} bytes"
        )


def _from_numpy(x: NDArray[Any], name: str) -> tuple[NDArray[Any], Library, str, str]:
    dtype, read_as = _describe(x.dtype)
    if read_as is not None:
        try:
            x = x.view(read_as) if dtype == "bfloat16" else x.astype(read_as)
        except MemoryError:
            raise ArgumentValueError(
                f"{name} must be in native byte order, or small enough for a copy: {x.nbytes:,} bytes do not fit into memory"
            ) from None
    return x, "numpy", dtype, "cpu"


@functools.cache
def _describe(dtype: np.dtype[Any]) -> tuple[str, np.dtype[Any] | None]:
    """Return the dtype's name, and the dtype in which the core can read it where that is another one.

    Cached, since NumPy derives the name at each access, which takes a tenth of a short call's time.
    """
    name = dtype.name
    if name == "bfloat16":  # of the package ml_dtypes: the core takes its bits
        return name, np.dtype(np.uint16)
    return name, dtype.newbyteorder("=") if name in FLOATS and not dtype.isnative else None


def _from_dlpack(x: Any, name: str) -> tuple[Any, Library, str, str]:
    on_cpu = int(x.__dlpack_device__()[0]) == _CPU_DLPACK
    try:
        if on_cpu:
            array = np.from_dlpack(x)
            return array, "dlpack", array.dtype.name, "cpu"
        import torch

        tensor = torch.utils.dlpack.from_dlpack(x)
    except ModuleNotFoundError:
        raise MissingExtraError("torch", "gpu", f"{name} on a device") from None
    except (
        BufferError,
        RuntimeError,
        TypeError,
        ValueError,
        AssertionError,
    ) as error:  # the last: no CUDA in torch
        library = "NumPy" if on_cpu else "torch"
        raise ArgumentTypeError(
            f"{name} cannot be read by {library} over DLPack ({_first_line(error)}); pass a {library} array"
        ) from None
    return _from_torch(tensor, name)


def _from_torch(x: Any, name: str) -> tuple[Any, Library, str, str]:
    import torch

    check_dense(x, name)
    dtype = str(x.dtype).removeprefix("torch.")
    x = x.detach().resolve_neg()  # a view of -x differs from x by a bit of the tensor, not of its memory
    if x.device.type != "cpu" or dtype not in _USED:
        return x, "torch", dtype, str(x.device)
    try:
        _check_storage(x, name)
        if x.dtype is torch.bfloat16:
            return x.view(torch.int16).numpy().view(np.uint16), "torch", dtype, "cpu"
        return x.numpy(), "torch", dtype, "cpu"
    except (RuntimeError, TypeError) as error:
        if isinstance(error, DeviceError):
            raise
        raise ArgumentTypeError(f"{name} {_NO_VALUES}: {_first_line(error)}") from None


def _to_library(answer: NDArray[Any], library: Any) -> Any:
    """Return ``answer`` as the library's array; raise where that would change its values.

    A library without 64-bit numbers, as JAX is by default, cuts them to 32 bits without an error.
    """
    try:
        given = library.from_dlpack(answer)
        kept = np.from_dlpack(given)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise ArgumentTypeError(
            f"the answer is {answer.dtype.name}, which {library.__name__} does not take ({_first_line(error)}); "
            "pass NumPy arrays"
        ) from None
    if kept.dtype != answer.dtype and not np.array_equal(kept, answer):
        raise ArgumentTypeError(
            f"the answer is {answer.dtype.name}, and {library.__name__} cuts it to {kept.dtype.name}; pass NumPy "
            "arrays, or let the library keep 64 bits"
        )
    return given


def _masked_text(name: str) -> str:
    return (
        f"{name} must not be masked, since the mask would be ignored; fill the masked values, or leave out what they "
        "belong to"
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
