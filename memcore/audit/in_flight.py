"""A prompt between its first image and its row."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.graphs.growing import GraphSettings, GrowingGraphs
from memcore.runs.config import Config
from memcore.storage.digests import FileDigest
from memcore.types import StopReason

#: Images that memory is allocated for at first, of a prompt that will probably stop early.
EXPECTED = 64


@dataclasses.dataclass
class PromptInFlight:
    """A prompt, the graphs that hold its own graph, and the seeds of its generations so far.

    ``written`` holds the digests of the images that are stored already, by seed.
    """

    prompt_id: int
    prompt: str
    graphs: GrowingGraphs
    seeds: list[int] = dataclasses.field(default_factory=list)
    stop: StopReason = StopReason.ALL
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
    written: dict[int, FileDigest] = dataclasses.field(default_factory=dict)


def graph_settings(config: Config, shape: tuple[int, int, int], threads: int | None) -> GraphSettings:
    """Return the settings of graphs in the run's configuration."""
    return GraphSettings(
        shape=shape,
        threshold=config.threshold,
        grid=config.grid,
        min_clique=config.min_clique,
        node_limit=config.node_limit,
        generations=config.generations,
        expected=min(config.generations, EXPECTED) if config.budget == "sequential" else config.generations,
        pairs_up_to=config.edges_up_to,
        threads=threads,
    )


def on_host(image: Any) -> NDArray[np.uint8]:
    """Return an array or a tensor as an array."""
    return np.asarray(image.cpu() if hasattr(image, "cpu") else image)
