"""Kernels against an independent reference on the same device: exact, and alike when repeated. Argument: the group."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from memcore_kernels import DeviceGraphs, tiled_l2_ssd
from memcore_kernels import knn as kernel
from memcore_kernels.proof.compiled_cases import CASES, Case
from results import DEVICE, case, exact_ssd, random_images, require_same, with_copies

import memcore
from memcore.backends import gpu_clique
from memcore.bench import graphs as made


def dense(cases: tuple[Case, ...] = CASES) -> None:
    """Every shape that is compiled ahead of time: random bytes, 0 and 255 alone, copies."""
    for one in cases:
        case("check", f"dense: {one.name}", functools.partial(_dense, one))


def _dense(one: Case) -> dict[str, Any]:
    kinds = {
        "random": random_images(1, one.n, *one.size),
        "0 and 255": (random_images(2, one.n, *one.size) > 127).byte() * 255,
        "copies": with_copies(3, one.n, one.size, one.n // 4),
    }
    other = None if one.m is None else random_images(4, one.m, *one.size)
    for kind, images in kinds.items():
        given = [images, other]
        if one.channels == "first":
            given = [None if x is None else x.permute(0, 3, 1, 2).contiguous() for x in given]
        first, second = given
        found = tiled_l2_ssd(first, second, tile=one.tile, channels=one.channels)
        require_same(found, exact_ssd(images, one.tile, other), kind)
        for _ in range(3):
            again = tiled_l2_ssd(first, second, tile=one.tile, channels=one.channels)
            require_same(again, found, f"{kind}, again")
    return {"images": one.n}


def large() -> None:
    """Offsets past 2^31 and 2^32 bytes, by descriptors and by pointers."""
    for name, batch, n, size, tile in (
        ("12 prompts x 500 x 512^2, descriptors", 12, 500, 512, 128),
        ("120 prompts x 500 x 160^2, pointers", 120, 500, 160, 40),
        ("one set of 6,000 x 512^2", 1, 6000, 512, 128),
    ):
        case("check", f"large: {name}", functools.partial(_large, batch, n, size, tile))


def _large(batch: int, n: int, size: int, tile: int) -> dict[str, Any]:
    images = random_images(5, batch, n, size, size, 3)
    found = tiled_l2_ssd(images, tile=(tile, tile), channels="last")
    for prompt in sorted({0, batch // 2, batch - 1}):
        for start in (0, n // 2, n - 40):
            some = slice(start, start + 40)
            expected = exact_ssd(images[prompt, some], (tile, tile), images[prompt])
            require_same(found[prompt, some], expected, f"prompt {prompt}, rows from {start}")
    return {"bytes": images.numel()}


GRAPHS = (
    ("512^2", 12, 500, (512, 512, 3), (128, 128), 0.15),
    ("160^2, pointers", 40, 500, (160, 160, 3), (40, 40), 0.15),
    ("250^2, odd lines", 3, 200, (250, 250, 3), (125, 125), 0.15),
    ("1024^2", 3, 300, (1024, 1024, 3), (256, 256), 0.15),
    ("1024^2, threshold above 2^32", 3, 200, (1024, 1024, 3), (256, 256), 0.9),
    ("64 at most", 5, 64, (512, 512, 3), (128, 128), 0.15),
    ("1,024 generations of 64^2", 3, 1024, (64, 64, 3), (16, 16), 0.15),
)


def graphs(shapes: tuple[Any, ...] = GRAPHS) -> None:
    """Slots that are filled at once, and in batches that mix prompts."""
    for name, *shape in shapes:
        case("check", f"graph: {name}", functools.partial(_graphs, *shape))


def _graphs(
    slots: int, capacity: int, size: tuple[int, int, int], tile: tuple[int, int], threshold: float
) -> dict[str, Any]:
    ssd_max = int(threshold**2 * 255**2 * tile[0] * tile[1] * size[2])
    found = DeviceGraphs(slots, capacity, size, tile=tile, ssd_max=ssd_max, device=DEVICE)
    whole = {
        slot: with_copies(10 + slot, capacity - 3 * slot, size, capacity // 8)
        for slot in sorted({0, slots - 1})
    }
    found.extend(whole[0], [(0, 0, capacity)])
    taken = dict.fromkeys(whole, 0) | {0: capacity}
    for count in (64, 7, 200, 1, capacity):
        runs, batch, first = [], [], 0
        for slot, images in whole.items():
            part = images[taken[slot] : taken[slot] + count]
            if len(part):
                runs.append((slot, first, len(part)))
                batch.append(part)
                first, taken[slot] = first + len(part), taken[slot] + len(part)
        if batch:
            found.extend(torch.cat(batch), runs)
    edges = 0
    for slot, images in whole.items():
        expected = torch.zeros(capacity, capacity, dtype=torch.bool, device=images.device)
        expected[: len(images), : len(images)] = exact_ssd(images, tile) <= ssd_max
        expected.fill_diagonal_(False)
        require_same(gpu_clique.unpack(found.bits[slot], capacity), expected, f"slot {slot}")
        edges += int(expected.sum()) // 2
    require_same(found.degrees(), gpu_clique.unpack(found.bits, capacity).sum(-1).int(), "degrees")
    return {"edges": edges, "descriptors": found.config.tma}


NEAREST = (
    (3072, 1001, 50_001, (1, 10, 50, 128)),
    (3600, 300, 20_000, (10,)),
    (3604, 300, 20_000, (10,)),
    (3075, 300, 20_000, (10,)),
    (786_432, 70, 2000, (1, 50)),
)


def knn(shapes: tuple[Any, ...] = NEAREST) -> None:
    for d, q, n, ks in shapes:
        queries, corpus = random_images(20, q, d), random_images(21, n, d)
        corpus[n // 2] = corpus[3] = queries[0]  # ties go by index
        for k in ks:
            call = functools.partial(_knn, queries, corpus, k)
            case("check", f"knn: {q} x {n} x {d}, k = {k}", call)


def _knn(queries: torch.Tensor, corpus: torch.Tensor, k: int) -> dict[str, Any]:
    ssd, indices = kernel.knn(queries, corpus, k)
    shift = len(corpus).bit_length()
    numbers = torch.arange(len(corpus), device=queries.device)
    norms = torch.cat([(c.double() ** 2).sum(1) for c in corpus.split(2000)])
    for start in range(0, len(queries), 256):
        part = queries[start : start + 256].double()
        products = torch.cat([part @ c.double().T for c in corpus.split(2000)], 1)
        exact = ((part * part).sum(1)[:, None] + norms[None, :] - 2 * products).long()
        best = ((exact << shift) + numbers).topk(k, largest=False).values.sort(1).values
        require_same(indices[start : start + 256], best & ((1 << shift) - 1), "indices")
        require_same(ssd[start : start + 256], best >> shift, "sums")
    return {}


def cliques() -> None:
    """The solver and the decision against the CPU, twice each; hard graphs within the limit of nodes."""
    usable, why = gpu_clique.available()
    if not usable:
        raise SystemExit(why)
    kinds: tuple[tuple[str, int, int, Callable[[int], memcore.Graph]], ...] = (
        ("memorised prompts", 500, 512, lambda seed: made.memorised(500, seed)),
        ("random, density 0.1", 300, 64, lambda seed: made.random(300, 0.1, seed)),
        ("random, density 0.5", 60, 256, lambda seed: made.random(60, 0.5, seed)),
        ("nearly complete", 200, 32, lambda seed: made.nearly_complete(200, 60, 0.1, seed)),
        ("1,024 vertices", 1024, 16, lambda seed: made.memorised(1024, seed)),
    )
    for name, n, count, make in kinds:
        every = [make(seed) for seed in range(count)]
        case("check", f"cliques: {count} x {name}", functools.partial(_cliques, n, every))


def bits_of(n: int, every: list[memcore.Graph]) -> torch.Tensor:
    """Return the graphs as bits (G, n, W) on the device."""
    adjacency = np.zeros((len(every), n, n), dtype=bool)
    for one, graph in zip(adjacency, every, strict=True):
        i, j = np.asarray(graph.edges).T
        one[i, j] = one[j, i] = True
    return gpu_clique.pack(torch.from_numpy(adjacency).to(DEVICE))


def _cliques(n: int, every: list[memcore.Graph]) -> dict[str, Any]:
    bits, limit, least = bits_of(n, every), 50_000, 10
    expected = memcore.max_cliques(every, node_limit=limit)
    solved = [
        gpu_clique.to_host(*gpu_clique.max_cliques(bits, min_size=0, node_limit=limit)) for _ in range(2)
    ]
    assert solved[0] == solved[1], "the solver's answers differ when repeated"
    for place, (ours, theirs) in enumerate(zip(solved[0], expected, strict=True)):
        assert not (ours.proven and theirs.proven) or ours.members == theirs.members, f"graph {place}"
        assert ours.lower <= theirs.upper
        assert theirs.lower <= ours.upper
    decided = [gpu_clique.has_cliques(bits, min_size=least, node_limit=4096).cpu() for _ in range(2)]
    require_same(decided[1], decided[0], "decisions, again")
    open_ = 0
    for place, ((verdict, edges), graph, theirs) in enumerate(
        zip(decided[0].tolist(), every, expected, strict=True)
    ):
        assert edges == len(graph), f"graph {place}: {edges} edges for {len(graph)}"
        open_ += verdict == gpu_clique.OPEN
        if verdict != gpu_clique.OPEN and (theirs.lower >= least or theirs.upper < least):
            assert (verdict == gpu_clique.SOME) == (theirs.lower >= least), f"graph {place}: {verdict}"
    return {"decisions left open": open_, "unproven": sum(not one.proven for one in solved[0])}


GROUPS: dict[str, Callable[[], None]] = {
    "dense": dense,
    "large": large,
    "graphs": graphs,
    "knn": knn,
    "cliques": cliques,
}

if __name__ == "__main__":
    GROUPS[sys.argv[1]]()
