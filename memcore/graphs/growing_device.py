"""The graphs of the prompts in flight on a CUDA device: slots of ``DevicePrompts``, and one question for all prompts.

Where the device's memory ends, a batch is added in smaller groups, and a prompt that does not fit moves to the CPU with its
images: slower, and the same answers.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memcore.graphs.device_prompts import DevicePrompts
from memcore.graphs.device_slots import SlotAnswer, SlotVerdict
from memcore.graphs.findings import search_all
from memcore.graphs.growing import DECISION_NODES, Bounds, GraphOutcome, GraphSettings, PromptRun
from memcore.graphs.growing_host import HostGrowingGraphs
from memcore.graphs.slot_runs import SlotRun
from memcore.types import Images

_log = logging.getLogger("memcore")


class _Known(NamedTuple):
    """What is known of one prompt's graph until images arrive: its edges, and bounds of the size of its largest clique.

    ``exact`` says that the bounds are of the largest clique whatever its size; otherwise they may only say that there is
    none of ``min_clique``.
    """

    edges: int
    lower: int
    upper: int
    exact: bool


class DeviceGrowingGraphs:
    """Slots of ``DevicePrompts``, each used by one prompt after the other; a batch that needs more gets more.

    Memory for a prompt's images is taken as they come. A batch of B images needs at most B slots, with the fixed budget
    two or three.
    """

    def __init__(self, settings: GraphSettings, device: str) -> None:
        self._settings, self._device = settings, device
        self._prompts: DevicePrompts | None = None
        self._slots: dict[int, int] = {}
        self._free: list[int] = []
        self._awaiting: list[int] = []
        self._known: dict[int, _Known] = {}
        self._host = HostGrowingGraphs(settings)
        self._on_host: set[int] = set()
        self._told = False

    def begin(self, prompt_ids: Sequence[int]) -> None:
        """Give each prompt an empty slot; make more slots where too few are free."""
        missing = len(prompt_ids) - len(self._free)
        if missing > 0:
            try:
                self._add_slots(missing)
            except _out_of_memory():
                self._tell()
        for number, prompt_id in enumerate(prompt_ids):
            if not self._free:
                self._on_host.update(prompt_ids[number:])
                self._host.begin(prompt_ids[number:])
                return
            self._slots[prompt_id] = self._free.pop()

    def _add_slots(self, count: int) -> None:
        settings = self._settings
        have = 0 if self._prompts is None else len(self._prompts)
        if self._prompts is None:
            self._prompts = DevicePrompts(
                count,
                settings.generations,
                settings.shape,
                settings.threshold,
                grid=settings.grid,
                device=self._device,
                threads=settings.threads,
                expected=settings.expected,
            )
        else:
            self._prompts.grow(count)
        self._free += range(have, have + count)

    def extend(self, images: Images, runs: Sequence[PromptRun]) -> None:
        """Add a batch to the slots of its prompts."""
        self._awaiting, self._known = [], {}
        left = self._extend(images, runs)
        if left:
            self._extend_host(images, left)

    def _extend(self, images: Images, runs: Sequence[PromptRun]) -> list[PromptRun]:
        """Add runs on the device, where memory ends in halves; return those that are the host's, in their order."""
        left = [run for run in runs if run.prompt_id in self._on_host]
        fitting = [run for run in runs if run.prompt_id not in self._on_host]
        if not fitting:
            return left
        slot_runs = [SlotRun(self._slots[prompt_id], first, count) for prompt_id, first, count in fitting]
        try:
            self._device_prompts.extend_runs(images.pixels, slot_runs, exclude=images.flagged)
        except _out_of_memory():
            if len(fitting) == 1:
                self._move_to_host(fitting[0].prompt_id)  # its images before these
                return [*left, *fitting]
            middle = len(fitting) // 2
            for half in (fitting[:middle], fitting[middle:]):
                left += self._extend(images, half)
        return left

    def _extend_host(self, images: Images, runs: Sequence[PromptRun]) -> None:
        for prompt_id, first, count in runs:
            rows = slice(first, first + count)
            part = Images(images.pixels[rows].cpu().numpy(), images.flagged[rows])
            self._host.extend(part, [PromptRun(prompt_id, 0, count)])

    @property
    def _device_prompts(self) -> DevicePrompts:
        assert self._prompts is not None
        return self._prompts

    def _move_to_host(self, prompt_id: int) -> None:
        """Let the CPU have a prompt for which the device has no memory."""
        self._tell()
        slot = self._slots.pop(prompt_id)
        pixels, excluded = self._device_prompts.to_host(slot)
        self._host.begin([prompt_id])
        if len(pixels):
            self._host.extend(Images(pixels, excluded), [PromptRun(prompt_id, 0, len(pixels))])
        self._on_host.add(prompt_id)
        self._device_prompts.clear(slot)
        self._free.append(slot)

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            _log.warning(
                "memcore: the memory of %s is full: prompts that do not fit are compared on the CPU, which is slower and "
                "gives the same answers. A smaller batch_size keeps fewer prompts on the device (told once a shard)",
                self._device,
            )

    def bounds(self, prompt_ids: Sequence[int]) -> Bounds:
        """Return bounds that are computed for all these prompts at the first answer that is read."""
        self._awaiting = list(prompt_ids)
        return self._read_bounds

    def _read_bounds(self, prompt_id: int) -> tuple[int, int]:
        known = self._known.get(prompt_id)
        if prompt_id not in self._on_host and (known is None or not known.exact):
            self._ask([*self._awaiting, prompt_id], 0)
        if prompt_id in self._on_host:
            return self._host.bounds([prompt_id])(prompt_id)
        known = self._known[prompt_id]
        return known.lower, known.upper

    def _ask(self, prompt_ids: Sequence[int], min_size: int) -> None:
        """Ask one question about these prompts: is there a clique of ``min_size``; with 0, how large is the largest.

        Where memory ends, it is asked about half of them at a time.
        """
        ids = [prompt_id for prompt_id in dict.fromkeys(prompt_ids) if prompt_id in self._slots]
        if not ids:
            return
        prompts, limit = self._device_prompts, min(self._settings.node_limit, DECISION_NODES)
        numbers = [self._slots[i] for i in ids]
        kept = [prompts.kept(number) for number in numbers]
        try:
            if min_size:
                verdicts = prompts.has_clique(numbers, min_size=min_size, node_limit=limit)
                known = [_read_verdict(v, count, min_size) for v, count in zip(verdicts, kept, strict=True)]
            else:
                answers = prompts.ask(numbers, node_limit=limit)
                known = [_read(answer, count) for answer, count in zip(answers, kept, strict=True)]
        except _out_of_memory():
            if len(ids) == 1:
                self._move_to_host(ids[0])
            else:
                for part in (ids[: len(ids) // 2], ids[len(ids) // 2 :]):
                    self._ask(part, min_size)
            return
        self._known.update(zip(ids, known, strict=True))

    def _largest_below(self, prompt_id: int) -> int | None:
        """Return the size of the largest clique of a prompt that has none of ``min_clique``; None if it is not proven.

        It decides nothing, so it is asked only where there are edges, and about all such prompts at once.
        """
        if not self._known[prompt_id].exact:
            least = self._settings.min_clique
            left = [i for i, known in self._known.items() if not known.exact and known.upper < least]
            self._ask(left, 0)
        known = self._known[prompt_id]
        return known.lower if known.lower == known.upper else None

    def outcome(self, prompt_id: int) -> GraphOutcome:
        """Return the prompt's edges and findings; its graph comes to the host only if it may have a finding."""
        settings = self._settings
        if prompt_id not in self._known and prompt_id not in self._on_host:
            self._ask([*self._awaiting, prompt_id], settings.min_clique)
        if prompt_id in self._on_host:
            return self._host.outcome(prompt_id)
        prompts, number = self._device_prompts, self._slots[prompt_id]
        known = self._known[prompt_id]
        generated, excluded = prompts.generated(number), prompts.excluded(number)
        pixels = functools.partial(prompts.pixels, number)
        if known.upper < settings.min_clique:  # proven on the device: nothing else comes to the host
            largest = self._largest_below(prompt_id)
            if largest is not None and prompt_id not in self._on_host:
                return GraphOutcome(generated, excluded, known.edges, [], None, pixels, known.upper, largest)
        try:
            if prompt_id not in self._on_host:
                graph = prompts.graph(number)
        except _out_of_memory():
            self._move_to_host(prompt_id)
        if prompt_id in self._on_host:
            return self._host.outcome(prompt_id)
        found, upper, size = search_all(
            graph, settings.min_clique, node_limit=settings.node_limit, largest_limit=DECISION_NODES
        )
        return GraphOutcome(generated, excluded, len(graph), found, graph, pixels, upper, size)

    def pixels(self, prompt_id: int, index: int) -> NDArray[np.uint8]:
        """Return a generation of the prompt, copied to the CPU."""
        if prompt_id in self._on_host:
            return self._host.pixels(prompt_id, index)
        return self._device_prompts.pixels(self._slots[prompt_id], index)

    def drop(self, prompt_id: int) -> None:
        """Free the prompt's slot for another prompt."""
        self._host.drop(prompt_id)
        self._on_host.discard(prompt_id)
        self._known.pop(prompt_id, None)
        slot = self._slots.pop(prompt_id, None)
        if slot is not None:
            self._device_prompts.clear(slot)
            self._free.append(slot)


def _read(answer: SlotAnswer, kept: int) -> _Known:
    """Return what an answer says of a graph of ``kept`` images."""
    if not answer.edges:
        return _without_edges(kept)
    return _Known(answer.edges, answer.clique.lower, answer.clique.upper, exact=True)


def _read_verdict(verdict: SlotVerdict, kept: int, min_size: int) -> _Known:
    """Return what a verdict on a clique of ``min_size`` says of a graph of ``kept`` images."""
    if not verdict.edges:
        return _without_edges(kept)
    lower = min_size if verdict.found else 2
    return _Known(verdict.edges, lower, min_size - 1 if verdict.found is False else kept, exact=False)


def _without_edges(kept: int) -> _Known:
    size = min(kept, 1)
    return _Known(0, size, size, exact=True)


def _out_of_memory() -> type[Exception]:
    """Return what torch raises where a device has no memory left."""
    import torch

    error: Any = torch.OutOfMemoryError
    kind: type[Exception] = error
    return kind
