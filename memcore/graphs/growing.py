"""The graphs of the prompts in flight: one interface, whatever device a sampler's images are on.

Tensors on a CUDA device feed ``DevicePrompts`` (``growing_device.py``); arrays and tensors on the CPU feed one
``PromptGraph`` a prompt (``growing_host.py``); ``start.py`` chooses. Every answer is the same, bit for bit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from memcore.types import Finding, Graph, Images

#: Nodes of a clique search for a budget's decision. A search that needs more is not proven there, and its prompt continues.
DECISION_NODES = 100_000

#: Bounds (lower, upper) of the size of a prompt's largest clique, by the prompt's id.
Bounds: TypeAlias = Callable[[int], tuple[int, int]]


class PromptRun(NamedTuple):
    """``length`` images of one prompt that follow each other in a batch, from row ``first`` on."""

    prompt_id: int
    first: int
    length: int


@dataclasses.dataclass(frozen=True)
class GraphSettings:
    """The settings that all graphs of a run share.

    ``shape`` is (H, W, C) of every image. Edges are pairs within ``threshold``; with ``pairs_up_to`` above 0, all pairs
    within that distance are kept as well. ``generations`` is the most images of a prompt, and memory is allocated for
    ``expected`` of them at first.
    """

    shape: tuple[int, int, int]
    threshold: float
    grid: tuple[int, int]
    min_clique: int
    node_limit: int
    generations: int
    expected: int
    pairs_up_to: float = 0.0
    threads: int | None = None


@dataclasses.dataclass(frozen=True)
class GraphOutcome:
    """The result of a prompt's graph: numbers of generations and of edges within the threshold, and the findings.

    ``pixels(index)`` reads a generation (H, W, C), copied to the CPU, until the prompt is dropped; excluded ones were not
    kept. ``pairs`` is the graph with all its pairs, and None where it never left its device.
    ``upper`` is the most members that a clique beside the findings can have: ``min_clique`` or more only where the search
    ended at its limit. ``largest`` is the size of the largest clique that was found, also of one below ``min_clique``.
    """

    generated: int
    excluded: int
    edges: int
    findings: list[Finding]
    pairs: Graph | None
    pixels: Callable[[int], NDArray[np.uint8]]
    upper: int
    largest: int


class GrowingGraphs(Protocol):
    """The graphs of all prompts in flight, by prompt id."""

    def begin(self, prompt_ids: Sequence[int]) -> None:
        """Begin an empty graph for each prompt."""
        ...

    def extend(self, images: Images, runs: Sequence[PromptRun]) -> None:
        """Add a batch; images that are flagged count, and get no edges."""
        ...

    def bounds(self, prompt_ids: Sequence[int]) -> Bounds:
        """Return the bounds of the prompts that await a decision: one question for all of them.

        Nothing is computed before the first answer is read, or the ``outcome`` of one of them.
        """
        ...

    def outcome(self, prompt_id: int) -> GraphOutcome:
        """Return the prompt's edges and findings."""
        ...

    def pixels(self, prompt_id: int, index: int) -> NDArray[np.uint8]:
        """Return a generation of the prompt (H, W, C), copied to the CPU; excluded ones were not kept."""
        ...

    def drop(self, prompt_id: int) -> None:
        """Free a prompt's images; a prompt that was never begun is no error."""
        ...
