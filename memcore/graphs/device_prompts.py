"""Many prompts' graphs where their images stand, and what a budget asks of them, with one small transfer for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memcore import arrays
from memcore.backends import gpu
from memcore.clique import max_cliques
from memcore.errors import ArgumentTypeError, ArgumentValueError, DeviceError
from memcore.graphs.device_slots import CoreSlots, KernelSlots, Slots
from memcore.types import DEFAULT_NODE_LIMIT, DEFAULT_THRESHOLD, Clique, Graph, Threshold

if TYPE_CHECKING:
    import torch

#: Images of a prompt at most: what the clique kernel's sets of vertices hold.
MAX_CAPACITY = 1024


class DevicePrompts:
    """Graphs of up to ``slots`` prompts, of at most ``capacity`` generations each, that stay on their images' device.

    ``extend`` takes a sampler's batch, which may mix prompts, and decides the pairs with a new image: on a CUDA device
    images, block means and adjacency bits stay there, and nothing waits. ``largest`` answers for many prompts at once:
    there, 32 bytes a prompt and its clique as bits come to the host, which is what a ``sampling.budget`` needs to tell
    decided, hopeless and going on. ``graph`` has edges and distances of a prompt that is worth them. Every answer is
    ``PromptGraph``'s, bit for bit; on a CPU it is one for each slot.

    A CUDA device needs the extra "gpu". Where the core has no CUDA part (``memcore info``), ``largest`` brings the asked
    prompts' bits to the host, 32 kB each at 500 generations, and solves there. Never run on a GPU: docs/kernels.md says
    how it was tested.

    Parameters
    ----------
    slots, capacity
        Prompts at a time, and generations of each, at most 1,024. On a CUDA device room for all of them is taken at once:
        slots * capacity images.
    shape
        (H, W, C) of every image, H and W divided by ``grid``.
    threshold, grid, tile
        As in ``tiled_l2_graph``.
    device
        Where the images stand: "cuda", "cuda:1", or "cpu".
    threads
        For what is done on the CPU.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError, DeviceError, MissingExtraError

    Source: Carlini et al. 2023, section 4.2.1, decided while the sampler runs.

    >>> import memcore, torch
    >>> prompts = memcore.DevicePrompts(2, 8, (8, 8, 3), device="cpu")
    >>> batch = torch.zeros(4, 8, 8, 3, dtype=torch.uint8)
    >>> batch[3] = 255
    >>> prompts.extend(batch, [0, 0, 1, 1])  # two images of each prompt
    >>> [clique.members for clique in prompts.largest()]
    [(0, 1), (0,)]
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
        device: torch.device | str = "cuda",
        threads: int | None = None,
    ) -> None:
        count = arrays.check_count(slots, "slots")
        self.capacity = arrays.check_count(capacity, "capacity", 1, MAX_CAPACITY)
        if len(shape) != 3:
            raise ArgumentValueError(f"shape must be (height, width, channels), got {shape!r}")
        self.shape = shape
        self.threshold = Threshold(threshold)
        self.tile = arrays.tile_shape(shape, grid, tile)
        self.tile_bytes = self.tile[0] * self.tile[1] * shape[2]
        self._threads = threads
        self._slots = _make_slots(self, count, str(device))
        self._vertices: list[list[int]] = [[] for _ in range(count)]
        self._generated = [0] * count

    def __len__(self) -> int:
        """The number of slots."""
        return len(self._generated)

    def extend(
        self, images: torch.Tensor, slots: Sequence[int], *, exclude: NDArray[np.bool_] | None = None
    ) -> None:
        """Adds images (M, H, W, C) uint8, each to the prompt in the slot that ``slots`` (M,) names, in this order.

        Those marked in ``exclude`` (M,) count but get no edges, as in ``PromptGraph.extend``. A batch that does not fit
        is refused as a whole: ArgumentValueError where a slot would hold more than ``capacity``.
        """
        view = arrays.as_images(images, "images", channels="last", ndims=(4,))
        if view.is_float:
            raise ArgumentTypeError(f"images must be uint8, got {view.dtype}; memcore.to_uint8() converts")
        pixels, where = view.pixels[0], [self._check_slot(slot) for slot in slots]
        if view.image_shape != self.shape or len(where) != len(pixels):
            raise ArgumentValueError(
                f"images must have the shape {(len(where), *self.shape)}, one for each of slots, got "
                f"{(len(pixels), *view.image_shape)}"
            )
        if view.on_cpu != (self._slots.device == "cpu"):
            raise DeviceError(f"images must stand on {self._slots.device}, got {view.device}")
        keep = np.ones(len(where), dtype=np.bool_)
        if exclude is not None:
            mask = np.asarray(exclude)
            if mask.shape != keep.shape or mask.dtype != np.bool_:
                raise ArgumentValueError(
                    f"exclude must be bool of shape {keep.shape}, got {mask.dtype} {mask.shape}"
                )
            keep = ~mask
        for slot in set(where):
            count = self._generated[slot] + where.count(slot)
            if count > self.capacity:
                raise ArgumentValueError(
                    f"images must leave each slot at most capacity={self.capacity}, slot {slot} would have {count}"
                )
        kept = np.flatnonzero(keep).tolist()
        if len(kept) < len(where):
            pixels = pixels[kept]
        if kept:
            self._slots.extend(pixels, [where[n] for n in kept])
        for slot, is_kept in zip(where, keep.tolist(), strict=True):
            if is_kept:
                self._vertices[slot].append(self._generated[slot])
            self._generated[slot] += 1

    def generated(self, slot: int) -> int:
        """Generations of a slot so far, excluded ones among them."""
        return self._generated[self._check_slot(slot)]

    def excluded(self, slot: int) -> int:
        """Generations of a slot that count and have no edges."""
        return self._generated[self._check_slot(slot)] - len(self._vertices[slot])

    def largest(
        self,
        slots: Sequence[int] | None = None,
        *,
        min_size: int = 0,
        node_limit: int = DEFAULT_NODE_LIMIT,
    ) -> list[Clique]:
        """The maximum clique of each of ``slots``, by default of all, with bounds; waits for the device.

        Members are numbers of generations. A slot without one that is not excluded has the empty clique. With ``min_size``
        a prompt without a clique of it answers the empty one, most of them after one look at its rows. What the device
        leaves unproven within ``node_limit``, the CPU tries with the same limit.
        """
        chosen = list(range(len(self))) if slots is None else [self._check_slot(slot) for slot in slots]
        filled = [slot for slot in dict.fromkeys(chosen) if self._vertices[slot]]
        found: dict[int, Clique] = {}
        for slot, answer in self._slots.cliques(filled, min_size, node_limit).items():
            members = tuple(self._vertices[slot][m] for m in answer.members)
            found[slot] = Clique(members, answer.lower, answer.upper, answer.proven, answer.nodes)
        left = [slot for slot in filled if slot not in found]
        if left:
            graphs = [self._numbered(slot, g) for slot, g in zip(left, self._slots.edges(left), strict=True)]
            solved = max_cliques(
                graphs, min_size=max(1, min_size), node_limit=node_limit, threads=self._threads
            )
            found.update(zip(left, solved, strict=True))
        return [found.get(slot, Clique((), 0, 0, True)) for slot in chosen]

    def edge_counts(self, slots: Sequence[int]) -> list[int]:
        """Edges of each slot's graph: one transfer of 8 bytes a slot."""
        return self._slots.edge_counts([self._check_slot(slot) for slot in slots])

    def graph(self, slot: int) -> Graph:
        """The prompt's exact graph with its distances, on the host: that of ``PromptGraph`` over the same generations."""
        return self._numbered(self._check_slot(slot), self._slots.graph(slot))

    def images(self, slot: int) -> torch.Tensor:
        """(N, H, W, C) of a slot, a view on its device; excluded ones were not kept."""
        return self._slots.images(self._check_slot(slot))

    def pixels(self, slot: int, index: int) -> NDArray[np.uint8]:
        """(H, W, C) of the generation with this index, copied to the CPU."""
        if index not in self._vertices[self._check_slot(slot)]:
            raise ArgumentValueError(f"index {index} is not a kept generation of slot {slot}")
        return np.array(self._slots.images(slot)[self._vertices[slot].index(index)].cpu().numpy())

    def clear(self, slot: int) -> None:
        """Makes room for another prompt."""
        self._slots.clear(self._check_slot(slot))
        self._vertices[slot], self._generated[slot] = [], 0

    def _numbered(self, slot: int, kept: Graph) -> Graph:
        """A graph of a slot's kept images as one of all its generations."""
        edges = np.array(self._vertices[slot], dtype=np.int32)[kept.edges]
        stats = {**kept.stats, "excluded": self.excluded(slot)}
        return Graph(
            self._generated[slot],
            edges,
            kept.ssd,
            kept.distances,
            float(self.threshold.value),
            self.tile_bytes,
            stats=stats,
        )

    def _check_slot(self, slot: int) -> int:
        return arrays.check_count(slot, "slots", 0, len(self) - 1)


def _make_slots(prompts: DevicePrompts, count: int, device: str) -> Slots:
    kind = device.partition(":")[0]
    if kind == "cpu":
        return CoreSlots(
            count, prompts.capacity, prompts.shape, prompts.threshold, prompts.tile, prompts._threads
        )
    if kind != "cuda":
        raise DeviceError(f"device must be 'cpu' or a CUDA device, got {device!r}")
    usable, reason = gpu.available()
    if not usable:
        raise DeviceError(f"device={device!r} cannot be used: {reason}")
    return KernelSlots(count, prompts.capacity, prompts.shape, prompts.threshold, prompts.tile, device)


def fits(images: Any, capacity: int) -> bool:
    """Whether ``DevicePrompts`` takes prompts of so many of these images: tensors on a CPU or a CUDA device."""
    return arrays.is_torch(images) and images.device.type in ("cpu", "cuda") and capacity <= MAX_CAPACITY
