"""The public mathematics against the int64 oracle, on every instruction set: distances, graphs, neighbours, cliques."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import memcore
from fuzz.draw import Draw
from fuzz.target import Wrong
from memcore import isa
from memcore.backends import reference
from memcore.errors import ArgumentValueError

#: Bytes that most cases compare, of all pairs: a case should take milliseconds.
_WORK = 1 << 21
#: The oracle of cliques enumerates.
_MOST_VERTICES = 22


def equal(found: Any, wanted: Any, what: str) -> None:
    """Raise Wrong unless two arrays have one shape and equal values."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    if found.shape != wanted.shape:
        raise Wrong(f"{what}: the shape is {found.shape}, not {wanted.shape}")
    if not np.array_equal(found, wanted):
        at = tuple(int(i) for i in np.argwhere(found != wanted)[0])
        raise Wrong(f"{what}: {found[at]} at {at}, not {wanted[at]}, on {isa.active()}")


def draw_shape(draw: Draw) -> tuple[tuple[int, int], tuple[int, int, int]]:
    """Return a tile and the images (H, W, C) that it cuts."""
    sizes = [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 64, 65, 128]
    tile = (draw.choose(sizes[: 12 + draw.number(0, 4)]), draw.choose(sizes[: 12 + draw.number(0, 4)]))
    grid = (draw.number(1, 5), draw.number(1, 5))
    return tile, (tile[0] * grid[0], tile[1] * grid[1], draw.number(1, 4))


def draw_count(draw: Draw, image_bytes: int) -> int:
    """Return a number of images, around the widths of the core's panels."""
    work = _WORK << (3 if draw.chance(10) else 0)
    most = max(1, math.isqrt(work // image_bytes))
    return min(draw.choose([1, 2, 3, 5, 8, 15, 16, 17, 31, 32, 33, 48, 63, 65, 100, 200]), most)


def draw_threshold(draw: Draw, ssd: NDArray[Any], k: int) -> float:
    """Return a threshold: any, an end of the range, or one that an image pair meets exactly or just misses."""
    kind = draw.byte() % 4
    if kind == 0:
        return draw.fraction()
    if kind == 1:
        return draw.choose([0.0, 1.0, 0.15, 1e-9, 0.5, 1 / 3])
    exact = math.sqrt(int(ssd.flat[draw.number(0, ssd.size - 1)]) / (k * 65025))
    near = draw.choose([exact, math.nextafter(exact, 0), math.nextafter(exact, 1), float(np.float32(exact))])
    return min(max(near, 0.0), 1.0)


def exact_limit(threshold: float, k: int) -> int:
    """Return the largest ssd within a threshold, which is the decimal that prints it."""
    return math.floor(Fraction(repr(threshold)) ** 2 * 65025 * k)


class Differential:
    """Every answer of uint8 images must be the oracle's, bit for bit; float distances are within their bound."""

    def __init__(self, folder: Path) -> None:
        """Nothing is written to the folder."""

    def make(self, rng: np.random.Generator) -> bytes:
        return rng.bytes(96)

    def check(self, data: bytes) -> str:
        draw = Draw(data)
        name, run = draw.choose(list(KINDS.items()))
        with isa.using(draw.choose(isa.available()[::-1])):
            run(draw, draw.number(1, 3))
        return name


def check_distances(draw: Draw, threads: int) -> None:
    tile, shape = draw_shape(draw)
    k = tile[0] * tile[1] * shape[2]
    n = draw_count(draw, math.prod(shape))
    batches = draw.choose([0, 1, 2, 5]) if n * math.prod(shape) < 20_000 else 0
    images = draw.pixels((max(1, batches) * n, *shape)).reshape(max(1, batches), n, *shape)
    other = None
    if draw.chance(40):
        m = draw_count(draw, math.prod(shape))
        other = draw.pixels((max(1, batches) * m, *shape)).reshape(max(1, batches), m, *shape)
    wanted = reference.tiled_l2_ssd(images, other, tile)
    if not batches:
        images, other, wanted = images[0], None if other is None else other[0], wanted[0]
    if draw.chance(50):
        ssd = memcore.pairwise_tiled_l2(images, other, tile=tile, output="ssd", threads=threads)
        equal(ssd, wanted, "ssd")
    else:
        found = memcore.pairwise_tiled_l2(images, other, tile=tile, threads=threads)
        equal(found, np.sqrt(wanted / (k * 65025.0)).astype(np.float32), "distances")


def check_floats(draw: Draw, threads: int) -> None:
    tile, shape = draw_shape(draw)
    k = tile[0] * tile[1] * shape[2]
    pixels = draw.pixels((min(draw_count(draw, math.prod(shape)), 40), *shape))
    images: NDArray[Any] = (pixels / np.float32(255)).astype(draw.choose([np.float32, np.float16]))
    if draw.chance(10):
        images[-1, -1, -1, -1] = draw.choose([np.nan, -1e-3, 1.01, np.inf])
        try:
            memcore.pairwise_tiled_l2(images, tile=tile, threads=threads)
        except ArgumentValueError:
            return
        raise Wrong("a value outside of [0, 1] is taken")
    found = memcore.pairwise_tiled_l2(images, tile=tile, threads=threads)
    wanted = reference.tiled_l2_float(images[None], None, tile)[0]
    if not np.allclose(found, wanted, rtol=k * 2.0**-24 + 2.0**-22, atol=0):
        raise Wrong(f"float distances are off by {np.abs(found - wanted).max()}")
    with isa.using("scalar"):
        equal(
            found,
            memcore.pairwise_tiled_l2(images, tile=tile, threads=1),
            "float distances of another machine",
        )


def check_graph(draw: Draw, threads: int) -> None:
    tile, shape = draw_shape(draw)
    k = tile[0] * tile[1] * shape[2]
    images = draw.pixels((draw_count(draw, math.prod(shape)), *shape))
    ssd = reference.tiled_l2_ssd(images[None], None, tile)[0]
    threshold = draw_threshold(draw, ssd, k)
    i, j = np.nonzero(np.triu(ssd <= exact_limit(threshold, k), 1))
    wanted = np.stack([i, j], 1)
    distances = draw.chance(50)
    whole = memcore.tiled_l2_graph(images, threshold, tile=tile, distances=distances, threads=threads)
    equal(whole.edges, wanted, "edges")
    if distances:
        equal(whole.ssd, ssd[i, j], "the edges' ssd")
        equal(whole.distances, np.sqrt(ssd[i, j] / (k * 65025.0)).astype(np.float32), "the edges' distances")
    least = draw.number(2, 7)
    some = memcore.tiled_l2_graph(
        images, threshold, tile=tile, distances=distances, min_clique=least, threads=threads
    )
    kept = {(int(a), int(b)) for a, b in some.edges}
    every = {(int(a), int(b)) for a, b in wanted}
    if not kept <= every:
        raise Wrong(f"a partial graph has edges that are none: {sorted(kept - every)[:5]}")
    if len(images) <= _MOST_VERTICES:
        check_left_out(whole.adjacency(), every - kept, least)


def check_left_out(adjacency: NDArray[np.bool_], gone: set[tuple[int, int]], least: int) -> None:
    """Raise Wrong if an edge that was left out lies in a clique of ``least`` vertices."""
    for a, b in sorted(gone)[:20]:
        common = np.nonzero(adjacency[a] & adjacency[b])[0]
        if len(reference.max_clique(adjacency[np.ix_(common, common)])) + 2 >= least:
            raise Wrong(f"the edge {a, b} is left out, and lies in a clique of {least}")


def check_growing(draw: Draw, threads: int) -> None:
    """A graph that grows by batches of any size, with images left out, kept or read again, is that of all of them."""
    tile, shape = draw_shape(draw)
    k = tile[0] * tile[1] * shape[2]
    images = draw.pixels((min(draw_count(draw, math.prod(shape)), 40), *shape))
    gone = draw.rng().random(len(images)) < draw.choose([0, 0, 0.2, 1])
    ssd = reference.tiled_l2_ssd(images[None], None, tile)[0]
    threshold = draw_threshold(draw, ssd, k)
    kept_at = np.nonzero(~gone)[0]

    def reread(indices: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        out[:] = images[indices]

    graph = memcore.PromptGraph(
        shape,
        threshold,
        tile=tile,
        min_clique=draw.number(2, 5),
        capacity=draw.number(1, 40),
        threads=threads,
        reread=reread if draw.chance(30) else None,
    )
    at = 0
    while at < len(images):
        size = draw.number(1, 9)
        graph.extend(images[at : at + size], exclude=gone[at : at + size])
        at += size
        if draw.chance(30):
            graph.graph()
    edges = (ssd <= exact_limit(threshold, k)) & ~gone[:, None] & ~gone[None]
    i, j = np.nonzero(np.triu(edges, 1))
    found = graph.graph()
    equal(found.edges, np.stack([i, j], 1), "edges of a growing graph")
    equal(found.ssd, ssd[i, j], "ssd of a growing graph")
    if len(kept_at):
        place = int(kept_at[draw.number(0, len(kept_at) - 1)])
        equal(graph.pixels(place), images[place], "a generation that was kept")
    if len(images) <= _MOST_VERTICES:
        wanted = reference.find_cliques(found.adjacency(), graph.min_clique)
        if [finding.members for finding in graph.findings()] != wanted:
            raise Wrong(f"findings {graph.findings()}, not {wanted}")


def check_knn(draw: Draw, threads: int) -> None:
    width = draw.choose([1, 2, 3, 15, 16, 17, 31, 33, 63, 64, 65, 127, 192, 300, 768, 3000])
    queries = draw.pixels((draw.choose([1, 2, 3, 7, 16, 17, 33]), width))
    corpus_rows = draw.pixels((draw.choose([1, 2, 3, 16, 17, 31, 64, 65, 200]), width))
    if draw.chance(40):
        rows = draw.rng().integers(0, len(corpus_rows), len(queries))
        queries = corpus_rows[rows]  # distances of 0, and ties with whatever equals them
    k = draw.number(1, len(corpus_rows))
    given: Any = corpus_rows
    if draw.chance(40):
        size = draw.number(1, 70)
        given = (corpus_rows[at : at + size] for at in range(0, len(corpus_rows), size))
    found = memcore.knn(queries, given, k, threads=threads)
    ssd, indices = reference.knn(queries, corpus_rows, k)
    equal(found.ssd, ssd, "ssd of neighbours")
    equal(found.indices, indices, "neighbours")
    equal(found.distances, np.sqrt(ssd / (width * 65025.0)).astype(np.float32), "distances of neighbours")


def draw_adjacency(draw: Draw) -> NDArray[np.bool_]:
    """Return a graph: of some density, with planted cliques, bipartite, or a path."""
    n, rng = draw.number(0, _MOST_VERTICES), draw.rng()
    edges = np.triu(rng.random((n, n)) < draw.fraction(), 1)
    kind = draw.byte() % 4
    if kind == 1:
        for _ in range(2):
            members = rng.permutation(n)[: draw.number(1, 8)]
            edges[np.ix_(members, members)] = True
    elif kind == 2:
        side = rng.random(n) < 0.5
        edges &= side[:, None] != side[None]
    elif kind == 3:
        edges = np.eye(n, k=1, dtype=np.bool_)
    edges = np.triu(edges | edges.T, 1)
    return np.asarray(edges | edges.T, dtype=np.bool_)


def to_graph(adjacency: NDArray[np.bool_]) -> memcore.Graph:
    edges = np.argwhere(np.triu(adjacency, 1)).astype(np.int32)
    return memcore.Graph(len(adjacency), edges, None, None, 0.15, 48)


def check_clique(draw: Draw, threads: int) -> None:
    adjacency = draw_adjacency(draw)
    graph: Any = to_graph(adjacency) if draw.chance(50) else adjacency
    wanted = reference.max_clique(adjacency)
    if draw.chance(25):  # a search that is cut off knows bounds
        found = memcore.max_clique(graph, node_limit=draw.number(1, 4))
        if not found.lower <= len(wanted) <= found.upper or len(found.members) != found.lower:
            raise Wrong(f"{found} of a graph whose largest clique is {wanted}")
        if not all(adjacency[a, b] for a, b in itertools.combinations(found.members, 2)):
            raise Wrong(f"{found} is no clique")
        if found.proven and found.members != wanted:
            raise Wrong(f"{found} is said to be proven, and the largest clique is {wanted}")
        return
    found = memcore.max_clique(graph)
    if found.members != wanted or not found.proven or not found.lower == found.upper == len(wanted):
        raise Wrong(f"{found} where the largest clique is {wanted}")


def check_cliques(draw: Draw, threads: int) -> None:
    adjacency, least = draw_adjacency(draw), draw.number(2, 6)
    graph: Any = to_graph(adjacency) if draw.chance(50) else adjacency
    found = memcore.find_cliques(graph, least)
    wanted = reference.find_cliques(adjacency, least)
    if [clique.members for clique in found] != wanted or not found.proven or found.upper >= least:
        raise Wrong(f"{list(found)} (rest {found.upper}), not {wanted}")


def check_many(draw: Draw, threads: int) -> None:
    graphs = [draw_adjacency(draw) for _ in range(draw.number(0, 5))]
    given = [to_graph(a) if draw.chance(50) else a for a in graphs]
    found = memcore.max_cliques(given, threads=threads)
    wanted = [reference.max_clique(a) for a in graphs]
    if [clique.members for clique in found] != wanted or not all(clique.proven for clique in found):
        raise Wrong(f"{found}, not {wanted}")


KINDS: dict[str, Callable[[Draw, int], None]] = {
    "distances": check_distances,
    "floats": check_floats,
    "graphs": check_graph,
    "growing graphs": check_growing,
    "neighbours": check_knn,
    "cliques": check_clique,
    "disjoint cliques": check_cliques,
    "many graphs": check_many,
}
