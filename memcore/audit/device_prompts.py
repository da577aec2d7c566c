"""Many prompts' graphs on a CUDA device, and what a budget asks of them, with one small transfer for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from memcore import arrays
from memcore.backends import gpu, gpu_clique
from memcore.types import DEFAULT_NODE_LIMIT, DEFAULT_THRESHOLD, Threshold

if TYPE_CHECKING:
    import torch


class DevicePrompts:
    """Graphs of up to ``slots`` prompts, of at most ``capacity`` generations each, that stay on their CUDA device.

    ``extend`` takes a sampler's batch, which may mix prompts; it decides pairs with a new image and waits for nothing.
    ``largest`` answers for all prompts at once: 32 bytes a prompt and the clique as bits come to the host. That is what a
    ``sampling.budget`` needs to tell decided, hopeless and going on. Edges, distances and findings of a prompt that is
    worth them are those of ``images(slot)`` under ``PromptGraph``. Needs the extra "gpu", and the core's CUDA part for
    ``largest``. Never run on a GPU: docs/kernels.md says how it was tested.

    Parameters
    ----------
    shape
        (H, W, C) of every image, H and W divided by ``grid``.
    threshold, grid, tile
        As in ``tiled_l2_graph``.
    device
        Where the images stand.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError, DeviceError, MissingExtraError; ValueError where a slot is full.
    """

    def __init__(
        self,
        slots: int,
        capacity: int,
        shape: tuple[int, int, int],
        threshold: float = DEFAULT_THRESHOLD,
        *,
        grid: tuple[int, int] = (4, 4),
        tile: tuple[int, int] | None = None,
        device: str = "cuda",
    ) -> None:
        cut = arrays.tile_shape(shape, grid, tile)
        ssd_max = Threshold(threshold).ssd_max(cut[0] * cut[1] * shape[2])
        self._graphs = gpu.device_graphs(slots, capacity, shape, cut, ssd_max, device)

    def extend(self, images: torch.Tensor, slots: Sequence[int]) -> None:
        """Adds images (M, H, W, C) uint8, each to the prompt in the slot that ``slots`` (M,) names, in this order."""
        self._graphs.extend(images, list(slots))

    def largest(self, *, min_size: int = 0, node_limit: int = DEFAULT_NODE_LIMIT) -> list[gpu_clique.Found]:
        """The maximum clique of each slot, with bounds; waits for the device.

        With ``min_size`` a prompt without a clique of it answers the empty one, most of them after one look at its rows.
        """
        bits: torch.Tensor = self._graphs.bits
        return gpu_clique.to_host(*gpu_clique.max_cliques(bits, min_size=min_size, node_limit=node_limit))

    def images(self, slot: int) -> torch.Tensor:
        """(N, H, W, C) of a slot, a view on the device."""
        images: torch.Tensor = self._graphs.images[slot, : self._graphs.counts[slot]]
        return images

    def clear(self, slot: int) -> None:
        """Makes room for another prompt."""
        self._graphs.clear(slot)
