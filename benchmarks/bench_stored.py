"""Read and graph stored generations, against what cannot be saved: reading the same bytes, or the decoder alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from memcore.bench import stored
from memcore.bench.stored import Case


@pytest.fixture(scope="module", params=stored.FORMATS)
def case(
    request: pytest.FixtureRequest,
    make_images: Callable[[str], NDArray[np.uint8]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Case:
    kind: str = request.param
    if kind in stored.DECODERS:
        pytest.importorskip(stored.DECODERS[kind][1])
    return stored.prepare(kind, make_images(stored.KIND), tmp_path_factory.mktemp(kind) / "set")


def bench_memcore(benchmark: Any, case: Case) -> None:
    benchmark.group = f"stored, {case.format}"
    stored.verify(case)
    benchmark.pedantic(stored.memcore_graph, (case.stored,), rounds=5, warmup_rounds=1)


def bench_floor(benchmark: Any, case: Case) -> None:
    benchmark.group = f"stored, {case.format}"
    benchmark.pedantic(case.floor, rounds=5, warmup_rounds=1)
