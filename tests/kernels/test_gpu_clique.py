"""Cliques on a GPU, from Python down to the kernel, which runs on fibers of the CPU; and the core without CUDA."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest

import memcore
from memcore import _core
from memcore.backends import gpu_clique
from memcore.errors import ArgumentTypeError, ArgumentValueError, DeviceError
from tests.support import fibers

torch = pytest.importorskip("torch")

NO_CUDA = not _core.cuda_status()["available"]
NO_LIMIT = 10**9


@pytest.fixture
def on_fibers(monkeypatch: pytest.MonkeyPatch) -> None:
    """``gpu_clique`` takes CPU tensors, and runs the kernel on fibers."""
    reason = fibers.missing()
    if reason:
        pytest.skip(reason)

    def max_cliques(
        bits: torch.Tensor, *, min_size: int, node_limit: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return gpu_clique.launch(fibers.library(), bits.contiguous(), 0, 0, min_size, node_limit)

    monkeypatch.setattr(gpu_clique, "max_cliques", max_cliques)


def random_graph(rng: np.random.Generator, n: int, p: float) -> torch.Tensor:
    upper = np.triu(rng.random((n, n)) < p, 1)
    return torch.from_numpy(upper | upper.T)


@pytest.mark.usefixtures("on_fibers")
@pytest.mark.parametrize("n", [1, 3, 31, 32, 33, 50])
def test_equal_to_the_cpu(n: int, rng: np.random.Generator) -> None:
    graphs = [random_graph(rng, n, p) for p in (0.0, 0.1, 0.3, 0.6, 0.9, 1.0)]
    found = gpu_clique.to_host(
        *gpu_clique.max_cliques(gpu_clique.pack(torch.stack(graphs)), min_size=0, node_limit=NO_LIMIT)
    )
    for graph, answer in zip(graphs, found, strict=True):
        expected = memcore.max_clique(graph)
        assert answer.members == expected.members
        assert answer[1:4] == (expected.lower, expected.upper, True)


def test_decisions_are_the_cpus(rng: np.random.Generator) -> None:
    """Is there a clique of a size, and how many edges, of graphs that slots name."""
    if fibers.missing():
        pytest.skip(fibers.missing())
    graphs = torch.stack([random_graph(rng, 50, p) for p in (0.0, 0.1, 0.3, 0.6, 0.9, 1.0)])
    bits, slots = gpu_clique.pack(graphs), torch.tensor([5, 0, 3, 2, 1, 4, 3], dtype=torch.int32)
    sizes = [memcore.max_clique(graph).lower for graph in graphs]
    for size in (1, 3, 6, 10):
        answers = gpu_clique.launch_decision(fibers.library(), bits, 0, 0, size, NO_LIMIT, slots)
        expected = [gpu_clique.SOME if sizes[slot] >= size else gpu_clique.NONE for slot in slots]
        assert answers[:, 0].tolist() == expected
        assert answers[:, 1].tolist() == (graphs.sum((1, 2)) // 2)[slots.long()].tolist()
    limited = gpu_clique.launch_decision(fibers.library(), bits, 0, 0, sizes[3] + 1, 1)
    assert limited[3, 0] == gpu_clique.OPEN
    assert limited.shape == (6, 2)


def test_wrong_questions_name_the_argument() -> None:
    bits = torch.zeros(2, 40, 2, dtype=torch.int32)
    ask = functools.partial(gpu_clique.has_cliques, min_size=3, node_limit=1)
    for arguments, error, text in (
        ((bits.long(),), ArgumentTypeError, "bits must be torch.int32"),
        ((bits[:, :, :1],), ArgumentValueError, "bits must be"),
        ((bits,), DeviceError, "bits must be on a CUDA device, got cpu"),
    ):
        with pytest.raises(error, match=text):
            ask(*arguments)
    with pytest.raises(ArgumentTypeError, match="slots must be"):
        ask(bits, slots=torch.zeros(2))


@pytest.mark.usefixtures("on_fibers")
def test_disjoint_cliques_are_the_cpus(rng: np.random.Generator) -> None:
    for n, p, size in ((20, 0.5, 2), (40, 0.3, 3), (60, 0.02, 10), (33, 1.0, 10)):
        graph = random_graph(rng, n, p)
        graph[2:14, 2:14] = True
        graph.fill_diagonal_(False)
        found = gpu_clique.find_cliques(gpu_clique.pack(graph), size, NO_LIMIT)
        assert found is not None
        expected = memcore.find_cliques(graph, size)
        assert [one.members for one in found] == [one.members for one in expected]


@pytest.mark.usefixtures("on_fibers")
def test_a_spent_limit_says_so(rng: np.random.Generator) -> None:
    graph = random_graph(rng, 45, 0.8)
    bits = gpu_clique.pack(graph)
    truth = memcore.max_clique(graph).lower
    for limit in (1, 5, 50):
        (found,) = gpu_clique.to_host(*gpu_clique.max_cliques(bits[None], min_size=0, node_limit=limit))
        assert found.nodes <= limit
        assert found.lower <= truth <= found.upper
        assert not found.proven or found.members == memcore.max_clique(graph).members
    assert gpu_clique.find_cliques(bits, 2, 1) is None


@pytest.mark.parametrize("n", [1, 31, 32, 33, 64, 100])
def test_bits_there_and_back(n: int, rng: np.random.Generator) -> None:
    graph = random_graph(rng, n, 0.5)
    bits = gpu_clique.pack(torch.stack([graph, ~graph]))
    assert (bits.dtype, tuple(bits.shape)) == (torch.int32, (2, n, -(-n // 32)))
    assert torch.equal(gpu_clique.unpack(bits, n), torch.stack([graph, ~graph]))


@pytest.mark.parametrize(
    ("bits", "error", "text"),
    [
        (torch.zeros(1, 40, 2), ArgumentTypeError, "bits must be torch.int32"),
        (torch.zeros(1, 40, 1, dtype=torch.int32), ArgumentValueError, "bits must be"),
        (torch.zeros(1, 1025, 33, dtype=torch.int32), ArgumentValueError, "n <= 1024"),
        (torch.zeros(1, 40, 2, dtype=torch.int32), DeviceError, "bits must be on a CUDA device, got cpu"),
    ],
)
def test_wrong_calls_name_the_argument(bits: torch.Tensor, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        gpu_clique.max_cliques(bits, min_size=0, node_limit=1)


@pytest.mark.parametrize("solve", [memcore.max_clique, memcore.find_cliques])
def test_the_gpu_is_refused_for_what_does_not_stand_there(solve: Callable[..., object]) -> None:
    with pytest.raises(DeviceError, match="backend='gpu' needs an adjacency matrix on a CUDA device"):
        solve(torch.zeros(3, 3, dtype=torch.bool), backend="gpu")


@pytest.mark.skipif(not NO_CUDA, reason="this build's CUDA part answers")
def test_without_a_device_the_core_says_why() -> None:
    available, reason = gpu_clique.available()
    assert not available
    assert "without CUDA" in reason or "no device answers" in reason
    assert _core.cuda_max_clique_workspace(0, 4, 4) == -2
    error = _core.cuda_max_clique(0, 0, 0, 4, 1, 0, 10, 0, 0, 0)
    assert error == 35
    assert _core.cuda_error(error)
    assert _core.cuda_has_clique(0, 0, 0, 0, 4, 1, 0, 10, 0, 0) == 35
