"""The choice of the graphs for the prompts in flight, by the device of a sampler's first images."""

from __future__ import annotations

from typing import Any

from memcore import arrays
from memcore.graphs.device_prompts import MAX_CAPACITY
from memcore.graphs.growing import GraphSettings, GrowingGraphs
from memcore.graphs.growing_device import DeviceGrowingGraphs
from memcore.graphs.growing_host import HostGrowingGraphs
from memcore.types import Images


def start_graphs(settings: GraphSettings, first: Images) -> GrowingGraphs:
    """Return the graphs for a sampler whose first images are ``first``.

    Runs that store pairs need every prompt's edges on the host, and prompts of more than 1,024 generations do not fit the
    clique kernel: they take ``PromptGraph``, whose images stay on the device as well.
    """
    if on_device(first.pixels) and settings.generations <= MAX_CAPACITY and not settings.pairs_up_to:
        return DeviceGrowingGraphs(settings, str(first.pixels.device))
    return HostGrowingGraphs(settings)


def on_device(pixels: Any) -> bool:
    """Return whether the images are on a CUDA device."""
    return arrays.is_torch(pixels) and pixels.device.type == "cuda"
