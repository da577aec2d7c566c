"""The public functions on CUDA tensors answer what they answer on the CPU, bit for bit."""

from __future__ import annotations

import concurrent.futures
import time

import numpy as np
import pytest

import memcore
from memcore.backends import gpu_clique

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.gpu


def random_images(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8))


def near_duplicates(n: int, size: int) -> torch.Tensor:
    """Return 20 images, then n noisy copies of another one."""
    rng = np.random.default_rng(n)
    copies = rng.integers(8, 248, (3, size, size)) + rng.integers(-8, 9, (n, 3, size, size))
    return torch.cat([random_images(20, 3, size, size), torch.from_numpy(copies.astype(np.uint8))])


@pytest.mark.parametrize("output", ["ssd", "distance"])
@pytest.mark.parametrize(
    ("n", "size", "grid"),
    [
        (1, 64, (4, 4)),
        (64, 64, (4, 4)),
        (65, 64, (2, 4)),
        (300, 32, (4, 4)),
        (130, 128, (1, 1)),  # K = 49,152
        (40, 512, (4, 4)),  # the paper's tiles
        (20, 1024, (4, 4)),  # K = 196,608: 64-bit sums
        (70, 50, (5, 2)),  # odd lines, tails
        (70, 150, (1, 1)),
    ],
)
def test_pairwise(n: int, size: int, grid: tuple[int, int], output: str) -> None:
    images = random_images(n, 3, size, size)
    images[-1] = 255
    images[0] = 0
    answer = memcore.pairwise_tiled_l2(images.cuda(), grid=grid, output=output)
    assert answer.is_cuda
    assert torch.equal(answer.cpu(), memcore.pairwise_tiled_l2(images, grid=grid, output=output))


@pytest.mark.parametrize("channels", ["first", "last"])
@pytest.mark.parametrize(("n", "m"), [(3, 200), (200, 3), (129, 65)])
def test_two_sets(n: int, m: int, channels: str) -> None:
    shape = (3, 64, 32) if channels == "first" else (64, 32, 3)
    images, other = random_images(n, *shape), random_images(m, *shape)
    answer = memcore.pairwise_tiled_l2(images.cuda(), other.cuda(), channels=channels, output="ssd")
    assert torch.equal(
        answer.cpu(), memcore.pairwise_tiled_l2(images, other, channels=channels, output="ssd")
    )


def test_batches_and_views() -> None:
    whole = random_images(8, 70, 3, 40, 72)
    on_gpu = whole.cuda()
    for view in (
        lambda x: x,
        lambda x: x[::2, 1::3],
        lambda x: x[..., 4:36, 8:72],
        lambda x: x[..., 1:33, 3:67],
        lambda x: x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (8, 70)),
        lambda x: x[..., ::2],
    ):
        answer = memcore.pairwise_tiled_l2(view(on_gpu), grid=(4, 4), output="ssd")
        assert torch.equal(answer.cpu(), memcore.pairwise_tiled_l2(view(whole).contiguous(), output="ssd"))


def test_graph() -> None:
    images = near_duplicates(30, 128)
    for threshold in (0.0, 0.05, 0.15, 0.4, 1.0):
        found, expected = (memcore.tiled_l2_graph(x, threshold) for x in (images.cuda(), images))
        assert np.array_equal(found.edges, expected.edges)
        assert np.array_equal(found.ssd, expected.ssd)
        assert np.array_equal(found.distances, expected.distances)


def test_the_same_answer_every_time() -> None:
    images = random_images(200, 3, 128, 128).cuda()
    first = memcore.pairwise_tiled_l2(images, output="ssd")
    assert all(torch.equal(first, memcore.pairwise_tiled_l2(images, output="ssd")) for _ in range(20))


def test_the_current_stream_is_used() -> None:
    images = random_images(64, 3, 128, 128)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        answer = memcore.pairwise_tiled_l2(images.pin_memory().cuda(non_blocking=True), output="ssd")
    stream.synchronize()
    assert torch.equal(answer.cpu(), memcore.pairwise_tiled_l2(images, output="ssd"))


def test_the_dense_path_can_be_captured() -> None:
    images = random_images(100, 3, 64, 64).cuda()
    memcore.pairwise_tiled_l2(images)  # compiles
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        answer = memcore.pairwise_tiled_l2(images, output="ssd")
    images.copy_(random_images(100, 3, 64, 64).flip(0))
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(answer, memcore.pairwise_tiled_l2(images, output="ssd"))


def test_torch_operators() -> None:
    torch_ops = pytest.importorskip("memcore.torch_ops")
    images = near_duplicates(12, 64)
    for operator in (torch_ops.pairwise_tiled_l2, torch_ops.tiled_l2_ssd, torch_ops.tiled_l2_graph):
        torch.library.opcheck(operator, (images.cuda(),))
        answers, expected = operator(images.cuda()), operator(images)
        pairs = zip(answers, expected, strict=True) if isinstance(answers, tuple) else [(answers, expected)]
        for one, other in pairs:
            assert one.is_cuda
            assert torch.equal(one.cpu(), other)
    compiled = torch.compile(lambda x: torch.ops.memcore.pairwise_tiled_l2(x).mean(), fullgraph=True)
    torch.testing.assert_close(compiled(images.cuda()).cpu(), memcore.pairwise_tiled_l2(images).mean())


def test_every_device() -> None:
    images = random_images(10, 3, 32, 32)
    expected = memcore.pairwise_tiled_l2(images)
    for index in range(torch.cuda.device_count()):
        answer = memcore.pairwise_tiled_l2(images.to(f"cuda:{index}"))
        assert answer.device.index == index
        assert torch.equal(answer.cpu(), expected)


def test_float_images_are_refused() -> None:
    with pytest.raises(memcore.errors.ArgumentTypeError, match="images on cuda:0 must be uint8"):
        memcore.pairwise_tiled_l2(torch.rand(2, 3, 8, 8, device="cuda"))


def test_nearest_rows() -> None:
    queries, corpus = random_images(70, 3, 32, 32), random_images(3000, 3, 32, 32)
    corpus[7] = corpus[1900] = queries[3]
    for k in (1, 10, 50, 128):
        found = memcore.knn(queries.cuda(), corpus.cuda(), k)
        expected = memcore.knn(queries, corpus, k)
        assert found.indices.is_cuda
        assert torch.equal(found.indices.cpu(), expected.indices)
        assert torch.equal(found.ssd.cpu(), expected.ssd)
        assert torch.equal(found.distances.cpu(), expected.distances)


def test_cliques() -> None:
    available, reason = gpu_clique.available()
    if not available:
        pytest.skip(f"the core's CUDA part is needed: {reason}")
    rng = np.random.default_rng(3)
    for n, p in ((1, 0.0), (40, 0.5), (500, 0.01), (500, 0.2), (1024, 0.02)):
        upper = np.triu(rng.random((n, n)) < p, 1)
        graph = torch.from_numpy(upper | upper.T)
        graph[: n // 30, : n // 30] = True
        graph.fill_diagonal_(False)
        assert memcore.max_clique(graph.cuda(), backend="gpu").members == memcore.max_clique(graph).members
        found, expected = (memcore.find_cliques(g, 5) for g in (graph.cuda(), graph))
        assert [c.members for c in found] == [c.members for c in expected]


def test_graphs_of_many_prompts() -> None:
    from memcore_kernels import DeviceGraphs

    images = near_duplicates(60, 64).movedim(1, -1).contiguous()
    ssd_max = memcore.types.Threshold(0.15).ssd_max(16 * 16 * 3)
    graphs = DeviceGraphs(3, 100, (64, 64, 3), tile=(16, 16), ssd_max=ssd_max, device="cuda")
    for start in range(0, len(images), 7):
        batch = images[start : start + 7].cuda()
        graphs.extend(torch.cat([batch, batch]), [(0, 0, len(batch)), (2, len(batch), len(batch))])
    expected = torch.zeros(100, 100, dtype=torch.bool)
    for i, j in memcore.tiled_l2_graph(images.movedim(-1, 1), 0.15).edges:
        expected[i, j] = expected[j, i] = True
    for slot in (0, 2):
        assert torch.equal(gpu_clique.unpack(graphs.bits[slot], 100).cpu(), expected)
    assert not graphs.bits[1].any()


def test_many_prompts_with_one_transfer() -> None:
    images = near_duplicates(30, 64).movedim(1, -1).contiguous()
    prompts = memcore.DevicePrompts(2, 60, (64, 64, 3), device="cuda")
    for start in range(0, len(images), 16):
        batch = images[start : start + 16].cuda()
        prompts.extend(batch, [1] * len(batch))
    expected = memcore.tiled_l2_graph(images, 0.15, channels="last")
    empty, found = prompts.largest()
    assert not empty.members
    assert found.members == memcore.max_clique(expected).members
    assert np.array_equal(prompts.graph(1).ssd, expected.ssd)
    assert prompts.edge_counts([1]) == [len(expected)]
    assert [answer.edges for answer in prompts.ask()] == [0, len(expected)]
    by_runs = memcore.DevicePrompts(2, 60, (64, 64, 3), device="cuda")
    by_runs.extend_runs(images.cuda(), [(1, 0, 30), (0, 30, 2), (1, 32, len(images) - 32)])
    kept = torch.cat([images[:30], images[32:]])
    again = memcore.tiled_l2_graph(kept, 0.15, channels="last")
    assert np.array_equal(by_runs.graph(1).ssd, again.ssd)
    assert by_runs.ask([1])[0].edges == len(again)


def test_an_audit_keeps_images_on_the_device(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from memcore.types import Images
    from tests.support.run_files import findings_bytes, run
    from tests.support.synthetic import SyntheticSampler

    class CudaSampler(SyntheticSampler):
        def sample(self, requests):  # type: ignore[no-untyped-def]
            images = super().sample(requests)
            return Images(torch.from_numpy(images.pixels).cuda(), images.flagged)

    for name, changes in (
        ("fixed", {}),
        ("sequential", {"budget": "sequential", "copy_rate": 0.3, "miss_rate": 0.05}),
    ):
        there, here = (
            run(tmp_path / f"{name}-{kind.__name__}", kind(), shard_prompts=7, batch_size=64, **changes)
            for kind in (CudaSampler, SyntheticSampler)
        )
        assert findings_bytes(there) == findings_bytes(here)


def test_the_cliques_of_many_graphs_can_be_captured() -> None:
    """Bits to cliques; ``extend`` cannot be, since which images a slot has comes from the host, nor an edge list, whose
    length does.
    """
    available, reason = gpu_clique.available()
    if not available:
        pytest.skip(f"the core's CUDA part is needed: {reason}")
    rng = np.random.default_rng(4)

    def bits() -> torch.Tensor:
        upper = np.triu(rng.random((20, 64, 64)) < 0.2, 1)
        return gpu_clique.pack(torch.from_numpy(upper | upper.transpose(0, 2, 1)).cuda())

    given = bits()
    gpu_clique.max_cliques(given, min_size=0, node_limit=10**6)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        members, bounds = gpu_clique.max_cliques(given, min_size=0, node_limit=10**6)
    given.copy_(bits())
    graph.replay()
    torch.cuda.synchronize()
    again = gpu_clique.max_cliques(given, min_size=0, node_limit=10**6)
    assert torch.equal(members, again[0])
    assert torch.equal(bounds[:, :3], again[1][:, :3])


def test_threads_that_ask_for_graphs_of_different_sizes() -> None:
    """Shared memory is set for the whole process: what one thread asks for must be enough for the other."""
    available, reason = gpu_clique.available()
    if not available:
        pytest.skip(f"the core's CUDA part is needed: {reason}")
    rng = np.random.default_rng(6)
    graphs = {}
    for n in (64, 1024):
        upper = np.triu(rng.random((8, n, n)) < 0.02, 1)
        graphs[n] = torch.from_numpy(upper | upper.transpose(0, 2, 1)).cuda()

    def ask(n: int) -> None:
        bits, end = gpu_clique.pack(graphs[n]), time.monotonic() + 3
        first = gpu_clique.to_host(*gpu_clique.max_cliques(bits, min_size=0, node_limit=10**5))
        while time.monotonic() < end:
            with torch.cuda.stream(torch.cuda.Stream()):
                again = gpu_clique.to_host(*gpu_clique.max_cliques(bits, min_size=0, node_limit=10**5))
            assert [one.members for one in again] == [one.members for one in first]

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(ask, n) for n in graphs]:
            done.result()


def test_hard_graphs_hold_the_device_for_a_moment_only() -> None:
    from memcore.graphs.device_slots import DEVICE_NODES

    available, reason = gpu_clique.available()
    if not available:
        pytest.skip(f"the core's CUDA part is needed: {reason}")
    rng = np.random.default_rng(7)
    upper = np.triu(rng.random((500, 500)) < 0.9, 1)
    bits = gpu_clique.pack(torch.from_numpy(upper | upper.T)[None].cuda())
    gpu_clique.has_cliques(bits, min_size=10, node_limit=1)
    torch.cuda.synchronize()
    start = time.perf_counter()
    easy = gpu_clique.has_cliques(bits, min_size=10, node_limit=DEVICE_NODES).cpu()
    hard = gpu_clique.has_cliques(bits, min_size=150, node_limit=DEVICE_NODES).cpu()
    assert time.perf_counter() - start < 5, "as the limit is meant; without one it is minutes"
    assert easy.tolist() == [[gpu_clique.SOME, int(upper.sum())]]
    assert hard[0, 0] in (gpu_clique.NONE, gpu_clique.OPEN)


def test_memory_comes_with_images_and_goes_to_the_next_prompt() -> None:
    shape = (256, 256, 3)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    prompts = memcore.DevicePrompts(512, 500, shape, device="cuda", expected=16)
    batch = random_images(512, *shape).cuda()
    taken = torch.cuda.memory_allocated() - before - batch.numel()
    assert taken < 512 * 80 * batch[0].numel(), "a page of 64 images and the rest, not 500"
    for _ in range(3):
        prompts.extend_runs(batch, [(slot, slot, 1) for slot in range(512)])
    for slot in range(512):
        prompts.clear(slot)
    prompts.extend_runs(batch, [(7, 0, 200)])
    assert torch.cuda.memory_allocated() - before - batch.numel() <= taken
    assert np.array_equal(
        prompts.graph(7).ssd, memcore.tiled_l2_graph(batch[:200], 0.15, channels="last").ssd
    )


def test_a_full_device_costs_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    from memcore.graphs.growing import GraphSettings, PromptRun
    from memcore.graphs.growing_device import DeviceGrowingGraphs
    from memcore.graphs.growing_host import HostGrowingGraphs
    from memcore.types import Images

    settings = GraphSettings((64, 64, 3), 0.15, (4, 4), 10, 10**6, generations=200, expected=64)
    images = near_duplicates(130, 64).movedim(1, -1).contiguous()
    flagged = np.zeros(len(images), np.bool_)
    runs = [PromptRun(0, 0, 60), PromptRun(1, 60, 90)]
    device, host = DeviceGrowingGraphs(settings, "cuda"), HostGrowingGraphs(settings)
    for graphs in (device, host):
        graphs.begin([0, 1])
    batch = images.cuda()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**20) / whole)
    try:
        for _ in range(2):
            device.extend(Images(batch, flagged), runs)
            host.extend(Images(images, flagged), runs)
        for prompt_id in (0, 1):
            one, other = device.outcome(prompt_id), host.outcome(prompt_id)
            assert (one.generated, one.edges, one.findings) == (other.generated, other.edges, other.findings)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "is full" in caplog.text
