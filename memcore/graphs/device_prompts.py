"""Graphs of many prompts on the device of their images; one small transfer answers a budget's questions for all of them."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memcore import arrays
from memcore.backends import gpu
from memcore.clique import max_cliques
from memcore.errors import ArgumentTypeError, ArgumentValueError, DeviceError
from memcore.graphs.device_slots import CoreSlots, KernelSlots, SlotAnswer, Slots, SlotVerdict
from memcore.graphs.slot_runs import Numbers, SlotRun, select
from memcore.types import DEFAULT_NODE_LIMIT, DEFAULT_THRESHOLD, Clique, Graph, Threshold

if TYPE_CHECKING:
    import torch

#: Images of a prompt at most: what the clique kernel's sets of vertices hold.
MAX_CAPACITY = 1024


class DevicePrompts:
    """Graphs of up to ``slots`` prompts, of at most ``capacity`` generations each, that stay on their images' device.

    ``extend`` takes a sampler's batch, which may mix prompts, and decides the pairs with a new image: on a CUDA device
    images, block means and adjacency bits stay there, and nothing waits. ``largest`` answers for many prompts at once:
    there, 32 bytes a prompt and its clique as bits come to the host, which is all that a ``sampling.budget`` decides on.
    ``ask`` returns the number of edges as well, in the same wait, and ``has_clique`` only whether there is a clique of a
    size. ``graph`` returns a prompt's edges and distances. Every answer is ``PromptGraph``'s, bit for bit; on a CPU it is
    one for each slot.

    A CUDA device needs the extra "gpu". Where the core has no CUDA part (``memcore info``), ``largest`` copies
    the prompts' bits to the host, 32 kB each at 500 generations, and solves there. Never run on a GPU: docs/kernels.md says
    how it was tested.

    Parameters
    ----------
    slots, capacity
        Prompts at a time, and generations of each, at most 1,024.
    shape
        (H, W, C) of every image, H and W divided by ``grid``.
    threshold, grid, tile
        As in ``tiled_l2_graph``.
    device
        The device of the images: "cuda", "cuda:1", or "cpu".
    threads
        Threads for the work on the CPU.
    expected
        Generations of a prompt that memory is allocated for at first, by default ``capacity``. A CUDA device allocates more
        when they come, in pages of 64 or 128 images, and a slot that is cleared gives its pages to others.

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
        expected: int | None = None,
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
        self._expected = self.capacity if expected is None else arrays.check_count(expected, "expected")
        self._slots = _make_slots(self, count, str(device))
        self._vertices: list[list[Numbers]] = [[] for _ in range(count)]
        self._kept = [0] * count
        self._generated = [0] * count

    def __repr__(self) -> str:
        """Return one line."""
        return (
            f"DevicePrompts(slots={len(self)}, capacity={self.capacity}, shape={self.shape}, "
            f"threshold={self.threshold.value!r}, generated={sum(self._generated)})"
        )

    def __len__(self) -> int:
        """Return the number of slots."""
        return len(self._generated)

    def extend(
        self, images: torch.Tensor, slots: Sequence[int], *, exclude: NDArray[np.bool_] | None = None
    ) -> None:
        """Add images (M, H, W, C) uint8, each to the prompt in the slot that ``slots`` (M,) names, in this order.

        Those marked in ``exclude`` (M,) count but get no edges, as in ``PromptGraph.extend``. A batch that does not fit
        is refused as a whole: raises ArgumentValueError where a slot would hold more than ``capacity``.
        """
        pixels = self._as_pixels(images)
        where = [self._check_slot(slot) for slot in slots]
        if tuple(pixels.shape) != (len(where), *self.shape):
            raise ArgumentValueError(
                f"images must have the shape {(len(where), *self.shape)}, one for each of slots, got "
                f"{tuple(pixels.shape)}"
            )
        runs, first = [], 0
        for slot, group in itertools.groupby(where):
            count = sum(1 for _ in group)
            runs.append(SlotRun(slot, first, count))
            first += count
        self._add(pixels, runs, exclude)

    def extend_runs(
        self,
        images: torch.Tensor,
        runs: Sequence[tuple[int, int, int]],
        *,
        exclude: NDArray[np.bool_] | None = None,
    ) -> None:
        """Add a batch (M, H, W, C) uint8 by its runs (slot, first, count): rows first to first + count - 1 go to the slot.

        Like ``extend``, with a run for all images of a prompt in place of a number for each image. Rows that no run names
        are left out. Raises ArgumentValueError for a run that reaches past the batch.

        >>> import memcore, torch
        >>> prompts = memcore.DevicePrompts(2, 8, (8, 8, 3), device="cpu")
        >>> prompts.extend_runs(torch.zeros(5, 8, 8, 3, dtype=torch.uint8), [(0, 0, 3), (1, 3, 2)])
        >>> prompts.generated(0), prompts.generated(1)
        (3, 2)
        """
        pixels = self._as_pixels(images)
        total = pixels.shape[0]
        if pixels.shape[1:] != self.shape:
            raise ArgumentValueError(
                f"images must have the shape {(total, *self.shape)}, got {tuple(pixels.shape)}"
            )
        checked = []
        for run in runs:
            if type(run) is not SlotRun or not type(run[0]) is type(run[1]) is type(run[2]) is int:
                run = SlotRun(*(arrays.check_index(number, "runs") for number in run))
            slot, first, count = run
            if first < 0 or count < 1 or first + count > total:
                raise ArgumentValueError(
                    f"runs must lie within the {total} images and hold one at least, got {(slot, first, count)}"
                )
            self._check_slot(slot)
            checked.append(run)
        self._add(pixels, checked, exclude)

    def grow(self, count: int) -> None:
        """Add ``count`` empty slots, numbered from ``len(self)`` on.

        >>> import memcore
        >>> prompts = memcore.DevicePrompts(2, 8, (8, 8, 3), device="cpu")
        >>> prompts.grow(3)
        >>> len(prompts)
        5
        """
        more = arrays.check_count(count, "count")
        self._slots.grow(more)
        self._vertices += [[] for _ in range(more)]
        self._kept += [0] * more
        self._generated += [0] * more

    def _as_pixels(self, images: torch.Tensor) -> Any:
        """Return images (M, H, W, C) uint8 as the slots take them."""
        if self._slots.takes(images):
            return images
        view = arrays.as_images(images, "images", channels="last", ndims=(4,))
        if view.is_float:
            raise ArgumentTypeError(f"images must be uint8, got {view.dtype}; memcore.to_uint8() converts")
        if view.on_cpu != (self._slots.device == "cpu"):
            raise DeviceError(f"images must be on {self._slots.device}, got {view.device}")
        return view.pixels[0]

    def _add(self, pixels: Any, runs: list[SlotRun], exclude: NDArray[np.bool_] | None) -> None:
        """Add the runs' images, after all checks: a batch is added as a whole or not at all."""
        keep = None
        if exclude is not None:
            mask = arrays.check_marks(exclude, "exclude", pixels.shape[0])
            keep = ~mask if np.count_nonzero(mask) else None
        end: dict[int, int] = {}
        for slot, _, count in runs:
            end[slot] = end.get(slot, self._generated[slot]) + count
            if end[slot] > self.capacity:
                raise ArgumentValueError(
                    f"images must leave each slot at most capacity={self.capacity}, slot {slot} would have {end[slot]}"
                )
        pixels, kept_runs, vertices = select(pixels, runs, keep, self._generated)
        if kept_runs:
            self._slots.extend(pixels, kept_runs)
        for run, numbers in zip(kept_runs, vertices, strict=True):
            self._vertices[run.slot].append(numbers)
            self._kept[run.slot] += run.length
        for slot, count in end.items():
            self._generated[slot] = count

    def generated(self, slot: int) -> int:
        """Return the number of a slot's generations so far, excluded ones among them."""
        return self._generated[self._check_slot(slot)]

    def kept(self, slot: int) -> int:
        """Return the number of a slot's generations that may have edges."""
        return self._kept[self._check_slot(slot)]

    def excluded(self, slot: int) -> int:
        """Return the number of a slot's generations that count and have no edges."""
        return self.generated(slot) - self._kept[slot]

    def largest(
        self,
        slots: Sequence[int] | None = None,
        *,
        min_size: int = 0,
        node_limit: int = DEFAULT_NODE_LIMIT,
    ) -> list[Clique]:
        """Return the maximum clique of each of ``slots``, by default of all, with bounds; wait for the device.

        Members are numbers of generations. A slot whose generations are all excluded has the empty clique. With
        ``min_size``, a prompt without a clique of that size has the empty one; for most prompts, one pass over the rows
        of the graph proves it. What the device leaves unproven within ``node_limit``, the CPU tries with the same limit.
        """
        return [answer.clique for answer in self.ask(slots, min_size=min_size, node_limit=node_limit)]

    def ask(
        self,
        slots: Sequence[int] | None = None,
        *,
        min_size: int = 0,
        node_limit: int = DEFAULT_NODE_LIMIT,
    ) -> list[SlotAnswer]:
        """Return the maximum clique, as in ``largest``, and the number of edges of each of ``slots``, in one question.

        A CUDA device answers for all of them with one transfer: the bounds that a budget decides on, whether there is a
        clique of ``min_size``, and what the row of a prompt without one needs.

        >>> import memcore, torch
        >>> prompts = memcore.DevicePrompts(1, 8, (8, 8, 3), device="cpu")
        >>> prompts.extend(torch.zeros(3, 8, 8, 3, dtype=torch.uint8), [0, 0, 0])
        >>> [(len(answer.clique), answer.edges) for answer in prompts.ask()]
        [(3, 3)]
        """
        chosen, filled = self._choose(slots)
        answers: dict[int, SlotAnswer] = {}
        for slot, (found, edges) in self._slots.cliques(filled, min_size, node_limit).items():
            members = found.members
            if members and self._kept[slot] != self._generated[slot]:
                members = tuple(self._kept_vertices(slot)[list(members)].tolist())
            clique = Clique(members, found.lower, found.upper, found.proven, found.nodes)
            answers[slot] = SlotAnswer(clique, edges)
        answers |= self._solve([slot for slot in filled if slot not in answers], min_size, node_limit)
        empty = SlotAnswer(Clique((), 0, 0, True), 0)
        return [answers.get(slot, empty) for slot in chosen]

    def has_clique(
        self,
        slots: Sequence[int] | None = None,
        *,
        min_size: int,
        node_limit: int = DEFAULT_NODE_LIMIT,
    ) -> list[SlotVerdict]:
        """Tell of each of ``slots`` whether its graph has a clique of ``min_size``, and its number of edges.

        That takes less than to find the largest one, and a CUDA device answers for all slots with 8 bytes each. A search
        that ends at a limit leaves the question open: found is None.

        >>> import memcore, torch
        >>> prompts = memcore.DevicePrompts(1, 8, (8, 8, 3), device="cpu")
        >>> prompts.extend(torch.zeros(3, 8, 8, 3, dtype=torch.uint8), [0, 0, 0])
        >>> prompts.has_clique(min_size=3)
        [SlotVerdict(found=True, edges=3)]
        """
        arrays.check_count(min_size, "min_size")
        chosen, filled = self._choose(slots)
        verdicts = self._slots.verdicts(filled, min_size, node_limit)
        left = [slot for slot in filled if slot not in verdicts]
        for slot, (clique, edges) in self._solve(left, min_size, node_limit).items():
            found = clique.upper >= min_size if clique.proven or clique.lower >= min_size else None
            verdicts[slot] = SlotVerdict(found, edges)
        return [verdicts.get(slot, SlotVerdict(False, 0)) for slot in chosen]

    def _choose(self, slots: Sequence[int] | None) -> tuple[list[int], list[int]]:
        """Return the slots that are asked about, and those of them that hold images, each once."""
        chosen = list(range(len(self))) if slots is None else [self._check_slot(slot) for slot in slots]
        return chosen, [slot for slot in dict.fromkeys(chosen) if self._kept[slot]]

    def _solve(self, slots: list[int], min_size: int, node_limit: int) -> dict[int, SlotAnswer]:
        """Search the graphs of these slots on the CPU."""
        if not slots:
            return {}
        graphs = [self._renumber(slot, g) for slot, g in zip(slots, self._slots.edges(slots), strict=True)]
        solved = max_cliques(graphs, min_size=max(1, min_size), node_limit=node_limit, threads=self._threads)
        found = zip(slots, solved, graphs, strict=True)
        return {slot: SlotAnswer(clique, len(graph)) for slot, clique, graph in found}

    def edge_counts(self, slots: Sequence[int]) -> list[int]:
        """Return the number of edges of each slot's graph: one transfer of 8 bytes a slot."""
        return self._slots.edge_counts([self._check_slot(slot) for slot in slots])

    def graph(self, slot: int) -> Graph:
        """Return the prompt's exact graph with its distances, on the host, equal to ``PromptGraph``'s."""
        return self._renumber(self._check_slot(slot), self._slots.graph(slot))

    def images(self, slot: int) -> torch.Tensor:
        """Return a slot's images (N, H, W, C) on its device, without excluded ones: a view, or a copy of pages apart."""
        return self._slots.images(self._check_slot(slot))

    def pixels(self, slot: int, index: int) -> NDArray[np.uint8]:
        """Return the generation (H, W, C) with this index, copied to the CPU."""
        numbers = self._kept_vertices(self._check_slot(slot))
        position = bisect.bisect_left(numbers, arrays.check_index(index, "index"))
        if position == len(numbers) or numbers[position] != index:
            raise ArgumentValueError(f"index {index} is not a kept generation of slot {slot}")
        return np.array(self._slots.image(slot, position).cpu().numpy())

    def to_host(self, slot: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return all generations (N, H, W, C) of a slot on the CPU, excluded ones black, and which are excluded (N,).

        They come one after the other, so that no memory of the device is needed.
        """
        numbers = self._kept_vertices(self._check_slot(slot))
        pixels = np.zeros((self._generated[slot], *self.shape), np.uint8)
        excluded = np.ones(len(pixels), np.bool_)
        excluded[numbers] = False
        for position, number in enumerate(numbers.tolist()):
            pixels[number] = self._slots.image(slot, position).cpu().numpy()
        return pixels, excluded

    def clear(self, slot: int) -> None:
        """Empty a slot for another prompt."""
        self._slots.clear(self._check_slot(slot))
        self._vertices[slot], self._kept[slot], self._generated[slot] = [], 0, 0

    def _kept_vertices(self, slot: int) -> NDArray[np.int64]:
        """Return the generation number of each kept image of a slot (kept,), ascending."""
        numbers = np.concatenate([np.empty(0, np.int64), *self._vertices[slot]])
        self._vertices[slot] = [numbers]
        return numbers

    def _renumber(self, slot: int, kept: Graph) -> Graph:
        """Return the graph of all generations of a slot, from the graph of its kept images."""
        edges = self._kept_vertices(slot).astype(np.int32)[kept.edges]
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
        if type(slot) is int and 0 <= slot < len(self._generated):
            return slot
        return arrays.check_count(slot, "slots", 0, len(self) - 1)


def _make_slots(prompts: DevicePrompts, count: int, device: str) -> Slots:
    kind = device.partition(":")[0]
    settings = prompts.shape, prompts.threshold, prompts.tile
    first = min(prompts.capacity, prompts._expected)
    if kind == "cpu":
        return CoreSlots(count, first, *settings, prompts._threads)
    if kind != "cuda":
        raise DeviceError(f"device must be 'cpu' or a CUDA device, got {device!r}")
    usable, reason = gpu.available()
    if not usable:
        raise DeviceError(f"device={device!r} cannot be used: {reason}")
    return KernelSlots(count, prompts.capacity, *settings, device, first)
