"""The exact thresholded graph of every kind of images, own dense distances, and one plain read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from memcore import _core
from memcore.bench import dense, graph, kinds

Images = NDArray[np.uint8]


@pytest.mark.parametrize("threshold", graph.THRESHOLDS)
@pytest.mark.parametrize("kind", kinds.KINDS)
def bench_memcore(benchmark: Any, make_images: Callable[[str], Images], kind: str, threshold: float) -> None:
    benchmark.group = f"graph, {kind}"
    images = make_images(kind)
    answer = graph.verify(images, threshold, dense.verify(images))
    benchmark.extra_info["edges"] = len(answer)
    benchmark.pedantic(functools.partial(graph.memcore_graph, images, threshold), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("kind", kinds.KINDS)
def bench_own_dense(benchmark: Any, make_images: Callable[[str], Images], kind: str) -> None:
    benchmark.group = f"graph, {kind}"
    images = make_images(kind)
    dense.verify(images)
    benchmark.pedantic(functools.partial(dense.memcore_kernel, images, "ssd", 1), rounds=5, warmup_rounds=1)


def bench_plain_read(benchmark: Any, make_images: Callable[[str], Images]) -> None:
    benchmark.group = "graph, one plain read of the images"
    benchmark.pedantic(_core.read_bandwidth, (make_images("diverse"),), rounds=9, warmup_rounds=1)
