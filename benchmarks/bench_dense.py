"""Dense tiled l2, N x N distances: memcore on every instruction set, and its peers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from memcore import isa
from memcore.bench import dense, peers

Images = NDArray[np.uint8]

pytestmark = pytest.mark.benchmark(group="dense, N x N distances")


@pytest.fixture(scope="module")
def images(make_images: Callable[[str], Images]) -> Images:
    return make_images(dense.KIND)


@pytest.fixture(scope="module")
def exact(images: Images) -> NDArray[np.float64]:
    """Return the distances of all pairs, after comparing their ssd with the int64 oracle."""
    return dense.exact_distances(dense.verify(images), dense.tile_bytes(images))


@pytest.mark.parametrize("name", isa.available()[::-1])
def bench_memcore(benchmark: Any, images: Images, name: str) -> None:
    with isa.using(name):
        dense.verify(images)
        benchmark.extra_info["multiply_adds"] = dense.multiply_adds(images)
        benchmark.pedantic(
            functools.partial(dense.memcore_kernel, images, "distance", 1), rounds=5, warmup_rounds=1
        )


def bench_memcore_two_threads(benchmark: Any, images: Images) -> None:
    dense.verify(images)
    benchmark.pedantic(
        functools.partial(dense.memcore_kernel, images, "distance", 2), rounds=5, warmup_rounds=1
    )


@pytest.mark.parametrize("peer", peers.DENSE, ids=lambda peer: peer.name)
def bench_peer(
    benchmark: Any, images: Images, exact: NDArray[np.float64], peer: peers.Peer, needs: Callable[[str], None]
) -> None:
    needs(peer.module)
    tile = dense.tile_shape(images)
    error = dense.largest_error(np.asarray(peer.run(images, tile)), exact)
    assert error < 0.01, "the peer computes something else"
    benchmark.extra_info["largest_error"] = error
    benchmark.pedantic(functools.partial(peer.run, images, tile), rounds=3)


@pytest.mark.benchmark(group="dense, 2 images 64x64x3: the overhead of a call")
def bench_call_overhead(benchmark: Any) -> None:
    small = np.zeros((2, 64, 64, 3), dtype=np.uint8)
    small[1] = 255
    dense.verify(small)
    benchmark(dense.memcore_kernel, small, "distance", 1)
