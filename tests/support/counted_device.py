"""A device that costs nothing: kernels that only count their launches, over tensors of the CPU.

``counted_device`` sends an audit's tensors the way of a CUDA device of compute capability 9.0. Nothing is computed there: no
graph has an edge, and each clique is proven to be of one image.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch
from memcore_kernels import intake, threshold_graph

from memcore.backends import gpu, gpu_clique
from memcore.graphs import device_prompts, start
from memcore.graphs.device_slots import KernelSlots
from memcore.sampling import watch

#: Of images that take the kernels' usual way: lines of 64 bytes, which the copy engine takes, and blocks with means.
SHAPE = (4, 256, 1)


class CountedKernel:
    """What stands for a Triton kernel: ``kernel[grid](...)`` adds its name to ``launched``."""

    def __init__(self, name: str, launched: list[str]) -> None:
        self._name, self._launched = name, launched

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        """Return the launcher for a grid."""
        return self._launch

    def _launch(self, *arguments: Any, **constants: Any) -> None:
        self._launched.append(self._name)
        if self._name == "degrees_kernel":
            arguments[1].zero_()


@contextlib.contextmanager
def counted_device() -> Iterator[list[str]]:
    """Let CPU tensors be taken for a device's, and yield the names of the kernels that are launched, as they are."""
    launched: list[str] = []
    taken = 0

    def cliques(bits: torch.Tensor, *, min_size: int, node_limit: int) -> tuple[torch.Tensor, torch.Tensor]:
        launched.append("max_clique")
        bounds = np.zeros((len(bits), 4), np.int64)
        bounds[:, 2] = 1
        return torch.from_numpy(np.zeros((len(bits), bits.shape[2]), np.int32)), torch.from_numpy(bounds)

    def has_cliques(
        bits: torch.Tensor, *, min_size: int, node_limit: int, slots: torch.Tensor | None = None
    ) -> torch.Tensor:
        launched.append("has_clique")
        return torch.from_numpy(np.zeros((len(bits if slots is None else slots), 2), np.int32))

    def checksums(pixels: torch.Tensor) -> Any:
        nonlocal taken
        launched.append("checksums")
        taken += len(pixels)
        return np.arange(taken - len(pixels), taken)

    with contextlib.ExitStack() as stack:
        for module, name in (
            (intake, "intake_kernel"),
            (threshold_graph, "candidates_kernel"),
            (threshold_graph, "verify_kernel"),
            (threshold_graph, "degrees_kernel"),
        ):
            stack.enter_context(mock.patch.object(module, name, CountedKernel(name, launched)))
        for owner, name, value in (
            (threshold_graph, "INTERPRETED", True),
            (threshold_graph, "capability_of", lambda device: (9, 0)),
            (gpu_clique, "available", lambda: (True, "")),
            (gpu_clique, "max_cliques", cliques),
            (gpu_clique, "has_cliques", has_cliques),
            (gpu, "available", lambda: (True, "")),
            (start, "on_device", lambda pixels: True),
            (watch, "checksums", checksums),
            (
                device_prompts,
                "_make_slots",
                lambda p, count, device: KernelSlots(
                    count, p.capacity, p.shape, p.threshold, p.tile, device, p._expected
                ),
            ),
        ):
            stack.enter_context(mock.patch.object(owner, name, value))
        yield launched
