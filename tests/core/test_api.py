"""The public functions over libraries, layouts and batches: the same answer, in the caller's own kind of array."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import memcore
from memcore import errors
from memcore.graphs.findings import findings
from memcore.types import Backend


class Dlpack:
    """An array that offers nothing but DLPack."""

    def __init__(self, array: NDArray[np.uint8]) -> None:
        self.array = array
        self.shape = array.shape

    def __dlpack__(self, **options: object) -> object:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


@pytest.fixture
def expected(near_duplicates: NDArray[np.uint8]) -> NDArray[np.float32]:
    return memcore.pairwise_tiled_l2(near_duplicates, backend="reference")


def test_numpy_channels_last_and_first(
    near_duplicates: NDArray[np.uint8], expected: NDArray[np.float32]
) -> None:
    first = np.ascontiguousarray(near_duplicates.transpose(0, 3, 1, 2))
    assert np.array_equal(memcore.pairwise_tiled_l2(near_duplicates), expected)
    assert np.array_equal(memcore.pairwise_tiled_l2(first, channels="first"), expected)
    assert np.array_equal(memcore.pairwise_tiled_l2(first.transpose(0, 2, 3, 1)), expected)


def test_torch_answers_in_torch(near_duplicates: NDArray[np.uint8], expected: NDArray[np.float32]) -> None:
    tensor = torch.from_numpy(near_duplicates).permute(0, 3, 1, 2)
    for images in (tensor, tensor.contiguous()):
        got = memcore.pairwise_tiled_l2(images)
        assert isinstance(got, torch.Tensor)
        assert got.dtype is torch.float32
        assert np.array_equal(got.numpy(), expected)
    ssd = memcore.pairwise_tiled_l2(tensor, output="ssd")
    assert ssd.dtype is torch.int64
    same = memcore.pairwise_tiled_l2(torch.from_numpy(near_duplicates), channels="last")
    assert np.array_equal(same.numpy(), expected)


def test_dlpack(near_duplicates: NDArray[np.uint8], expected: NDArray[np.float32]) -> None:
    assert np.array_equal(memcore.pairwise_tiled_l2(Dlpack(near_duplicates)), expected)


def test_batches(near_duplicates: NDArray[np.uint8]) -> None:
    batch = near_duplicates.reshape(3, 8, 32, 32, 3)
    got = memcore.pairwise_tiled_l2(batch)
    assert got.shape == (3, 8, 8)
    for b in range(3):
        assert np.array_equal(got[b], memcore.pairwise_tiled_l2(batch[b]))
    crossed = memcore.pairwise_tiled_l2(batch, batch[:, :2])
    assert crossed.shape == (3, 8, 2)
    assert np.array_equal(crossed, got[:, :, :2])
    tensor = torch.from_numpy(batch).permute(0, 1, 4, 2, 3)
    assert np.array_equal(memcore.pairwise_tiled_l2(tensor).numpy(), got)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[::-1],
        lambda x: x[::2],
        lambda x: x[:, ::-1],
        lambda x: x[:, :, ::-1],
        lambda x: x[..., ::-1],
        lambda x: x.transpose(0, 2, 1, 3),
        lambda x: np.asfortranarray(x),
        lambda x: np.broadcast_to(x[:1], x.shape),
        lambda x: x[:, 4:28, 8:],
    ],
    ids=[
        "reversed",
        "strided",
        "upside-down",
        "mirrored",
        "bgr",
        "transposed",
        "fortran",
        "broadcast",
        "cropped",
    ],
)
def test_any_strides(near_duplicates: NDArray[np.uint8], view) -> None:
    images = view(near_duplicates)
    got = memcore.pairwise_tiled_l2(images, output="ssd")
    assert np.array_equal(got, memcore.pairwise_tiled_l2(np.ascontiguousarray(images), output="ssd"))
    assert np.array_equal(got, memcore.pairwise_tiled_l2(images, output="ssd", backend="reference"))


def test_inputs_are_not_changed(near_duplicates: NDArray[np.uint8]) -> None:
    before = near_duplicates.copy()
    near_duplicates.flags.writeable = False
    memcore.pairwise_tiled_l2(near_duplicates)
    memcore.tiled_l2_graph(near_duplicates)
    memcore.knn(near_duplicates, near_duplicates, 2)
    assert np.array_equal(before, near_duplicates)


@pytest.mark.parametrize("output", ["distance", "ssd"])
def test_out(near_duplicates: NDArray[np.uint8], output) -> None:
    expected = memcore.pairwise_tiled_l2(near_duplicates, output=output)
    out = np.zeros_like(expected)
    assert memcore.pairwise_tiled_l2(near_duplicates, output=output, out=out) is out
    assert np.array_equal(out, expected)
    batch_out = np.zeros((2, 12, 12), expected.dtype)
    batch = near_duplicates.reshape(2, 12, 32, 32, 3)
    memcore.pairwise_tiled_l2(batch, output=output, out=batch_out)
    assert np.array_equal(batch_out, memcore.pairwise_tiled_l2(batch, output=output))


def test_bfloat16_and_half(near_duplicates: NDArray[np.uint8]) -> None:
    tensor = torch.from_numpy(near_duplicates).permute(0, 3, 1, 2)
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        floats = (tensor.float() / 255).to(dtype)
        got = memcore.pairwise_tiled_l2(floats)
        wide = memcore.pairwise_tiled_l2(floats.float())
        assert torch.equal(got, wide), dtype
        assert torch.allclose(got, memcore.pairwise_tiled_l2(floats, backend="reference"), atol=1e-6)


def test_graph_of_every_kind_of_array(near_duplicates: NDArray[np.uint8]) -> None:
    graph = memcore.tiled_l2_graph(near_duplicates, 0.05)
    assert len(graph) == 12 * 11 // 2
    assert not graph.partial
    assert graph.n == 24
    assert graph.degrees()[3] == 11
    assert graph.adjacency().sum() == 2 * len(graph)
    tensor = torch.from_numpy(near_duplicates).permute(0, 3, 1, 2)
    assert np.array_equal(memcore.tiled_l2_graph(tensor, 0.05).edges, graph.edges)
    floats = near_duplicates.astype(np.float32) / 255
    assert np.array_equal(memcore.tiled_l2_graph(floats, 0.05).edges, graph.edges)
    assert memcore.tiled_l2_graph(floats, 0.05).ssd is None


def test_cliques_of_a_graph(near_duplicates: NDArray[np.uint8]) -> None:
    graph = memcore.tiled_l2_graph(near_duplicates, 0.05)
    clique = memcore.max_clique(graph)
    assert clique.members == tuple(range(3, 15))
    assert clique.proven
    assert clique.lower == clique.upper == len(clique) == 12
    assert memcore.max_clique(graph.adjacency()).members == clique.members
    assert memcore.max_clique(torch.from_numpy(graph.adjacency())).members == clique.members
    assert [c.members for c in memcore.find_cliques(graph)] == [clique.members]
    assert memcore.find_cliques(graph, 13) == []


def test_a_clique_beside_hubs_of_higher_degree() -> None:
    """Greedy from the vertex of highest degree answers 2 here, and loses the memorised image."""
    n = 80
    a = np.zeros((n, n), dtype=bool)
    a[:10, :10] = True
    for hub in (10, 11, 12):
        a[hub, 13:] = a[13:, hub] = True
    np.fill_diagonal(a, False)
    assert a.sum(axis=1).argmax() >= 10
    assert memcore.max_clique(a).members == tuple(range(10))
    assert [c.members for c in memcore.find_cliques(a, 10)] == [tuple(range(10))]


def test_findings_have_mean_and_medoid() -> None:
    images = np.full((5, 8, 8, 3), 100, dtype=np.uint8)
    images[0] = 90
    images[2] = 105
    images[4] = 255
    graph = memcore.PromptGraph((8, 8, 3), 0.15, min_clique=4)
    graph.extend(images)
    (finding,) = graph.findings()
    assert finding.members == (0, 1, 2, 3)
    assert finding.medoid == 1
    pairs = [10, 15, 10, 5, 0, 5]
    assert finding.mean_distance == pytest.approx(sum(pairs) / 6 / 255)


def test_500_black_frames_are_no_finding() -> None:
    graph = memcore.PromptGraph((8, 8, 3), 0.15)
    black = np.zeros((500, 8, 8, 3), dtype=np.uint8)
    graph.extend(black, exclude=np.ones(500, dtype=bool))
    assert graph.findings() == []
    assert graph.excluded == 500
    assert len(graph) == 500


def test_knn_images_and_rows(near_duplicates: NDArray[np.uint8]) -> None:
    rows = near_duplicates.reshape(24, -1)
    got = memcore.knn(near_duplicates[:4], near_duplicates, 3)
    same = memcore.knn(rows[:4], rows, 3, backend="reference")
    assert np.array_equal(got.indices, same.indices)
    assert np.array_equal(got.ssd, same.ssd)
    assert got.distances[0, 0] == 0
    tensor = torch.from_numpy(rows)
    answer = memcore.knn(tensor[:4], tensor, 3)
    assert isinstance(answer.indices, torch.Tensor)
    assert np.array_equal(answer.indices.numpy(), got.indices)


def test_to_uint8_rounds_as_diffusers_saves() -> None:
    values = np.linspace(0, 1, 10_001, dtype=np.float32)
    diffusers_way = (values * 255).round().astype("uint8")
    assert np.array_equal(memcore.to_uint8(values), diffusers_way)
    assert np.array_equal(memcore.to_uint8(torch.from_numpy(values)).numpy(), diffusers_way)
    assert memcore.to_uint8(torch.tensor([0.5], dtype=torch.bfloat16)).item() == 128


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_edges_alone(near_duplicates: NDArray[np.uint8], backend: Backend) -> None:
    for images in (near_duplicates, near_duplicates.astype(np.float32) / 255):
        for min_clique in (None, 4):
            whole = memcore.tiled_l2_graph(images, 0.1, min_clique=min_clique, backend=backend)
            alone = memcore.tiled_l2_graph(
                images, 0.1, min_clique=min_clique, backend=backend, distances=False
            )
            assert np.array_equal(alone.edges, whole.edges)
            assert len(alone) == len(whole) > 0
            assert (alone.ssd, alone.distances) == (None, None)
            assert memcore.max_clique(alone) == memcore.max_clique(whole)
    with pytest.raises(errors.ArgumentValueError, match="edges alone: findings need its distances"):
        findings(alone, 4)
    with pytest.raises(errors.ArgumentValueError, match="without distances"):
        alone.within(0.05)


def test_import_is_light() -> None:
    code = "import sys, memcore; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "numpy" in loaded
    assert not {"torch", "triton", "diffusers", "pyarrow", "PIL", "scipy", "jinja2"} & set(loaded)


def test_many_python_threads_at_once(near_duplicates: NDArray[np.uint8]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    expected = memcore.pairwise_tiled_l2(near_duplicates, output="ssd")
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: memcore.pairwise_tiled_l2(near_duplicates, output="ssd"), range(64))
        )
    assert all(np.array_equal(a, expected) for a in answers)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_fork(near_duplicates: NDArray[np.uint8]) -> None:
    """A child of fork() has no pool threads; the pool must notice, or this hangs."""
    import multiprocessing

    expected = memcore.pairwise_tiled_l2(near_duplicates, output="ssd", threads=2)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        got = pool.apply_async(memcore.pairwise_tiled_l2, (near_duplicates,), {"output": "ssd", "threads": 2})
        assert np.array_equal(got.get(timeout=60), expected)
