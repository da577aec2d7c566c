"""What ``DevicePrompts`` stands on: slots of images with their graphs, on a CUDA device or on the CPU.

Positions here count the images that were kept; ``DevicePrompts`` knows which generations they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from memcore.backends import gpu, gpu_clique
from memcore.graph import tiled_l2_graph
from memcore.graphs.prompt_graph import PromptGraph
from memcore.types import Graph, Threshold

if TYPE_CHECKING:
    import torch

Shape = tuple[int, int, int]


class Slots(Protocol):
    """Graphs of several prompts, side by side on ``device``."""

    device: str

    def extend(self, pixels: Any, slots: list[int]) -> None:
        """Adds images (M, H, W, C) uint8, each to its slot, in this order."""
        ...

    def cliques(self, slots: list[int], min_size: int, node_limit: int) -> dict[int, gpu_clique.Found]:
        """Proven maximum cliques of those slots that are solved where they stand."""
        ...

    def edges(self, slots: list[int]) -> list[Graph]:
        """The slots' graphs on the host; their distances may be left out."""
        ...

    def edge_counts(self, slots: list[int]) -> list[int]: ...

    def graph(self, slot: int) -> Graph:
        """A slot's graph on the host, with ssd and distances."""
        ...

    def images(self, slot: int) -> torch.Tensor: ...

    def clear(self, slot: int) -> None: ...


class KernelSlots:
    """On a CUDA device: the graphs of ``memcore_kernels``, cliques by the core's CUDA part where it was built."""

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

    def extend(self, pixels: Any, slots: list[int]) -> None:
        import torch

        self._graphs.extend(torch.as_tensor(pixels), slots)

    def cliques(self, slots: list[int], min_size: int, node_limit: int) -> dict[int, gpu_clique.Found]:
        if not slots or not gpu_clique.available()[0]:
            return {}
        bits = self._graphs.bits[slots]
        found = gpu_clique.to_host(*gpu_clique.max_cliques(bits, min_size=min_size, node_limit=node_limit))
        return {slot: answer for slot, answer in zip(slots, found, strict=True) if answer.proven}

    def edges(self, slots: list[int]) -> list[Graph]:
        bits = self._graphs.bits[slots].cpu()  # one transfer for all that are asked for
        graphs = []
        for slot, rows in zip(slots, bits, strict=True):
            count = self._graphs.counts[slot]
            adjacency = gpu_clique.unpack(rows[:count], count).numpy()
            edges = np.argwhere(np.triu(adjacency, 1)).astype(np.int32)
            value = float(self._threshold.value)
            graphs.append(Graph(count, edges, None, np.empty(0, np.float32), value, self._tile_bytes))
        return graphs

    def edge_counts(self, slots: list[int]) -> list[int]:
        counts: list[int] = (self._graphs.degrees()[slots].sum(1) // 2).cpu().tolist()
        return counts

    def graph(self, slot: int) -> Graph:
        return tiled_l2_graph(self.images(slot), self._threshold.value, tile=self._tile, channels="last")

    def images(self, slot: int) -> torch.Tensor:
        images: torch.Tensor = self._graphs.images[slot, : self._graphs.counts[slot]]
        return images

    def clear(self, slot: int) -> None:
        self._graphs.clear(slot)


class CoreSlots:
    """On the CPU: a ``PromptGraph`` a slot, by the native core."""

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

    def extend(self, pixels: Any, slots: list[int]) -> None:
        for slot in dict.fromkeys(slots):
            where = [n for n, s in enumerate(slots) if s == slot]
            together = where[-1] - where[0] + 1 == len(where)  # as a sampler's batch is: no copy then
            self._graphs[slot].extend(pixels[where[0] : where[-1] + 1] if together else pixels[where])

    def cliques(self, slots: list[int], min_size: int, node_limit: int) -> dict[int, gpu_clique.Found]:
        return {}

    def edges(self, slots: list[int]) -> list[Graph]:
        return [self._graphs[slot].graph() for slot in slots]

    def edge_counts(self, slots: list[int]) -> list[int]:
        return [len(self._graphs[slot].graph()) for slot in slots]

    def graph(self, slot: int) -> Graph:
        return self._graphs[slot].graph()

    def images(self, slot: int) -> torch.Tensor:
        import torch

        return torch.from_numpy(self._graphs[slot].images())

    def clear(self, slot: int) -> None:
        self._graphs[slot] = self._empty()
