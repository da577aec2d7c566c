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

#: What a generation's entry in ``flags`` says: it is compared, it was replaced by a safety checker, it holds no picture, or
#: it is near the image that it was made from.
OK, FLAGGED, GIVEN, BROKEN = 0, 1, 2, 3
#: Images that memory is allocated for at first, of a prompt that will probably stop early.
EXPECTED = 64


@dataclasses.dataclass
class PromptInFlight:
    """A prompt, the graphs that hold its own graph, and the seeds of its generations so far.

    ``written`` holds the digests of the images that are stored already, by seed.
    ``flags`` has an entry for each generation that is in the graph: OK, FLAGGED or BROKEN. ``unkept`` are the indices of
    those that are nowhere but in memory, in ranges, and ``seconds`` what sampling these took.
    """

    prompt_id: int
    prompt: str
    graphs: GrowingGraphs
    seeds: list[int] = dataclasses.field(default_factory=list)
    stop: StopReason = StopReason.ALL
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
    written: dict[int, FileDigest] = dataclasses.field(default_factory=dict)
    flags: bytearray = dataclasses.field(default_factory=bytearray)
    unkept: list[range] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    def added(self, flags: NDArray[np.uint8], kept: NDArray[np.bool_] | None, seconds: float) -> None:
        """Note that generations (N,) came into the graph, which of them are in the journal, and what the others took."""
        first = len(self.flags)
        if kept is None:
            self.unkept.append(range(first, first + len(flags)))
        else:
            self.unkept += [range(i, i + 1) for i in (first + np.nonzero(~kept)[0]).tolist()]
        self.flags += flags.tobytes()
        self.seconds += seconds


def count_near(prompt: PromptInFlight) -> int:
    """Return how many of a prompt's generations are near the image that they were made from."""
    return prompt.flags.count(GIVEN)


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


def join_flags(flagged: NDArray[np.bool_], broken: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
    """Return (N,) of OK, FLAGGED and BROKEN."""
    flags = flagged.astype(np.uint8)
    if broken is not None:
        flags[broken] = BROKEN
    return flags
