"""The two kinds of slots under ``DevicePrompts``: images with their graphs, on a CUDA device or on the CPU.

Positions here count the images that were kept; ``DevicePrompts`` knows which generations they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from memcore import arrays
from memcore.backends import gpu, gpu_clique
from memcore.graph import tiled_l2_graph
from memcore.graphs.prompt_graph import PromptGraph
from memcore.graphs.slot_runs import SlotRun, index_on
from memcore.types import Clique, Graph, Threshold

if TYPE_CHECKING:
    import torch

Shape = tuple[int, int, int]

#: Nodes of a search that one warp of the device does: a few milliseconds, for which all that is queued behind it waits. What
#: needs more is searched on the CPU.
DEVICE_NODES = 2_000
#: What the clique kernel's verdicts mean.
_VERDICTS = {gpu_clique.NONE: False, gpu_clique.SOME: True, gpu_clique.OPEN: None}


class SlotAnswer(NamedTuple):
    """The answer about one slot: its largest clique with bounds, and the number of edges of its graph."""

    clique: Clique
    edges: int


class SlotVerdict(NamedTuple):
    """Whether a slot's graph has a clique of the size that was asked for, None if that is open; its number of edges."""

    found: bool | None
    edges: int


class Slots(Protocol):
    """Graphs of several prompts on ``device``, one a slot."""

    device: str

    def takes(self, images: Any) -> bool:
        """Tell whether these are images (M, H, W, C) uint8 that ``extend`` takes as they are, whatever their shape."""
        ...

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

    def verdicts(self, slots: list[int], min_size: int, node_limit: int) -> dict[int, SlotVerdict]:
        """Tell whether there is a clique of ``min_size``, and the number of edges, of slots that are solved on their device.

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

    def image(self, slot: int, position: int) -> torch.Tensor:
        """Return one image (H, W, C) of a slot on its device."""
        ...

    def grow(self, count: int) -> None:
        """Add empty slots."""
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
        expected: int | None = None,
    ) -> None:
        self.device = device
        self._threshold, self._tile = threshold, tile
        self._tile_bytes = tile[0] * tile[1] * shape[2]
        ssd_max = threshold.ssd_max(self._tile_bytes)
        self._graphs = gpu.device_graphs(count, capacity, shape, tile, ssd_max, device, expected)

    def takes(self, images: Any) -> bool:
        """Tell whether these are bytes of a tensor on the slots' device."""
        if not arrays.is_plain_bytes(images) or images.device != self._graphs.bits.device:
            return False
        return bool(images.ndim == 4 and min(images.shape) > 0 and images.shape[3] <= arrays.MAX_CHANNELS)

    def extend(self, pixels: Any, runs: Sequence[SlotRun]) -> None:
        """Add images on the device; nothing waits for it."""
        import torch

        self._graphs.extend(torch.as_tensor(pixels), runs)

    def grow(self, count: int) -> None:
        """Add empty slots."""
        self._graphs.grow(count)

    def cliques(
        self, slots: list[int], min_size: int, node_limit: int
    ) -> dict[int, tuple[gpu_clique.Found, int]]:
        """Return proven cliques and numbers of edges by one transfer; nothing without the core's CUDA part."""
        if not slots or not gpu_clique.available()[0]:
            return {}
        bits, limit = self._bits(slots), min(node_limit, DEVICE_NODES)
        members, bounds = gpu_clique.max_cliques(bits, min_size=min_size, node_limit=limit)
        counted = gpu_clique.has_cliques(bits, min_size=max(1, min_size), node_limit=0)
        rows = zip(slots, *(answer.tolist() for answer in fetch(members, bounds, counted)), strict=True)
        return {
            slot: (gpu_clique.read_found(words + bound, len(words)), edges)
            for slot, words, bound, (_, edges) in rows
            if bound[2]
        }

    def verdicts(self, slots: list[int], min_size: int, node_limit: int) -> dict[int, SlotVerdict]:
        """Return verdicts by one transfer; nothing without the core's CUDA part."""
        if not slots or not gpu_clique.available()[0]:
            return {}
        limit = min(node_limit, DEVICE_NODES)
        bits = self._graphs.bits
        chosen = index_on(bits, np.array(slots, np.int32))
        (answers,) = fetch(gpu_clique.has_cliques(bits, min_size=min_size, node_limit=limit, slots=chosen))
        return {
            slot: SlotVerdict(_VERDICTS[verdict], edges)
            for slot, (verdict, edges) in zip(slots, answers.tolist(), strict=True)
        }

    def _bits(self, slots: list[int]) -> torch.Tensor:
        """Return the adjacency of these slots, on the device."""
        bits: torch.Tensor = self._graphs.bits
        return bits.index_select(0, index_on(bits, slots))

    def edges(self, slots: list[int]) -> list[Graph]:
        """Return the slots' graphs without distances: their bits come to the host in one transfer."""
        bits = self._bits(slots).cpu()  # one transfer for all slots
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
        """Return a slot's images on the device: a view, or a copy where they lie apart."""
        images: torch.Tensor = self._graphs.images(slot)
        return images

    def image(self, slot: int, position: int) -> torch.Tensor:
        """Return one image of a slot on the device."""
        image: torch.Tensor = self._graphs.pages.image(slot, position)
        return image

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
        """Keep ``capacity`` images of each at first."""

        def empty() -> PromptGraph:
            return PromptGraph(
                shape, threshold.value, tile=tile, channels="last", threads=threads, capacity=capacity
            )

        self._empty = empty
        self._graphs = [empty() for _ in range(count)]

    def grow(self, count: int) -> None:
        """Add empty slots."""
        self._graphs += [self._empty() for _ in range(count)]

    def takes(self, images: Any) -> bool:
        """Tell that all are to be looked at: the core takes arrays."""
        return False

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

    def verdicts(self, slots: list[int], min_size: int, node_limit: int) -> dict[int, SlotVerdict]:
        """Return nothing, as ``cliques`` does."""
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

    def image(self, slot: int, position: int) -> torch.Tensor:
        """Return one image of a slot as a tensor that shares its memory."""
        return self.images(slot)[position]

    def clear(self, slot: int) -> None:
        """Replace a slot's graph by an empty one."""
        self._graphs[slot] = self._empty()


def fetch(*answers: torch.Tensor) -> list[torch.Tensor]:
    """Return tensors of one device on the host: all are copied, then the host waits once."""
    import torch

    if not answers[0].is_cuda:
        return list(answers)
    copies = [torch.empty(answer.shape, dtype=answer.dtype, pin_memory=True) for answer in answers]
    for copy, answer in zip(copies, answers, strict=True):
        copy.copy_(answer, non_blocking=True)
    torch.cuda.current_stream(answers[0].device).synchronize()
    return copies
