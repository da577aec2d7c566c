"""The prompts that a shard is at work on: their graphs stand where the sampler's images do.

Tensors feed ``DevicePrompts``: on a CUDA device they stay there, budgets are answered by one small transfer a batch, and
of a prompt without a clique nothing but its number of edges comes to the host. Arrays feed one ``PromptGraph`` a prompt.
The rows are the same, bit for bit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from memcore.graphs.device_prompts import DevicePrompts, fits
from memcore.graphs.findings import findings, largest_clique
from memcore.graphs.prompt_graph import PromptGraph
from memcore.runs.config import Config
from memcore.types import Finding, Graph, Images, Request, StopReason

#: Nodes of a clique search at a look. A search that needs more is not proven there, and its prompt goes on.
LOOK_NODES = 100_000
#: Images that a prompt which will probably stop early gets room for at first.
ROOM = 64

#: Bounds (lower, upper) of the largest clique of a prompt, by its number in the run.
Look = Callable[[int], tuple[int, int]]


class Stages:
    """Seconds spent in each stage of a shard."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        for stage in ("screen", "sample", "graph", "clique", "write"):
            seconds.setdefault(stage, 0.0)

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start


@dataclasses.dataclass(frozen=True)
class Slot:
    """One prompt of a ``DevicePrompts``, with what a row needs of it."""

    prompts: DevicePrompts
    number: int

    @property
    def n(self) -> int:
        return self.prompts.generated(self.number)

    @property
    def excluded(self) -> int:
        return self.prompts.excluded(self.number)

    @property
    def tile_bytes(self) -> int:
        return self.prompts.tile_bytes

    def graph(self) -> Graph:
        return self.prompts.graph(self.number)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        return self.prompts.pixels(self.number, index)

    def surely_none(self, min_clique: int, node_limit: int) -> bool:
        """Whether it is proven on the device that there is no clique of the size."""
        (clique,) = self.prompts.largest([self.number], min_size=min_clique, node_limit=node_limit)
        return clique.proven and len(clique) < min_clique


@dataclasses.dataclass
class Prompt:
    """A prompt at work: its graph and the seeds of its generations so far."""

    prompt_id: int
    prompt: str
    graph: PromptGraph | Slot
    seeds: list[int] = dataclasses.field(default_factory=list)
    stop: StopReason = StopReason.ALL
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def outcome(self, config: Config) -> tuple[int, list[Finding]]:
        """The number of edges at the run's threshold, and the findings."""
        if isinstance(self.graph, Slot) and self.graph.surely_none(config.min_clique, config.node_limit):
            (edges,) = self.graph.prompts.edge_counts([self.graph.number])
            return edges, []
        graph = self.graph.graph().within(config.threshold)  # the stored one may reach further
        return len(graph), findings(graph, config.min_clique, node_limit=config.node_limit)


def new_graph(
    config: Config,
    shape: tuple[int, int, int],
    threads: int | None,
    **images_in: Any,
) -> PromptGraph:
    """An empty graph as the run wants it; ``images_in`` are further arguments of ``PromptGraph``, where images are kept."""
    return PromptGraph(
        shape,
        config.edges_up_to or config.threshold,
        grid=config.grid,
        min_clique=config.min_clique,
        node_limit=config.node_limit,
        channels="last",
        threads=threads,
        capacity=min(config.generations, ROOM) if config.budget == "sequential" else config.generations,
        **images_in,
    )


class Graphs(Protocol):
    """The graphs of all prompts at work."""

    def begin(self, prompt_ids: Sequence[int]) -> dict[int, PromptGraph | Slot]:
        """An empty graph for each."""
        ...

    def extend(self, images: Images, part: Sequence[Request]) -> None:
        """Adds a batch; a prompt's images stand side by side in it."""
        ...

    def look(self, prompt_ids: Sequence[int]) -> Look:
        """What budgets ask about these prompts, found when it is asked."""
        ...

    def drop(self, prompt_id: int) -> None:
        """Lets go of a prompt's images; one that was never begun is no error."""
        ...


def start_graphs(config: Config, shape: tuple[int, int, int], first: Images, threads: int | None) -> Graphs:
    """The graphs for a sampler that answers like ``first``.

    Runs that store pairs need every prompt's edges on the host, and prompts of more than 1,024 generations do not fit the
    clique kernel: they take ``PromptGraph``, whose images stay on the device as well.
    """
    if fits(first.pixels, config.generations) and not config.edges_up_to:
        return DeviceGraphs(config, shape, str(first.pixels.device), threads)
    return HostGraphs(config, shape, threads)


class HostGraphs:
    """A ``PromptGraph`` a prompt."""

    def __init__(self, config: Config, shape: tuple[int, int, int], threads: int | None) -> None:
        self._config = config
        self._new = functools.partial(new_graph, config, shape, threads)
        self._graphs: dict[int, PromptGraph] = {}

    def begin(self, prompt_ids: Sequence[int]) -> dict[int, PromptGraph | Slot]:
        begun = {prompt_id: self._new() for prompt_id in prompt_ids}
        self._graphs.update(begun)
        return dict(begun)

    def extend(self, images: Images, part: Sequence[Request]) -> None:
        for prompt_id, where in side_by_side(part).items():
            flagged = np.asarray(images.flagged)[where]
            self._graphs[prompt_id].extend(images.pixels[where], exclude=flagged)

    def look(self, prompt_ids: Sequence[int]) -> Look:
        return self._largest

    def _largest(self, prompt_id: int) -> tuple[int, int]:
        graph = self._graphs[prompt_id].graph().within(self._config.threshold)
        return largest_clique(graph, node_limit=min(self._config.node_limit, LOOK_NODES))

    def drop(self, prompt_id: int) -> None:
        self._graphs.pop(prompt_id, None)


class DeviceGraphs:
    """Slots of ``DevicePrompts``, used again by one prompt after the other; more of them when a batch needs more.

    Room for ``generations`` images a slot is taken at once on a CUDA device. A batch of B images needs at most B slots,
    with the fixed budget two or three.
    """

    def __init__(self, config: Config, shape: tuple[int, int, int], device: str, threads: int | None) -> None:
        self._config, self._shape, self._device, self._threads = config, shape, device, threads
        self._slots: dict[int, Slot] = {}
        self._free: list[Slot] = []

    def begin(self, prompt_ids: Sequence[int]) -> dict[int, PromptGraph | Slot]:
        missing = len(prompt_ids) - len(self._free)
        if missing > 0:
            config = self._config
            prompts = DevicePrompts(
                missing,
                config.generations,
                self._shape,
                config.threshold,
                grid=config.grid,
                device=self._device,
                threads=self._threads,
            )
            self._free.extend(Slot(prompts, number) for number in range(missing))
        begun = {prompt_id: self._free.pop() for prompt_id in prompt_ids}
        self._slots.update(begun)
        return dict(begun)

    def extend(self, images: Images, part: Sequence[Request]) -> None:
        flagged = np.asarray(images.flagged)
        groups: dict[DevicePrompts, list[int]] = {}
        for n, request in enumerate(part):
            groups.setdefault(self._slots[request.prompt_id].prompts, []).append(n)
        for prompts, where in groups.items():
            pixels = images.pixels if len(where) == len(part) else images.pixels[where]
            numbers = [self._slots[part[n].prompt_id].number for n in where]
            prompts.extend(pixels, numbers, exclude=flagged[where])

    def look(self, prompt_ids: Sequence[int]) -> Look:
        @functools.cache
        def all_at_once() -> dict[int, tuple[int, int]]:
            groups: dict[DevicePrompts, list[int]] = {}
            for prompt_id in prompt_ids:
                groups.setdefault(self._slots[prompt_id].prompts, []).append(prompt_id)
            limit = min(self._config.node_limit, LOOK_NODES)
            bounds: dict[int, tuple[int, int]] = {}
            for prompts, ids in groups.items():
                cliques = prompts.largest([self._slots[i].number for i in ids], node_limit=limit)
                bounds.update((i, (c.lower, c.upper)) for i, c in zip(ids, cliques, strict=True))
            return bounds

        return lambda prompt_id: all_at_once()[prompt_id]

    def drop(self, prompt_id: int) -> None:
        slot = self._slots.pop(prompt_id, None)
        if slot is not None:
            slot.prompts.clear(slot.number)
            self._free.append(slot)


def side_by_side(part: Sequence[Request]) -> dict[int, slice]:
    """Where each prompt's images stand in a batch, in the order of the prompts."""
    places: dict[int, slice] = {}
    for n, request in enumerate(part):
        first = places.get(request.prompt_id, slice(n, n)).start
        places[request.prompt_id] = slice(first, n + 1)
    return places


def on_host(image: Any) -> NDArray[np.uint8]:
    """An array or a tensor as an array."""
    return np.asarray(image.cpu() if hasattr(image, "cpu") else image)
