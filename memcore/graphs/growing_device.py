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
        # Answers to the last question, until images arrive.
        self._answers: dict[int, SlotAnswer] = {}

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
        self._awaiting, self._answers = [], {}
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
        clique = self._answer(prompt_id).clique
        return clique.lower, clique.upper

    def _answer(self, prompt_id: int) -> SlotAnswer:
        """Return the answer about a prompt; if none is known, ask about all prompts that await a decision."""
        if prompt_id not in self._answers:
            limit = min(self._settings.node_limit, DECISION_NODES)
            groups: dict[DevicePrompts, list[int]] = {}
            for queried in dict.fromkeys([*self._awaiting, prompt_id]):
                if queried in self._slots:
                    groups.setdefault(self._slots[queried].prompts, []).append(queried)
            self._answers = {}
            for prompts, ids in groups.items():
                numbers = [self._slots[i].number for i in ids]
                answers = prompts.ask(numbers, node_limit=limit)
                self._answers.update(zip(ids, answers, strict=True))
        return self._answers[prompt_id]

    def outcome(self, prompt_id: int) -> GraphOutcome:
        """Return the prompt's edges and findings; its graph comes to the host only if it may have a finding."""
        prompts, number = self._slots[prompt_id]
        settings = self._settings
        answer = self._answer(prompt_id)
        generated, excluded = prompts.generated(number), prompts.excluded(number)
        pixels = functools.partial(prompts.pixels, number)
        lower, upper = answer.clique.lower, answer.clique.upper
        if lower == upper < settings.min_clique:  # proven on the device: nothing else comes to the host
            return GraphOutcome(generated, excluded, answer.edges, [], None, pixels, upper, lower)
        graph = prompts.graph(number)
        found, upper, largest = search_all(
            graph, settings.min_clique, node_limit=settings.node_limit, largest_limit=DECISION_NODES
        )
        return GraphOutcome(generated, excluded, len(graph), found, graph, pixels, upper, largest)

    def pixels(self, prompt_id: int, index: int) -> NDArray[np.uint8]:
        """Return a generation of the prompt, copied to the CPU."""
        prompts, number = self._slots[prompt_id]
        return prompts.pixels(number, index)

    def drop(self, prompt_id: int) -> None:
        """Free the prompt's slot for another prompt."""
        slot = self._slots.pop(prompt_id, None)
        self._answers.pop(prompt_id, None)
        if slot is not None:
            slot.prompts.clear(slot.number)
            self._free.append(slot)
