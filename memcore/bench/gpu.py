"""The kernels for CUDA tensors against their peers on the same device, timed by CUDA events.

This has never run on a device: ``tests/bench/test_bench_gpu.py`` runs it on CPU tensors, the clique part and the
clock of events with stand-ins, and without cuVS.
"""

from __future__ import annotations

import functools
import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import memcore
from memcore.backends import gpu, gpu_clique, reference
from memcore.bench import dense, graphs, kinds, machine
from memcore.bench.rows import Row
from memcore.bench.timing import Pairs, Spread, require_equal
from memcore.errors import ArgumentValueError

if TYPE_CHECKING:
    import torch

Call = Callable[[], Any]
#: (call, repeats) -> seconds a call.
Clock = Callable[[Call, int], float]

THRESHOLD = 0.15
K = 50
_CUVS = "cuvs is not installed: no extra has it, since it is in NVIDIA's own index (cuvs-cu12)"


def by_events(call: Call, repeats: int) -> float:
    """Return seconds a call on the device's own clock, from one event to another on the current stream."""
    import torch

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    for _ in range(repeats):
        call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000 / repeats


def by_the_wall(call: Call, repeats: int) -> float:
    """Return seconds a call on the host's clock: for tests on CPU tensors."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


#: The parts that can be measured on a device.
PARTS = ("dense", "graph", "clique", "knn")


def run_all(quick: bool, parts: Sequence[str]) -> list[dict[str, Any]]:
    """Measure as ``memcore.bench.run_all`` does: the machine with its device, then a dict a measurement.

    Without a device: the machine, and one row, marked as refused, whose note says why. Raises ArgumentValueError for a
    part that is not in ``PARTS``.
    """
    from memcore.bench import collect, without_targets

    for part in parts:
        if part not in PARTS:
            raise ArgumentValueError(f"part must be one of {', '.join(PARTS)} on a device, got {part!r}")

    usable, device = gpu.available()
    results = [{**machine.describe(quick), "device": device if usable else None}]
    if not usable:
        results.append(Row("gpu", "all kernels", "not run", note=device, refused=True).as_dict())
        return results
    runs = {"dense": _dense, "graph": _graph, "clique": _clique, "knn": _knn}
    for part in parts:
        results += collect(part, runs[part](quick, "cuda", device, by_events))
    return without_targets(results) if quick else results


def _row(
    section: str, work: str, name: str, device: str, ours: Call, other: Call, clock: Clock, **more: Any
) -> Row:
    """Time both, warmed up, then in turn, five rounds."""
    for call in (ours, other):
        clock(call, 2)
    repeats = [max(1, round(0.02 / max(clock(call, 1), 1e-6))) for call in (ours, other)]
    pairs = Pairs([], [])
    for number in range(5):
        sides = [(pairs.ours_s, ours, repeats[0]), (pairs.other_s, other, repeats[1])]
        for seconds, call, count in sides[:: -1 if number % 2 else 1]:
            seconds.append(clock(call, count))
    return Row(
        section,
        work,
        name,
        device,
        value=pairs.times_faster,
        ours_s=Spread.of(pairs.ours_s),
        other_s=Spread.of(pairs.other_s),
        rounds=5,
        **more,
    )


def _on(device: str, array: Any) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def _tiles(images: torch.Tensor, tile: tuple[int, int]) -> torch.Tensor:
    """Turn (N, H, W, C) into (tiles, N, K), contiguous: what a matrix product of a library wants."""
    n, height, width, channels = images.shape
    cut = images.reshape(n, height // tile[0], tile[0], width // tile[1], tile[1], channels)
    return cut.permute(1, 3, 0, 2, 4, 5).reshape(-1, n, tile[0] * tile[1] * channels).contiguous()


def by_int_mm(tiles: torch.Tensor) -> torch.Tensor:
    """Turn (tiles, N, K) uint8 into (N, N) int64: torch's int8 product, tile by tile, and its epilogue.

    N is filled up to a multiple of 8, and above 16, which that product asks for.
    """
    import torch

    largest = None
    n = tiles.shape[1]
    padded = max(24, -(-n // 8) * 8)
    for one in tiles:
        signed = torch.nn.functional.pad((one ^ 0x80).view(torch.int8), (0, -one.shape[1] % 8, 0, padded - n))
        product = torch._int_mm(signed, signed.mT).long()
        norms = product.diagonal()
        ssd = norms[:, None] + norms[None, :] - 2 * product
        largest = ssd if largest is None else torch.maximum(largest, ssd)
    assert largest is not None
    return largest[:n, :n]


def _dense(
    quick: bool, device: str, isa: str, clock: Clock, n: int | None = None, size: int = 512
) -> Iterator[Row]:
    import torch

    images = _on(device, kinds.images("diverse", n or (64 if quick else 500), size))
    ssd = memcore.pairwise_tiled_l2(images, channels="last", output="ssd")
    some = images[:24].cpu().numpy()
    tile = dense.tile_shape(some)
    expected = reference.tiled_l2_ssd(some[None], None, tile)[0]
    require_equal(
        "dense on the device", np.asarray(ssd.cpu())[:24, :24].astype(np.int64), expected.astype(np.int64)
    )
    tiles = _tiles(images, tile)
    require_equal("torch's int8 product", by_int_mm(tiles).cpu().numpy(), ssd.cpu().numpy().astype(np.int64))
    floats = tiles.float() / 255
    work = f"{len(images)} images {size}x{size}x3"
    ours: Callable[[], Any] = functools.partial(memcore.pairwise_tiled_l2, images, channels="last")
    exact = np.asarray(ours().cpu())

    def cdist() -> torch.Tensor:
        largest: torch.Tensor = (torch.cdist(floats, floats) / floats.shape[2] ** 0.5).amax(0)
        return largest

    error = float(np.abs(np.asarray(cdist().cpu()) - exact).max())
    yield _row(
        "dense", work, "torch.cdist float32, tiles cut before", isa, ours, cdist, clock, largest_error=error
    )
    call = functools.partial(by_int_mm, tiles)
    yield _row(
        "dense", work, "torch int8 product, tiles cut before", isa, ours, call, clock, largest_error=0.0
    )
    if importlib.util.find_spec("cuvs") is None:
        yield Row("dense", work, "cuVS pairwise_distance", isa, note=_CUVS)
        return
    distance = importlib.import_module("cuvs.distance")

    def pairwise() -> list[Any]:
        return [distance.pairwise_distance(one, one, metric="sqeuclidean") for one in floats]

    parts = [torch.as_tensor(d, device=device) for d in pairwise()]
    found = (torch.stack(parts).clamp(min=0).amax(0) / floats.shape[2]).sqrt()
    error = float(np.abs(np.asarray(found.cpu()) - exact).max())
    yield _row(
        "dense", work, "cuVS pairwise_distance, no maximum", isa, ours, pairwise, clock, largest_error=error
    )


def _graph(
    quick: bool, device: str, isa: str, clock: Clock, n: int | None = None, size: int = 512
) -> Iterator[Row]:
    for kind in ("diverse", "60 duplicates"):
        host = kinds.images(kind, n or (64 if quick else 500), size)
        images = _on(device, host)
        ours = functools.partial(memcore.tiled_l2_graph, images, THRESHOLD, channels="last")
        expected = memcore.tiled_l2_graph(host, THRESHOLD, channels="last")
        found = ours()
        require_equal("graph on the device, edges", np.asarray(found.edges), np.asarray(expected.edges))
        other = functools.partial(memcore.pairwise_tiled_l2, images, channels="last", output="ssd")
        note = f"{len(found)} edges; to the host included"
        yield _row(
            "graph", f"{len(host)} images, {kind}", "own dense distances", isa, ours, other, clock, note=note
        )


def _clique(quick: bool, device: str, isa: str, clock: Clock) -> Iterator[Row]:
    count, n = (64, 200) if quick else (1024, 500)
    work = f"{count} graphs of {n} vertices"
    usable, reason = gpu_clique.available()
    if not usable:
        yield Row("clique", work, "own CPU solver", isa, note=reason)
        return
    made = [graphs.memorised(n, seed) for seed in range(count)]
    adjacency = np.zeros((count, n, n), dtype=bool)
    for one, made_graph in zip(adjacency, made, strict=True):
        i, j = np.asarray(made_graph.edges).T
        one[i, j] = one[j, i] = True
    packed = np.zeros((count, n, -(-n // 32) * 32), dtype=bool)
    packed[..., :n] = adjacency
    bits = _on(device, np.packbits(packed, axis=-1, bitorder="little").view(np.int32))
    ours = functools.partial(gpu_clique.max_cliques, bits, min_size=0, node_limit=1_000_000)
    for found, made_graph in zip(gpu_clique.to_host(*ours()), made, strict=True):
        want = np.array(memcore.max_clique(made_graph).members)
        require_equal("cliques on the device", np.array(found.members), want)
    host = functools.partial(_all_cliques, made)
    yield _row("clique", work, "own CPU solver, one after the other", isa, ours, host, clock)


def _all_cliques(made: Sequence[memcore.Graph]) -> None:
    for one in made:
        memcore.max_clique(one)


def _knn(
    quick: bool, device: str, isa: str, clock: Clock, sizes: tuple[int, int] | None = None
) -> Iterator[Row]:
    import torch

    count, rows = sizes or ((256, 4096) if quick else (1024, 50_000))
    everything = kinds.rows(count + rows)
    host_queries, host_corpus = everything[:count], everything[count:]
    queries, corpus = _on(device, host_queries), _on(device, host_corpus)
    ours: Callable[[], Any] = functools.partial(memcore.knn, queries, corpus, K)
    found, expected = ours(), memcore.knn(host_queries, host_corpus, K)
    require_equal("knn on the device, indices", np.asarray(found.indices.cpu()), np.asarray(expected.indices))
    require_equal("knn on the device, sums", np.asarray(found.ssd.cpu()), np.asarray(expected.ssd))
    work = f"{count} queries x {rows} rows of {corpus.shape[1]} bytes, k = {K}"
    q, c = queries.float() / 255, corpus.float() / 255

    def cdist() -> torch.Tensor:
        return torch.cdist(q, c).topk(K, 1, largest=False).indices

    other = float((np.asarray(cdist().cpu()) != np.asarray(expected.indices)).mean())
    note = f"{other:.1%} of its neighbours in other places" if other else ""
    yield _row("knn", work, "torch.cdist float32 + topk", isa, ours, cdist, clock, note=note)
    if importlib.util.find_spec("cuvs") is None:
        yield Row("knn", work, "cuVS brute force", isa, note=_CUVS)
        return
    brute = importlib.import_module("cuvs.neighbors.brute_force")
    index = brute.build(c, metric="sqeuclidean")
    search = functools.partial(brute.search, index, q, K)
    yield _row("knn", work, "cuVS brute force, index built before", isa, ours, search, clock)
