"""torch.ops.memcore: equal to the functions, sound under opcheck, traceable in full by torch.compile."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import memcore
from memcore.errors import ArgumentTypeError, ArgumentValueError

torch = pytest.importorskip("torch")
importlib.import_module("memcore.torch_ops")
ops = torch.ops.memcore


def random_images(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8))


def near_duplicates(n: int = 12, size: int = 16) -> torch.Tensor:
    """Return 4 images, then n noisy copies of another one."""
    rng = np.random.default_rng(1)
    copies = rng.integers(8, 248, (3, size, size)) + rng.integers(-8, 9, (n, 3, size, size))
    return torch.cat([random_images(4, 3, size, size), torch.from_numpy(copies.astype(np.uint8))])


def ring(n: int = 6) -> torch.Tensor:
    """A cycle of n vertices with one chord, which closes the triangle 0, 1, 2."""
    adjacency = torch.zeros(n, n, dtype=torch.bool)
    for i, j in [*((v, (v + 1) % n) for v in range(n)), (0, 2)]:
        adjacency[i, j] = adjacency[j, i] = True
    return adjacency


CALLS: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {
    "pairwise_tiled_l2": (ops.pairwise_tiled_l2, (random_images(5, 3, 16, 16),), {}),
    "pairwise_tiled_l2 of two sets": (
        ops.pairwise_tiled_l2,
        (random_images(5, 3, 16, 16), random_images(3, 3, 16, 16)),
        {"grid": [2, 4]},
    ),
    "pairwise_tiled_l2 of float images": (ops.pairwise_tiled_l2, (torch.rand(3, 3, 16, 16),), {}),
    "tiled_l2_ssd": (ops.tiled_l2_ssd, (random_images(5, 3, 16, 16),), {"tile": [8, 4]}),
    "tiled_l2_ssd of batches": (
        ops.tiled_l2_ssd,
        (random_images(2, 5, 16, 16, 3), random_images(2, 3, 16, 16, 3)),
        {"channels": "last"},
    ),
    "tiled_l2_graph": (ops.tiled_l2_graph, (near_duplicates(),), {}),
    "tiled_l2_graph without edges": (ops.tiled_l2_graph, (random_images(3, 3, 16, 16), 0.0), {}),
    "max_clique": (ops.max_clique, (ring(),), {}),
    "knn": (ops.knn, (random_images(4, 3, 8, 8), random_images(9, 3, 8, 8), 3), {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_opcheck(name: str) -> None:
    """Schema, fakes, no aliases, AOT dispatch with fixed and dynamic shapes."""
    operator, positional, named = CALLS[name]
    results = torch.library.opcheck(operator.default, positional, named)
    assert set(results.values()) == {"SUCCESS"}


def test_equal_to_the_functions() -> None:
    images, other = random_images(6, 3, 16, 16), random_images(4, 3, 16, 16)
    assert torch.equal(ops.pairwise_tiled_l2(images), memcore.pairwise_tiled_l2(images))
    assert torch.equal(
        ops.pairwise_tiled_l2(images, other, grid=[2, 2]),
        memcore.pairwise_tiled_l2(images, other, grid=(2, 2)),
    )
    ssd = ops.tiled_l2_ssd(images, other, tile=[8, 4])
    assert ssd.dtype == torch.int64
    expected = memcore.pairwise_tiled_l2(
        images.permute(0, 2, 3, 1).numpy(), other.permute(0, 2, 3, 1).numpy(), tile=(8, 4), output="ssd"
    )
    assert ssd.tolist() == expected.tolist()

    copies = near_duplicates()
    graph = memcore.tiled_l2_graph(copies, 0.15)
    assert len(graph) == 12 * 11 // 2
    edges, edge_ssd, distances = ops.tiled_l2_graph(copies, 0.15)
    assert (edges.dtype, edge_ssd.dtype, distances.dtype) == (torch.int32, torch.int64, torch.float32)
    assert edges.tolist() == graph.edges.tolist()
    assert edge_ssd.tolist() == graph.ssd.tolist()
    assert distances.tolist() == graph.distances.tolist()

    members, bounds = ops.max_clique(torch.from_numpy(graph.adjacency()))
    assert members.tolist() == list(range(4, 16))
    assert bounds.tolist()[:3] == [12, 12, 1]

    found = memcore.knn(images, copies, 3)
    for tensor, answer in zip(
        ops.knn(images, copies, 3), (found.distances, found.indices, found.ssd), strict=True
    ):
        assert torch.equal(tensor, answer.to(tensor.dtype))


def largest_clique_of(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A program that uses every operator, with sizes that depend on the data."""
    edges, _, distances = ops.tiled_l2_graph(images, 0.15)
    n = images.shape[0]
    adjacency = torch.zeros(n, n, dtype=torch.bool)
    i, j = edges.long().unbind(1)
    adjacency[i, j] = True
    adjacency = adjacency | adjacency.T
    members, bounds = ops.max_clique(adjacency)
    nearest, _, _ = ops.knn(images[:2], images, 2)
    dense = ops.pairwise_tiled_l2(images) + ops.tiled_l2_ssd(images) * 0
    return members + 0, bounds * 2, dense.sum() + distances.sum() + nearest.sum()


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiles_in_one_graph(backend: str) -> None:
    torch.compiler.reset()
    compiled = torch.compile(largest_clique_of, fullgraph=True, backend=backend)
    for images in (near_duplicates(12), near_duplicates(7)):
        for answer, expected in zip(compiled(images), largest_clique_of(images), strict=True):
            torch.testing.assert_close(answer, expected)


def test_compiles_to_machine_code() -> None:
    def mean_distance_and_clique(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        distances = ops.pairwise_tiled_l2(images)
        members, _ = ops.max_clique((distances <= 0.15) & (distances > 0))
        return distances.mean(), members * 2

    torch.compiler.reset()
    images = near_duplicates()
    mean, members = torch.compile(mean_distance_and_clique, fullgraph=True, backend="inductor")(images)
    torch.testing.assert_close(mean, memcore.pairwise_tiled_l2(images).mean())
    assert members.tolist() == list(range(8, 32, 2))


def test_compiles_once_for_all_numbers_of_images() -> None:
    """No size equals another, which the compiler would take for a rule."""
    torch.compiler.reset()
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(
        lambda x: ops.pairwise_tiled_l2(x) * 2, fullgraph=True, dynamic=True, backend=counter
    )
    for n in (5, 7, 9):
        images = random_images(n, 3, 16, 24)
        assert torch.equal(compiled(images), memcore.pairwise_tiled_l2(images) * 2)
    assert counter.frame_count == 1


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: ops.pairwise_tiled_l2(random_images(3, 3, 15, 16)), ArgumentValueError, r"grid=\(4, 4\)"),
        (lambda: ops.pairwise_tiled_l2(random_images(3, 16, 16)), ArgumentValueError, "images must have"),
        (
            lambda: ops.tiled_l2_ssd(random_images(3, 3, 16, 16), random_images(3, 3, 8, 16)),
            ArgumentValueError,
            "other must hold images",
        ),
        (lambda: ops.tiled_l2_ssd(torch.rand(3, 3, 16, 16)), ArgumentValueError, "output='ssd'"),
        (
            lambda: ops.tiled_l2_graph(torch.rand(3, 3, 16, 16)),
            ArgumentTypeError,
            "images must be torch.uint8",
        ),
        (
            lambda: ops.tiled_l2_graph(random_images(3, 3, 16, 16), 1.5),
            ArgumentValueError,
            "threshold must be",
        ),
        (
            lambda: ops.tiled_l2_ssd(random_images(3, 3, 8, 8), channels="middle"),
            ArgumentValueError,
            "channels must be",
        ),
        (
            lambda: ops.max_clique(torch.ones(3, 3, dtype=torch.bool)),
            ArgumentValueError,
            "graph must have nothing",
        ),
        (lambda: ops.max_clique(ring(), node_limit=0), ArgumentValueError, "node_limit must be"),
        (
            lambda: ops.knn(random_images(2, 4), random_images(3, 4), 4),
            ArgumentValueError,
            "k must be at most",
        ),
        (
            lambda: ops.knn(random_images(2, 4), random_images(3, 5), 1),
            ArgumentValueError,
            "corpus must have",
        ),
    ],
)
def test_wrong_calls_name_the_argument(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_wrong_ranks_fail_while_tracing() -> None:
    torch.compiler.reset()
    compiled = torch.compile(lambda x: ops.pairwise_tiled_l2(x), fullgraph=True, backend="eager")
    with pytest.raises(Exception, match="images must have 4 or 5 dimensions"):
        compiled(random_images(3, 16, 16))


def test_import_memcore_leaves_torch_alone() -> None:
    code = "import sys, memcore; assert 'torch' not in sys.modules and 'triton' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_gradient_is_promised() -> None:
    images = torch.rand(2, 3, 8, 8, requires_grad=True)
    with pytest.raises(RuntimeError, match="autograd"):
        ops.pairwise_tiled_l2(images).sum().backward()
