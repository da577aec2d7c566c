"""The graphs of the prompts in flight on the CPU: a ``PromptGraph`` a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore import arrays
from memcore.graphs.findings import largest_clique, search_all
from memcore.graphs.growing import DECISION_NODES, Bounds, GraphOutcome, GraphSettings, PromptRun
from memcore.graphs.prompt_graph import PromptGraph
from memcore.types import Images


class HostGrowingGraphs:
    """A ``PromptGraph`` for each prompt in flight."""

    def __init__(self, settings: GraphSettings) -> None:
        self._settings = settings
        self._graphs: dict[int, PromptGraph] = {}

    def begin(self, prompt_ids: Sequence[int]) -> None:
        """Begin an empty graph for each prompt."""
        for prompt_id in prompt_ids:
            self.begin_one(prompt_id)

    def begin_one(self, prompt_id: int, **images_in: Any) -> PromptGraph:
        """Begin one prompt; ``images_in`` are further arguments of ``PromptGraph`` that say where images are kept."""
        settings = self._settings
        graph = self._graphs[prompt_id] = PromptGraph(
            settings.shape,
            settings.pairs_up_to or settings.threshold,
            grid=settings.grid,
            min_clique=settings.min_clique,
            node_limit=settings.node_limit,
            channels="last",
            threads=settings.threads,
            capacity=settings.expected,
            **images_in,
        )
        return graph

    def extend(self, images: Images, runs: Sequence[PromptRun]) -> None:
        """Add a batch to the graphs of its prompts."""
        pixels = images.pixels
        if arrays.is_torch(pixels) and pixels.device.type == "cpu":
            pixels = pixels.numpy()
        flagged = images.flagged if images.flagged.any() else None
        for prompt_id, first, count in runs:
            rows = slice(first, first + count)
            exclude = None if flagged is None else flagged[rows]
            self._graphs[prompt_id].extend(pixels[rows], exclude=exclude)

    def bounds(self, prompt_ids: Sequence[int]) -> Bounds:
        """Return bounds that are computed for each prompt when they are read."""
        return self._compute_bounds

    def _compute_bounds(self, prompt_id: int) -> tuple[int, int]:
        graph = self._graphs[prompt_id].graph().within(self._settings.threshold)
        return largest_clique(graph, node_limit=min(self._settings.node_limit, DECISION_NODES))

    def outcome(self, prompt_id: int) -> GraphOutcome:
        """Return the prompt's edges and findings, with all its pairs."""
        grown, settings = self._graphs[prompt_id], self._settings
        pairs = grown.graph()
        graph = pairs.within(settings.threshold)
        found, upper, largest = search_all(
            graph, settings.min_clique, node_limit=settings.node_limit, largest_limit=DECISION_NODES
        )
        return GraphOutcome(grown.n, grown.excluded, len(graph), found, pairs, grown.pixels, upper, largest)

    def pixels(self, prompt_id: int, index: int) -> NDArray[np.uint8]:
        """Return a generation of the prompt, copied to the CPU."""
        return self._graphs[prompt_id].pixels(index)

    def drop(self, prompt_id: int) -> None:
        """Free the prompt's graph with its images."""
        self._graphs.pop(prompt_id, None)
