"""The exact thresholded graph of all kinds of images, against own dense distances and one plain read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import memcore
from memcore import _core, isa
from memcore.bench import dense, kinds
from memcore.bench.rows import FASTER, OF_THE_TIME, Row, Target
from memcore.bench.timing import Spread, in_turn, require_equal
from memcore.types import Graph, Threshold

#: (images, threshold) -> Graph: what is timed; a test passes a wrong one.
Kernel = Callable[[NDArray[np.uint8], float], Graph]

THRESHOLDS = (0.10, 0.15)
DENSE, READ = "own dense distances", "one plain read of the images"
#: Ratio to one read that diverse images must stay under, by threshold.
_READ_LIMITS = {0.10: 1.8, 0.15: 2.4}


def memcore_graph(images: NDArray[np.uint8], threshold: float) -> Graph:
    """Call the public function as a user does, in one thread."""
    return memcore.tiled_l2_graph(images, threshold, grid=dense.GRID, threads=1)


def verify(
    images: NDArray[np.uint8], threshold: float, ssd: NDArray[Any], kernel: Kernel = memcore_graph
) -> Graph:
    """Return the graph, after comparing every pair with the dense integers, which the oracle has confirmed."""
    graph = kernel(images, threshold)
    limit = Threshold(threshold).ssd_max(dense.tile_bytes(images))
    i, j = np.nonzero(np.triu(ssd <= limit, 1))
    what = f"graph at {threshold:.2f}"
    require_equal(f"{what}, edges", graph.edges, np.stack([i, j], axis=1).astype(np.int32))
    require_equal(f"{what}, sums", np.asarray(graph.ssd), ssd[i, j])
    return graph


def run(quick: bool, *, kernel: Kernel = memcore_graph) -> Iterator[Row]:
    """Measure every kind at both thresholds, and the worst of them against dense."""
    n, size, rounds, budget_s = (64, 256, 3, 1.0) if quick else (500, 512, 7, 5.0)
    worst: Spread | None = None
    worst_at = ""
    for name in kinds.KINDS:
        images = kinds.images(name, n, size)
        for row in one_kind(images, name, rounds, budget_s, kernel=kernel):
            yield row
            if row.name.startswith(DENSE) and row.value is not None and row.ours_s and row.other_s:
                share = Spread(1 / row.value.median, 1 / row.value.high, 1 / row.value.low)
                if worst is None or share.median > worst.median:
                    worst, worst_at = share, f"{name}, {row.name.removeprefix(DENSE + ' ')}"
    yield Row(
        "graph",
        "the worst of all kinds",
        worst_at,
        isa.active(),
        OF_THE_TIME,
        value=worst,
        target=Target("graph, worst case over the kinds, against own dense", "<=", 1.3),
        note="of own dense",
    )
    yield from features_taken(kinds.images("diverse", n, size), rounds)
    yield from edges_alone(kinds.images("all same", n, size), "all same", rounds)


def edges_alone(images: NDArray[np.uint8], name: str, rounds: int) -> Iterator[Row]:
    """Measure the edges without their sums, where bounds and the triangle inequality may decide, against the whole graph."""
    n, size = images.shape[:2]
    for threshold in THRESHOLDS:
        alone = functools.partial(
            memcore.tiled_l2_graph, images, threshold, grid=dense.GRID, threads=1, distances=False
        )
        whole = functools.partial(memcore_graph, images, threshold)
        require_equal(f"edges alone at {threshold:.2f}", alone().edges, whole().edges)
        pairs = in_turn(alone, whole, rounds)
        yield Row(
            "graph",
            f"{n} images {size}x{size}x3, {name}, edges alone",
            f"the whole graph at {threshold:.2f}",
            isa.active(),
            OF_THE_TIME,
            value=pairs.times_the_time,
            ours_s=Spread.of(pairs.ours_s),
            other_s=Spread.of(pairs.other_s),
            rounds=rounds,
        )


def features_taken(images: NDArray[np.uint8], rounds: int) -> Iterator[Row]:
    """Measure the rest of the work where the features were taken while each image was in the cache, as ``extend`` does."""
    n, size = images.shape[:2]
    work = f"{n} images {size}x{size}x3, diverse, features already taken"
    if not hasattr(_core, "Features"):
        target = Target("graph with features already taken, against one read", "<=", 0.6)
        yield Row(
            "graph", work, READ, isa.active(), OF_THE_TIME, target=target, note="the core keeps no features"
        )
        return
    tile = dense.tile_shape(images)
    features = _core.Features(*tile)
    features.append(images, 1)
    for threshold in THRESHOLDS:
        limit = Threshold(threshold).ssd_max(dense.tile_bytes(images))
        rest = functools.partial(_core.tiled_l2_graph, images, *tile, limit, 1, 0, features)
        whole = memcore_graph(images, threshold)
        edges, ssd, _ = rest()
        require_equal("graph with features, edges", edges, whole.edges)
        require_equal("graph with features, sums", ssd, np.asarray(whole.ssd))
        pairs = in_turn(rest, functools.partial(_core.read_bandwidth, images), rounds)
        yield Row(
            "graph",
            work,
            f"{READ} at {threshold:.2f}",
            isa.active(),
            OF_THE_TIME,
            value=pairs.times_the_time,
            ours_s=Spread.of(pairs.ours_s),
            other_s=Spread.of(pairs.other_s),
            rounds=rounds,
            target=Target(
                f"graph with features already taken at {threshold:.2f}, against one read", "<=", 0.6
            ),
        )


def one_kind(
    images: NDArray[np.uint8],
    name: str,
    rounds: int,
    budget_s: float = float("inf"),
    *,
    kernel: Kernel = memcore_graph,
) -> Iterator[Row]:
    """Measure both thresholds of one kind: a row against dense and one against a plain read."""
    ssd = dense.verify(images)
    n, size = images.shape[:2]
    work = f"{n} images {size}x{size}x3, {name}"
    for threshold in THRESHOLDS:
        graph = verify(images, threshold, ssd, kernel)
        ours = functools.partial(kernel, images, threshold)
        at = f"at {threshold:.2f}"
        note = f"{len(graph)} edges"
        pairs = in_turn(ours, functools.partial(dense.memcore_kernel, images, "ssd", 1), rounds, budget_s)
        yield Row(
            "graph",
            work,
            f"{DENSE} {at}",
            isa.active(),
            FASTER,
            value=pairs.times_faster,
            ours_s=Spread.of(pairs.ours_s),
            other_s=Spread.of(pairs.other_s),
            rounds=len(pairs.ours_s),
            note=note,
        )
        limit = _READ_LIMITS[threshold] if name == "diverse" else None
        target = Target(f"graph, diverse images {at}, against one read", "<=", limit) if limit else None
        if not hasattr(_core, "read_bandwidth"):
            yield Row(
                "graph", work, f"{READ} {at}", isa.active(), target=target, note="the core has no read probe"
            )
            continue
        pairs = in_turn(ours, functools.partial(_core.read_bandwidth, images), rounds, budget_s)
        yield Row(
            "graph",
            work,
            f"{READ} {at}",
            isa.active(),
            OF_THE_TIME,
            value=pairs.times_the_time,
            ours_s=Spread.of(pairs.ours_s),
            other_s=Spread.of(pairs.other_s),
            rounds=len(pairs.ours_s),
            target=target,
        )
