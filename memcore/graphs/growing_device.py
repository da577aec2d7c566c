"""The graphs of the prompts in flight on a CUDA device: slots of ``DevicePrompts``, and one question for all prompts."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memcore.graphs.device_prompts import DevicePrompts, SlotAnswer
from memcore.graphs.device_slots import SlotRun
from memcore.graphs.findings import search_all
from memcore.graphs.growing import DECISION_NODES, Bounds, GraphOutcome, GraphSettings, PromptRun
from memcore.types import Images


class _Slot(NamedTuple):
    """One prompt's place in one of the ``DevicePrompts``."""

    prompts: DevicePrompts
    number: int


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

    A CUDA device allocates memory for ``generations`` images a slot at once. A batch of B images needs at most B slots,
    with the fixed budget two or three.
    """

    def __init__(self, settings: GraphSettings, device: str) -> None:
        self._settings, self._device = settings, device
        self._slots: dict[int, _Slot] = {}
        self._free: list[_Slot] = []
        self._awaiting: list[int] = []
        self._known: dict[int, _Known] = {}

    def begin(self, prompt_ids: Sequence[int]) -> None:
        """Give each prompt an empty slot; allocate more slots where too few are free."""
        missing = len(prompt_ids) - len(self._free)
        if missing > 0:
            settings = self._settings
            prompts = DevicePrompts(
                missing,
                settings.generations,
                settings.shape,
                settings.threshold,
                grid=settings.grid,
                device=self._device,
                threads=settings.threads,
            )
            self._free.extend(_Slot(prompts, number) for number in range(missing))
        self._slots.update((prompt_id, self._free.pop()) for prompt_id in prompt_ids)

    def extend(self, images: Images, runs: Sequence[PromptRun]) -> None:
        """Add a batch to the slots of its prompts."""
        self._awaiting, self._known = [], {}
        groups: dict[DevicePrompts, list[SlotRun]] = {}
        for prompt_id, first, count in runs:
            slot = self._slots[prompt_id]
            groups.setdefault(slot.prompts, []).append(SlotRun(slot.number, first, count))
        for prompts, slot_runs in groups.items():
            prompts.extend_runs(images.pixels, slot_runs, exclude=images.flagged)

    def bounds(self, prompt_ids: Sequence[int]) -> Bounds:
        """Return bounds that are computed for all these prompts at the first answer that is read."""
        self._awaiting = list(prompt_ids)
        return self._read_bounds

    def _read_bounds(self, prompt_id: int) -> tuple[int, int]:
        known = self._known.get(prompt_id)
        if known is None or not known.exact:
            self._ask([*self._awaiting, prompt_id], 0)
            known = self._known[prompt_id]
        return known.lower, known.upper

    def _ask(self, prompt_ids: Sequence[int], min_size: int) -> None:
        """Ask one question about these prompts: is there a clique of ``min_size``; with 0, how large is the largest."""
        limit = min(self._settings.node_limit, DECISION_NODES)
        groups: dict[DevicePrompts, list[int]] = {}
        for prompt_id in dict.fromkeys(prompt_ids):
            if prompt_id in self._slots:
                groups.setdefault(self._slots[prompt_id].prompts, []).append(prompt_id)
        for prompts, ids in groups.items():
            numbers = [self._slots[i].number for i in ids]
            answers = prompts.ask(numbers, min_size=min_size, node_limit=limit)
            for prompt_id, number, answer in zip(ids, numbers, answers, strict=True):
                self._known[prompt_id] = _read(answer, prompts.kept(number), min_size)

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
        prompts, number = self._slots[prompt_id]
        settings = self._settings
        if prompt_id not in self._known:
            self._ask([*self._awaiting, prompt_id], settings.min_clique)
        known = self._known[prompt_id]
        generated, excluded = prompts.generated(number), prompts.excluded(number)
        pixels = functools.partial(prompts.pixels, number)
        if known.upper < settings.min_clique:  # proven on the device: nothing else comes to the host
            largest = self._largest_below(prompt_id)
            if largest is not None:
                return GraphOutcome(generated, excluded, known.edges, [], None, pixels, known.upper, largest)
        graph = prompts.graph(number)
        found, upper, size = search_all(
            graph, settings.min_clique, node_limit=settings.node_limit, largest_limit=DECISION_NODES
        )
        return GraphOutcome(generated, excluded, len(graph), found, graph, pixels, upper, size)

    def pixels(self, prompt_id: int, index: int) -> NDArray[np.uint8]:
        """Return a generation of the prompt, copied to the CPU."""
        prompts, number = self._slots[prompt_id]
        return prompts.pixels(number, index)

    def drop(self, prompt_id: int) -> None:
        """Free the prompt's slot for another prompt."""
        slot = self._slots.pop(prompt_id, None)
        self._known.pop(prompt_id, None)
        if slot is not None:
            slot.prompts.clear(slot.number)
            self._free.append(slot)


def _read(answer: SlotAnswer, kept: int, min_size: int) -> _Known:
    """Return what an answer to a question for a clique of ``min_size`` says of a graph of ``kept`` images."""
    if not answer.edges:
        size = min(kept, 1)
        return _Known(0, size, size, exact=True)
    lower, upper = answer.clique.lower, answer.clique.upper
    return _Known(answer.edges, lower, upper, exact=not min_size or (lower == upper and bool(answer.clique)))
