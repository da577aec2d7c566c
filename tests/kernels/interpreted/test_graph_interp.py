"""Graphs as bits equal the int64 oracle, in any order of programs, without a stray access or a race."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from memcore_kernels import memory_layout, threshold_graph
from memcore_kernels.block_bounds import Blocks, choose_blocks, mean_limit
from memcore_kernels.intake import Intake
from memcore_kernels.threshold_graph import DeviceGraphs

import memcore
from memcore.backends import gpu_clique
from memcore.graphs import device_prompts
from memcore.graphs.device_prompts import DevicePrompts
from memcore.graphs.device_slots import KernelSlots
from memcore.sampling.budget import Sequential
from tests.support import fibers
from tests.support.interpreter_check import watched
from tests.support.kernel_graphs import limit, oracle, prompt


def runs_of(slots: list[int]) -> list[tuple[int, int, int]]:
    """Return the runs (slot, first, count) of a batch whose images go to these slots."""
    groups = [(slot, len(list(same))) for slot, same in itertools.groupby(slots)]
    firsts = [0, *itertools.accumulate(count for _, count in groups)]
    return [(slot, first, count) for (slot, count), first in zip(groups, firsts, strict=False)]


def check(graphs: DeviceGraphs, prompts: dict[int, torch.Tensor], tile: tuple[int, int]) -> int:
    """Compares every slot; the number of edges, so that a test can see that there were some."""
    edges = 0
    for slot, images in prompts.items():
        found = gpu_clique.unpack(graphs.bits[slot], graphs.capacity)
        expected = torch.zeros(graphs.capacity, graphs.capacity, dtype=torch.bool)
        if len(images):
            expected[: len(images), : len(images)] = oracle(images, tile, graphs.ssd_max)
        assert torch.equal(found, expected), slot
        edges += int(expected.sum())
    with watched(3):
        degrees = graphs.degrees()
    assert torch.equal(degrees, gpu_clique.unpack(graphs.bits, graphs.capacity).sum(-1, dtype=torch.int32))
    return edges


@pytest.mark.parametrize("n", [1, 2, 64, 65, 129])
def test_numbers_of_images(n: int) -> None:
    rng = np.random.default_rng(n)
    graphs = DeviceGraphs(1, n, (8, 16, 3), tile=(4, 16), ssd_max=limit(4 * 48), device="cpu")
    images = prompt(rng, n, (8, 16, 3), min(n, 3))
    with watched(n):
        graphs.extend(images, [(0, 0, n)])
    assert (check(graphs, {0: images}, (4, 16)) > 0) == (n > 1)


@pytest.mark.parametrize(
    ("shape", "tile", "blocks"),
    [
        ((16, 16, 1), (16, 16), Blocks(1, 16, 16)),
        ((8, 32, 3), (8, 16), Blocks(1, 16, 24)),
        ((8, 20, 3), (4, 10), None),  # lines of 30 bytes, blocks of 8 at most
        ((7, 11, 3), (7, 11), None),  # nothing divides anything
        ((32, 32, 4), (8, 8), Blocks(1, 16, 16)),
        ((6, 40, 3), (6, 40), Blocks(2, 8, 45)),  # means padded from 45 to 64, steps from 720 to 768 bytes
    ],
)
def test_shapes_and_tails(shape: tuple[int, int, int], tile: tuple[int, int], blocks: Blocks | None) -> None:
    rng = np.random.default_rng(sum(shape))
    tile_bytes = tile[0] * tile[1] * shape[2]
    graphs = DeviceGraphs(2, 9, shape, tile=tile, ssd_max=limit(tile_bytes), device="cpu")
    assert graphs.blocks == blocks
    images = prompt(rng, 9, shape, 3)
    with watched(1):
        graphs.extend(images, [(1, 0, 9)])
    assert check(graphs, {0: images[:0], 1: images}, tile) > 0


def test_many_prompts_in_any_batches() -> None:
    """Images of four prompts in mixed batches: the bits are those of each prompt at once."""
    rng = np.random.default_rng(7)
    shape, tile = (8, 16, 1), (4, 8)
    whole = {slot: prompt(rng, n, shape, 4) for slot, n in ((0, 70), (1, 5), (3, 40))}
    arrivals = [slot for slot, images in whole.items() for _ in range(len(images))]
    rng.shuffle(arrivals)
    graphs = DeviceGraphs(4, 96, shape, tile=tile, ssd_max=limit(32), device="cpu")
    taken = dict.fromkeys(whole, 0)
    at = 0
    for size in (1, 7, 64, 30, 13):
        batch = arrivals[at : at + size]
        at += size
        images = []
        for slot in batch:
            images.append(whole[slot][taken[slot]])
            taken[slot] += 1
        with watched(size):
            graphs.extend(torch.stack(images), runs_of(batch))
        check(graphs, {slot: images[: taken[slot]] for slot, images in whole.items()}, tile)
    assert at == len(arrivals)
    graphs.clear(0)
    with watched():
        graphs.extend(whole[3][:6], [(0, 0, 6)])
    assert check(graphs, {0: whole[3][:6], 1: whole[1], 3: whole[3]}, tile) > 0


def test_pages_apart_and_a_store_that_grows() -> None:
    """Prompts of 150 and 70 images in turns, from memory for 64 of each: blocks of pairs whose pages lie anywhere."""
    rng = np.random.default_rng(11)
    shape, tile = (8, 16, 1), (8, 16)
    whole = {0: prompt(rng, 150, shape, 4), 1: prompt(rng, 70, shape, 3), 2: prompt(rng, 66, shape, 3)}
    graphs = DeviceGraphs(2, 160, shape, tile=tile, ssd_max=limit(128), device="cpu", expected=64)
    assert (graphs.config.pairs, len(graphs.pages.store)) == (64, 2)
    for start in range(0, 150, 50):
        parts = {slot: whole[slot][start : start + 50] for slot in (0, 1)}
        runs = [(0, 0, 50)] + [(1, 50, len(parts[1]))] * bool(len(parts[1]))
        with watched(start):
            graphs.extend(torch.cat([parts[0], parts[1]]), runs)
    assert list(graphs.pages.of(0)) != list(range(3))
    assert check(graphs, {0: whole[0], 1: whole[1]}, tile) > 0
    assert all(torch.equal(graphs.images(slot), whole[slot]) for slot in (0, 1))
    graphs.grow(1)
    graphs.clear(0)
    pages = len(graphs.pages.store)
    with watched(1):
        graphs.extend(whole[2], [(2, 0, 66)])
    assert check(graphs, {0: whole[0][:0], 1: whole[1], 2: whole[2]}, tile) > 0
    assert len(graphs.pages.store) == pages, "pages of the slot that was cleared"


def test_tiles_shared_out_among_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    images = prompt(rng, 20, (12, 12, 1), 5)
    for programs, tiles in ((1, 9), (12, 1), (5, 2)):
        graphs = DeviceGraphs(1, 20, (12, 12, 1), tile=(4, 4), ssd_max=limit(16), device="cpu")
        monkeypatch.setattr(DeviceGraphs, "schedule", lambda *_, p=programs, t=tiles: (p, t))
        with watched(programs):
            graphs.extend(images, [(0, 0, 20)])
        assert check(graphs, {0: images}, (4, 4)) > 0


@pytest.mark.parametrize(
    ("shape", "tile", "most"),
    [
        ((512, 512, 3), (128, 128), 2.01),
        ((512, 512, 3), (256, 256), 2.01),  # three segments
        ((64, 64, 3), (16, 16), 2.1),
        ((30, 50, 3), (15, 25), 2.02),  # no blocks
        ((32, 32, 3), (8, 8), 2.3),  # 40 bytes of means, spreads and norms to 192 of pixels
    ],
)
def test_an_image_is_read_once_and_written_once(
    shape: tuple[int, int, int], tile: tuple[int, int], most: float
) -> None:
    """Bytes that the launch loads and stores, positions included, to the images' bytes."""
    graphs = DeviceGraphs(1, 9, shape, tile=tile, ssd_max=limit(tile[0] * tile[1] * shape[2]), device="cpu")
    images = torch.from_numpy(np.random.default_rng(3).integers(0, 256, (5, *shape), dtype=np.uint8))
    where, listed = torch.arange(2, 7)[:, None].repeat(1, 2), torch.zeros(1, dtype=torch.int32)
    with watched(2) as watch:
        graphs.intake.launch(
            images,
            where,
            graphs.intake.rows_of(graphs.pages.store[0]),
            graphs.means,
            graphs.spreads,
            graphs.norms,
            listed,
        )
    assert torch.equal(graphs.pages.store[0, 2:7], images)
    assert watch.moved["atomic"] == 0
    assert 2 <= (watch.moved["load"] + watch.moved["store"]) / images.numel() <= most
    # Norms of each segment, against their formula.
    cut = images.reshape(5, shape[0] // tile[0], tile[0], -1, tile[1] * shape[2]).permute(0, 1, 3, 2, 4)
    squares = (cut.reshape(5, graphs.lines.tiles, -1).long() - 128) ** 2
    segment, count = graphs.segments
    padded = torch.nn.functional.pad(squares, (0, segment * count - squares.shape[-1]), value=128**2)
    expected = padded.reshape(5, graphs.lines.tiles, count, segment).sum(-1).permute(1, 2, 0)
    assert torch.equal(graphs.norms[..., 2:7].long(), expected)


def test_images_that_are_no_plain_array() -> None:
    """Channels first, a crop, every second image, an address that is no multiple of 16: as contiguous ones."""
    rng = np.random.default_rng(8)
    whole = torch.from_numpy(rng.integers(0, 256, (12, 3, 18, 40), dtype=np.uint8))
    flat = torch.from_numpy(rng.integers(0, 256, 6 * 8 * 16 * 3 + 1, dtype=np.uint8))
    for images in (
        whole[:, :, 2:10, 8:24].permute(0, 2, 3, 1),
        whole.permute(0, 2, 3, 1).contiguous()[::2, 3:11, 16:32],
        flat[1:].reshape(6, 8, 16, 3),
        whole[:1, :, :8, :16].permute(0, 2, 3, 1).expand(3, -1, -1, -1),
    ):
        graphs = DeviceGraphs(1, 12, (8, 16, 3), tile=(4, 16), ssd_max=limit(4 * 48), device="cpu")
        with watched(1):
            graphs.extend(images, [(0, 0, len(images))])
        assert torch.equal(graphs.images(0), images)
        check(graphs, {0: images.contiguous()}, (4, 16))


@pytest.mark.parametrize("ssd_max", [0, 1, 255**2 * 192])
def test_extreme_thresholds(ssd_max: int) -> None:
    images = torch.zeros(4, 8, 8, 3, dtype=torch.uint8)
    images[1] = 255
    images[3, 0, 0, 0] = 1
    graphs = DeviceGraphs(1, 4, (8, 8, 3), tile=(8, 8), ssd_max=ssd_max, device="cpu")
    with watched():
        graphs.extend(images, [(0, 0, 4)])
    assert check(graphs, {0: images}, (8, 8)) == {0: 2, 1: 6, 255**2 * 192: 12}[ssd_max]


@pytest.mark.parametrize(("rows", "saturated"), [(128, False), (176, False), (176, True)])
def test_large_tiles(rows: int, saturated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """K = 49,152, whose largest ssd exceeds int32; K = 67,584 in two segments, summed in 64 bits, or in 32 up to their end.

    Of the latter the largest ssd, modulo 2^32, is below the threshold.
    """
    config = threshold_graph.Config(64, 4096, 2, warps=4, saturated=saturated)
    monkeypatch.setattr(threshold_graph, "choose_config", lambda *_: config)
    images = torch.zeros(3, rows, 128, 3, dtype=torch.uint8)
    images[1] = 255
    images[2, :, :, 1] = 3
    ssd_max = limit(rows * 384, 0.16)
    assert rows == 128 or 2**32 < rows * 384 * 255**2 < 2**32 + ssd_max
    graphs = DeviceGraphs(1, 3, (rows, 128, 3), tile=(rows, 128), ssd_max=ssd_max, device="cpu")
    assert graphs.blocks is not None
    monkeypatch.setattr(threshold_graph, "mean_limit", lambda *_: 2**31 - 1)  # leave it to the exact sums
    with watched():
        graphs.extend(images, [(0, 0, 3)])
    assert check(graphs, {0: images}, (rows, 128)) == 2


def test_when_sums_may_end_at_32_bits() -> None:
    """Where a tile has segments and the threshold is below; large blocks of them on sm_90 alone."""

    def config(ssd_max: int, size: int, capability: tuple[int, int]) -> threshold_graph.Config:
        shape = (size, size, 3)
        return DeviceGraphs(
            1, 200, shape, tile=shape[:2], ssd_max=ssd_max, device="meta", capability=capability
        ).config

    for capability, pairs in (((8, 0), 64), ((9, 0), 128), ((10, 0), 64)):
        found = config(2**32 - 2, 256, capability)
        assert (found.saturated, found.pairs) == (True, pairs)
        assert not config(2**32 - 1, 256, capability).saturated
        assert config(2**32 - 1, 256, capability).pairs == 64
        assert config(2**32 - 1, 128, capability).pairs == 128


def test_bounds_leave_no_edge_out() -> None:
    """The limit on means is never below what an edge can reach, and cuts off what is far away."""
    rng = np.random.default_rng(5)
    images = prompt(rng, 40, (16, 16, 3), 12)
    lines = memory_layout.describe([images[None].movedim(-1, 2)], (8, 8))
    blocks = choose_blocks(lines)
    assert blocks is not None
    means = torch.zeros(40, 4, blocks.stored, dtype=torch.uint8)
    spreads = torch.zeros(4, 40, dtype=torch.int32)
    norms = torch.zeros(4, 1, 40, dtype=torch.int32)
    order, rows = (torch.from_numpy(rng.permutation(40)) for _ in range(2))
    store, listed = torch.zeros_like(images), torch.full((1,), 7, dtype=torch.int32)
    with watched(1):
        intake = Intake(lines, blocks, 64)
        places = torch.stack([order, rows], 1)
        intake.launch(images, places, intake.rows_of(store), means, spreads, norms, listed)
    assert not listed.any()
    assert torch.equal(store[order], images)
    means, norms, spreads = means[rows], norms[..., rows], spreads[:, rows]
    assert torch.equal(spreads.T.long(), ((means.long() - 128) ** 2).sum(-1))
    # Of blocks of whole lines' bytes: the plain mean, floored.
    tiles = images.reshape(40, 2, 8, 2, 24).permute(0, 1, 3, 2, 4).reshape(40, 4, 192)
    rows, width = blocks.rows, blocks.width
    cut = tiles.reshape(40, 4, 8 // rows, rows, 24 // width, width).permute(0, 1, 2, 4, 3, 5)
    expected = cut.reshape(40, 4, blocks.count, -1).long().sum(-1) // blocks.size
    assert torch.equal(means[..., : blocks.count].long(), expected)
    assert torch.equal(norms[:, 0].T.long(), ((tiles.long() - 128) ** 2).sum(-1))
    assert not means[..., blocks.count :].any()
    for ssd_max in (0, 10, 1000, limit(192)):
        ssd = ((tiles[:, None].long() - tiles[None].long()) ** 2).sum(-1)
        apart = ((means[:, None].long() - means[None].long()) ** 2).sum(-1)
        bound = mean_limit(ssd_max, blocks)
        assert (apart[ssd <= ssd_max] <= bound).all()
        assert (apart > bound).any()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: DeviceGraphs(1, 1025, (8, 8, 3), tile=(4, 4), ssd_max=1, device="cpu"),
            ValueError,
            "capacity must",
        ),
        (
            lambda: DeviceGraphs(0, 5, (8, 8, 3), tile=(4, 4), ssd_max=1, device="cpu"),
            ValueError,
            "slots must",
        ),
        (
            lambda: DeviceGraphs(1, 5, (8, 8, 3), tile=(3, 4), ssd_max=1, device="cpu"),
            ValueError,
            "tile must",
        ),
    ],
)
def test_wrong_calls_name_the_argument(call: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()  # type: ignore[operator]


def test_a_full_slot_is_refused_and_left_alone() -> None:
    graphs = DeviceGraphs(1, 3, (8, 8, 1), tile=(4, 4), ssd_max=9, device="cpu")
    images = torch.zeros(4, 8, 8, 1, dtype=torch.uint8)
    for runs, text in (
        ([(0, 0, 4)], "at most 3, got 4"),
        ([(0, 0, 2), (0, 2, 2)], "at most 3, got 4"),
        ([(1, 0, 4)], "slots must be 0 to 0, got 1"),
        (
            [(0, 0, 1), (0, 2, 2)],
            "runs must name each of 4 rows once and in order, got one of 2 rows from 2 where row 1",
        ),
        ([(0, 0, 0)], "got one of 0 rows"),
        ([(0, 0, 2)], "runs must name all 4 images, got 2"),
    ):
        with pytest.raises(ValueError, match=text):
            graphs.extend(images, runs)
    with pytest.raises(ValueError, match="images must be uint8 of shape"):
        graphs.extend(images[:, :4], [(0, 0, 4)])
    assert graphs.counts == [0]


def kernels_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """``DevicePrompts`` on CPU tensors by the kernels, as on a CUDA device, not by the core."""
    monkeypatch.setattr(
        device_prompts,
        "_make_slots",
        lambda p, count, device: KernelSlots(count, p.capacity, p.shape, p.threshold, p.tile, device),
    )


def test_a_core_without_cuda_solves_the_bits_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels_on_the_cpu(monkeypatch)
    monkeypatch.setattr(gpu_clique, "available", lambda: (False, "no CUDA part"))
    rng = np.random.default_rng(12)
    shape = (8, 16, 3)
    images = prompt(rng, 20, shape, 6)
    exclude = np.arange(20) % 7 == 3
    prompts, graph = DevicePrompts(2, 24, shape, device="cpu"), memcore.PromptGraph(shape)
    for part in (slice(0, 9), slice(9, 20)):
        prompts.extend(images[part], [1] * len(images[part]), exclude=exclude[part])
        graph.extend(images[part].numpy(), exclude=exclude[part])
    empty, found = prompts.largest()
    expected = graph.graph()
    assert not empty.members
    assert found.members == memcore.max_clique(expected).members
    assert len(found) > 5
    assert prompts.edge_counts([0, 1]) == [0, len(expected)]
    assert [answer.edges for answer in prompts.ask()] == [0, len(expected)]
    assert np.array_equal(prompts.graph(1).edges, expected.edges)
    assert np.array_equal(prompts.graph(1).ssd, expected.ssd)


def test_a_budget_decides_on_many_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images to budget: graphs in the interpreter, cliques on fibers; as PromptGraph has it on the CPU."""
    if fibers.missing():
        pytest.skip(fibers.missing())
    kernels_on_the_cpu(monkeypatch)
    monkeypatch.setattr(gpu_clique, "available", lambda: (True, ""))
    monkeypatch.setattr(
        gpu_clique,
        "max_cliques",
        lambda bits, *, min_size, node_limit: gpu_clique.launch(
            fibers.library(), bits.contiguous(), 0, 0, min_size, node_limit
        ),
    )
    monkeypatch.setattr(
        gpu_clique,
        "has_cliques",
        lambda bits, *, min_size, node_limit, slots=None: gpu_clique.launch_decision(
            fibers.library(), bits.contiguous(), 0, 0, min_size, node_limit, slots
        ),
    )
    rng = np.random.default_rng(11)
    shape = (8, 16, 3)
    whole = [prompt(rng, 36, shape, copies) for copies in (8, 1, 0)]
    whole[2] = torch.from_numpy(rng.integers(0, 256, (36, *shape), dtype=np.uint8))
    prompts = DevicePrompts(3, 40, shape, device="cpu")
    on_cpu = [memcore.PromptGraph(shape, min_clique=5) for _ in whole]
    budget = Sequential(0.2, 0.05, generations=40, min_clique=5)
    for start in (0, 12, 24):
        # One batch that mixes the prompts, as a sampler's does.
        prompts.extend(
            torch.cat([images[start : start + 12] for images in whole]), [0] * 12 + [1] * 12 + [2] * 12
        )
        for slot, images in enumerate(whole):
            on_cpu[slot].extend(images[start : start + 12].numpy())
        for found, graph in zip(prompts.largest(), on_cpu, strict=True):
            expected = memcore.max_clique(graph.graph())
            answer = (found.members, found.lower, found.upper, found.proven)
            assert answer == (expected.members, expected.lower, expected.upper, True)
            bounds = (found.lower, found.upper)
            assert budget.decide(start + 12, lambda b=bounds: b) == budget.decide(
                start + 12, graph.largest_clique
            )
    assert [len(found.members) for found in prompts.largest(min_size=5)][2] == 0
    edges = [len(graph.graph()) for graph in on_cpu]
    assert [answer.edges for answer in prompts.ask()] == edges
    for size in (1, 5, 6, 40):
        found = [len(memcore.max_clique(graph.graph())) >= size for graph in on_cpu]
        assert prompts.has_clique([2, 0, 1], min_size=size) == [(found[i], edges[i]) for i in (2, 0, 1)]
    assert torch.equal(prompts.images(1), whole[1])
