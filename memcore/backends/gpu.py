"""The Triton kernels for CUDA tensors, with the interface of the oracle. Only functions import torch and triton."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memcore._install import install_command
from memcore.errors import ArgumentValueError, DeviceError, MissingExtraError
from memcore.types import Channels

if TYPE_CHECKING:
    import torch

#: The least compute capability of the kernels, which need int8 matrix units and asynchronous copies.
MIN_CAPABILITY = (8, 0)
#: Distances that are computed at a time.
PART = 1 << 23


def available() -> tuple[bool, str]:
    """Return whether CUDA tensors can be compared here, and on which device, or why not."""
    for package in ("torch", "triton"):
        if importlib.util.find_spec(package) is None:
            return False, f"{package} is not installed: {install_command('gpu')}"
    import torch

    if not torch.cuda.is_available():
        return False, "torch finds no CUDA device"
    name, capability = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    if capability < MIN_CAPABILITY:
        return False, _too_old(name, capability)
    return True, f"{name}, compute capability {capability[0]}.{capability[1]}"


def tiled_l2_ssd(
    images: torch.Tensor,
    other: torch.Tensor | None,
    tile: tuple[int, int],
    channels: Channels = "last",
) -> torch.Tensor:
    """Return the ssd (B, N, M) int64 of images (B, N, H, W, C), (B, M, H, W, C) uint8 on their device, or all without B.

    ``channels="first"`` takes (B, N, C, H, W). Images are read in place, whatever their strides. The work is queued on
    the current stream: this returns before it is done.
    """
    kernels = _kernels(images)
    ssd: torch.Tensor = kernels.tiled_l2_ssd(images, other, tile=tile, channels=channels)
    return ssd


def tiled_l2_graph(
    images: torch.Tensor, tile: tuple[int, int], ssd_max: int, channels: Channels = "last"
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return edges (E, 2) with i < j, sorted, and their ssd, of images (N, H, W, C); only these leave the device."""
    edges, ssd = edges_within(tiled_l2_ssd(images, None, tile, channels), ssd_max)
    return edges.cpu().numpy(), ssd.cpu().numpy()


def to_distances(ssd: torch.Tensor, k: int) -> torch.Tensor:
    """Return sqrt(ssd / (K * 255^2)) float32 of int64 on their device, computed in float64 and rounded once.

    A part after the other, since all of it in float64 would take more memory than the answer and ssd together.
    """
    import torch

    distances = torch.empty_like(ssd, dtype=torch.float32)
    # On the device: to divide by a number, torch multiplies there by its reciprocal, which can round to another one.
    largest = torch.full((), k * 255**2, dtype=torch.float64, device=ssd.device)
    sums, answers = ssd.reshape(-1), distances.view(-1)
    for first in range(0, sums.numel(), PART):
        part = sums[first : first + PART].double()
        answers[first : first + PART] = part.div_(largest).sqrt_()
    return distances


def knn(queries: torch.Tensor, corpus: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ssd and indices (Q, k) int64 of queries (Q, D) and a corpus (N, D) uint8, nearest first, ties by index.

    Both are on the same device as the arguments. The work is queued on the current stream: this returns before it is done.
    """
    _kernels(queries)
    from memcore_kernels import knn as kernel

    if k > kernel.MAX_K:
        raise ArgumentValueError(
            f"k must be at most {kernel.MAX_K} on a GPU, got {k}; queries.cpu() and corpus.cpu() take any"
        )
    ssd, indices = kernel.knn(queries, corpus, k)
    return ssd, indices


def device_graphs(
    slots: int,
    capacity: int,
    shape: tuple[int, int, int],
    tile: tuple[int, int],
    ssd_max: int,
    device: str,
    expected: int | None = None,
) -> Any:
    """Return ``memcore_kernels.DeviceGraphs``, or raise MissingExtraError where triton is not installed."""
    if importlib.util.find_spec("triton") is None:
        raise MissingExtraError("triton", "gpu", "graphs on a CUDA device")
    import memcore_kernels

    return memcore_kernels.DeviceGraphs(
        slots, capacity, shape, tile=tile, ssd_max=ssd_max, device=device, expected=expected
    )


def edges_within(ssd: torch.Tensor, ssd_max: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return edges (E, 2) int32 with i < j, sorted, and their ssd (E,), of all ssd (N, N) int64, on its device.

    Waits for the device, since the answer's size is the number of edges.
    """
    import torch

    pairs = (ssd <= ssd_max).triu(1).nonzero()  # row by row, so sorted by (i, j)
    i, j = pairs.unbind(1)
    return pairs.to(torch.int32), ssd[i, j]


def _kernels(images: torch.Tensor) -> Any:
    """Return the package of kernels, or raise where it cannot run on the images' device."""
    if importlib.util.find_spec("triton") is None:
        raise MissingExtraError("triton", "gpu", "comparing CUDA tensors")
    import torch

    if images.is_cuda:
        capability = torch.cuda.get_device_capability(images.device)
        if capability < MIN_CAPABILITY:
            reason = _too_old(torch.cuda.get_device_name(images.device), capability)
            raise DeviceError(f"images are on {images.device}: {reason}; call images.cpu() first")
    import memcore_kernels

    return memcore_kernels


def _too_old(name: str, capability: tuple[int, int]) -> str:
    have, need = (".".join(map(str, c)) for c in (capability, MIN_CAPABILITY))
    return f"{name} has compute capability {have}, the kernels need {need}"
