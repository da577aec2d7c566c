"""The two kinds of slots under ``DevicePrompts``: images with their graphs, on a CUDA device or on the CPU.

Positions here count the images that were kept; ``DevicePrompts`` knows which generations they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from memcore.backends import gpu, gpu_clique
from memcore.graph import tiled_l2_graph
from memcore.graphs.prompt_graph import PromptGraph
from memcore.types import Graph, Threshold

if TYPE_CHECKING:
    import torch

Shape = tuple[int, int, int]


class SlotRun(NamedTuple):
    """``length`` images of one slot that follow each other in a batch, from row ``first`` on."""

    slot: int
    first: int
    length: int


class Slots(Protocol):
    """Graphs of several prompts on ``device``, one a slot."""

    device: str

    def extend(self, pixels: Any, runs: Sequence[SlotRun]) -> None:
        """Add images (M, H, W, C) uint8; the runs name all rows, in their order."""
        ...

    def cliques(
        self, slots: list[int], min_size: int, node_limit: int
    ) -> dict[int, tuple[gpu_clique.Found, int]]:
        """Return the maximum clique, where it was proven, and the number of edges of slots that are solved on their device.

        One transfer answers for all of them.
        """
        ...

    def edges(self, slots: list[int]) -> list[Graph]:
        """Return the slots' graphs on the host; they may lack distances."""
        ...

    def edge_counts(self, slots: list[int]) -> list[int]:
        """Return the number of edges of each slot's graph."""
        ...

    def graph(self, slot: int) -> Graph:
        """Return a slot's graph on the host, with ssd and distances."""
        ...

    def images(self, slot: int) -> torch.Tensor:
        """Return a slot's images (N, H, W, C) on their device."""
        ...

    def clear(self, slot: int) -> None:
        """Empty a slot."""
        ...


class KernelSlots:
    """Slots on a CUDA device: graphs by ``memcore_kernels``, cliques by the core's CUDA part where it was built."""

    def __init__(
        self,
        count: int,
        capacity: int,
        shape: Shape,
        threshold: Threshold,
        tile: tuple[int, int],
        device: str,
    ) -> None:
        self.device = device
        self._threshold, self._tile = threshold, tile
        self._tile_bytes = tile[0] * tile[1] * shape[2]
        ssd_max = threshold.ssd_max(self._tile_bytes)
        self._graphs = gpu.device_graphs(count, capacity, shape, tile, ssd_max, device)

    def extend(self, pixels: Any, runs: Sequence[SlotRun]) -> None:
        """Add images on the device; nothing waits for it."""
        import torch

        self._graphs.extend(torch.as_tensor(pixels), runs)

    def cliques(
        self, slots: list[int], min_size: int, node_limit: int
    ) -> dict[int, tuple[gpu_clique.Found, int]]:
        """Return proven cliques and numbers of edges by one transfer; nothing without the core's CUDA part."""
        import torch

        if not slots or not gpu_clique.available()[0]:
            return {}
        chosen = index_on(self._graphs.bits, slots)
        bits = self._graphs.bits.index_select(0, chosen)
        members, bounds = gpu_clique.max_cliques(bits, min_size=min_size, node_limit=node_limit)
        edges = self._graphs.degrees().index_select(0, chosen).sum(1, keepdim=True) // 2
        # The only wait for the device: members, bounds and edges of all slots in one transfer.
        rows = torch.cat([members.long(), bounds, edges.long()], dim=1).cpu().tolist()
        words = members.shape[1]
        found = [
            (slot, gpu_clique.read_found(row, words), row[-1]) for slot, row in zip(slots, rows, strict=True)
        ]
        return {slot: (answer, count) for slot, answer, count in found if answer.proven}

    def edges(self, slots: list[int]) -> list[Graph]:
        """Return the slots' graphs without distances: their bits come to the host in one transfer."""
        bits = self._graphs.bits.index_select(
            0, index_on(self._graphs.bits, slots)
        ).cpu()  # one transfer for all slots
        graphs = []
        for slot, rows in zip(slots, bits, strict=True):
            count = self._graphs.counts[slot]
            adjacency = gpu_clique.unpack(rows[:count], count).numpy()
            edges = np.argwhere(np.triu(adjacency, 1)).astype(np.int32)
            value = float(self._threshold.value)
            graphs.append(Graph(count, edges, None, np.empty(0, np.float32), value, self._tile_bytes))
        return graphs

    def edge_counts(self, slots: list[int]) -> list[int]:
        """Return the number of edges of each slot's graph, by one transfer."""
        degrees = self._graphs.degrees().index_select(0, index_on(self._graphs.bits, slots))
        counts: list[int] = (degrees.sum(1) // 2).cpu().tolist()
        return counts

    def graph(self, slot: int) -> Graph:
        """Return a slot's graph with its distances, which are computed for this answer."""
        return tiled_l2_graph(self.images(slot), self._threshold.value, tile=self._tile, channels="last")

    def images(self, slot: int) -> torch.Tensor:
        """Return a slot's images, a view on the device."""
        images: torch.Tensor = self._graphs.images[slot, : self._graphs.counts[slot]]
        return images

    def clear(self, slot: int) -> None:
        """Empty a slot; its memory is used again."""
        self._graphs.clear(slot)


class CoreSlots:
    """Slots on the CPU: a ``PromptGraph`` each, by the native core."""

    device = "cpu"

    def __init__(
        self,
        count: int,
        capacity: int,
        shape: Shape,
        threshold: Threshold,
        tile: tuple[int, int],
        threads: int | None,
    ) -> None:
        def empty() -> PromptGraph:
            return PromptGraph(
                shape, threshold.value, tile=tile, channels="last", threads=threads, capacity=capacity
            )

        self._empty = empty
        self._graphs = [empty() for _ in range(count)]

    def extend(self, pixels: Any, runs: Sequence[SlotRun]) -> None:
        """Add images, each slot's in one call."""
        rows: dict[int, list[slice]] = {}
        for run in runs:
            rows.setdefault(run.slot, []).append(slice(run.first, run.first + run.length))
        for slot, parts in rows.items():
            images = [pixels[part] for part in parts]  # a sampler's batch has one part: no copy
            self._graphs[slot].extend(images[0] if len(images) == 1 else np.concatenate(images))

    def cliques(
        self, slots: list[int], min_size: int, node_limit: int
    ) -> dict[int, tuple[gpu_clique.Found, int]]:
        """Return nothing: ``DevicePrompts`` solves the graphs of ``edges`` on the CPU."""
        return {}

    def edges(self, slots: list[int]) -> list[Graph]:
        """Return the slots' graphs, with distances."""
        return [self._graphs[slot].graph() for slot in slots]

    def edge_counts(self, slots: list[int]) -> list[int]:
        """Return the number of edges of each slot's graph."""
        return [len(self._graphs[slot].graph()) for slot in slots]

    def graph(self, slot: int) -> Graph:
        """Return a slot's graph with its distances."""
        return self._graphs[slot].graph()

    def images(self, slot: int) -> torch.Tensor:
        """Return a slot's images as a tensor that shares their memory."""
        import torch

        return torch.from_numpy(self._graphs[slot].images())

    def clear(self, slot: int) -> None:
        """Replace a slot's graph by an empty one."""
        self._graphs[slot] = self._empty()


def take(pixels: Any, rows: NDArray[np.int64]) -> Any:
    """Return these rows of an array or a tensor (M, H, W, C)."""
    return pixels[rows] if isinstance(pixels, np.ndarray) else pixels.index_select(0, index_on(pixels, rows))


def index_on(tensor: torch.Tensor, rows: Sequence[int] | NDArray[np.int64]) -> torch.Tensor:
    """Return row numbers as an index on the tensor's device, copied without waiting, as indexing by a list would."""
    import torch

    index = torch.as_tensor(rows, dtype=torch.int64)
    return index.pin_memory().to(tensor.device, non_blocking=True) if tensor.is_cuda else index
