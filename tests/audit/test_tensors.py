"""A sampler whose images are torch tensors: the rows of NumPy's, byte for byte, by way of ``DevicePrompts``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

import memcore
from memcore.errors import ArgumentTypeError, ArgumentValueError, DeviceError
from memcore.graphs import start as graphs_start
from memcore.graphs.device_prompts import DevicePrompts
from memcore.runs.folder import RunFolder
from memcore.types import Images, Request
from tests.support.run_files import findings_bytes, image_digest, run
from tests.support.synthetic import SyntheticSampler

torch = pytest.importorskip("torch")


class TensorSampler(SyntheticSampler):
    """A sampler that gives its images as tensors and stops the run after ``batches`` batches."""

    def __init__(self, fail: str = "", batches: int = 10**9) -> None:
        super().__init__(fail)
        self.left = batches

    def sample(self, requests: Sequence[Request]) -> Images:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        images = super().sample(requests)
        return Images(torch.from_numpy(images.pixels), images.flagged)


@pytest.fixture
def on_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPU tensors go through ``DevicePrompts``, as CUDA tensors do."""
    monkeypatch.setattr(graphs_start, "on_device", lambda pixels: isinstance(pixels, torch.Tensor))


@pytest.fixture
def extended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many prompts each batch that went to ``DevicePrompts`` was of."""
    seen: list[int] = []
    right = DevicePrompts.extend_runs

    def extend_runs(
        self: DevicePrompts, images: object, runs: Sequence[tuple[int, int, int]], **more: object
    ) -> None:
        seen.append(len({slot for slot, _, _ in runs}))
        right(self, images, runs, **more)

    monkeypatch.setattr(DevicePrompts, "extend_runs", extend_runs)
    return seen


SEQUENTIAL = {"budget": "sequential", "copy_rate": 0.3, "miss_rate": 0.05}


CHANGES = pytest.mark.parametrize(
    "changes",
    [
        {"shard_prompts": 7},
        {"shard_prompts": 7, "batch_size": 64},
        SEQUENTIAL,
        {**SEQUENTIAL, "shard_prompts": 7, "batch_size": 64},
        {"keep": "all"},
        {"edges_up_to": 0.3},
    ],
    ids=["fixed", "large-batches", "sequential", "sequential-large-batches", "keep-all", "pairs"],
)


@CHANGES
@pytest.mark.usefixtures("on_device")
def test_same_bytes_as_arrays(extended: list[int], tmp_path: Path, changes: dict[str, object]) -> None:
    arrays, tensors = run(tmp_path / "arrays", **changes), None
    assert not extended
    tensors = run(tmp_path / "tensors", TensorSampler(), **changes)
    assert bool(extended) == ("edges_up_to" not in changes)
    assert findings_bytes(tensors) == findings_bytes(arrays)
    assert image_digest(tensors) == image_digest(arrays)
    statuses = [row["status"] for row in tensors.findings()]
    assert statuses.count("finding") == 2
    if changes.get("batch_size") == 64:
        assert max(extended) >= 2


@pytest.mark.usefixtures("either_path")
def test_the_largest_clique_is_recorded_also_below_the_least_of_a_finding(tmp_path: Path) -> None:
    """N-X21: size 0 and upper 9 was all that stayed of a clique that was one short."""
    found = run(tmp_path / "found", TensorSampler()).findings()
    most = max(row["size"] for row in found)
    short = run(tmp_path / "short", TensorSampler(), min_clique=most + 1).findings()
    assert not any(row["size"] for row in short)
    largest = {row["prompt"]: row["largest"] for row in short}
    assert largest == {row["prompt"]: row["largest"] for row in found}
    assert largest == {row["prompt"]: row["size"] for row in found if row["size"]} | {
        prompt: size for prompt, size in largest.items() if (size or 0) < 10
    }
    assert max(size or 0 for size in largest.values()) == most
    assert (largest["nothing but black"], largest["a green hill"]) == (0, 1)


@CHANGES
def test_tensors_on_the_cpu_feed_prompt_graphs_directly(
    extended: list[int], tmp_path: Path, changes: dict[str, object]
) -> None:
    arrays = run(tmp_path / "arrays", **changes)
    tensors = run(tmp_path / "tensors", TensorSampler(), **changes)
    assert not extended
    assert findings_bytes(tensors) == findings_bytes(arrays)
    assert image_digest(tensors) == image_digest(arrays)


@pytest.fixture(params=["cpu", "device"])
def either_path(request: pytest.FixtureRequest) -> None:
    """Tensors by way of ``PromptGraph``, then by way of ``DevicePrompts``."""
    if request.param == "device":
        request.getfixturevalue("on_device")


@pytest.mark.usefixtures("either_path")
@pytest.mark.parametrize("changes", [{}, SEQUENTIAL], ids=["fixed", "sequential"])
def test_interrupted_and_gone_on_with(tmp_path: Path, changes: dict[str, object]) -> None:
    whole = run(tmp_path / "whole", shard_prompts=7, batch_size=8, **changes)
    for batches in (2, 5, 4):  # of 8 images each
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut", TensorSampler(batches=batches), shard_prompts=7, batch_size=8, **changes)
    cut = run(tmp_path / "cut", TensorSampler(), shard_prompts=7, batch_size=8, **changes)
    assert findings_bytes(cut) == findings_bytes(whole)
    assert image_digest(cut) == image_digest(whole)


@pytest.mark.usefixtures("either_path")
def test_a_failing_prompt_leaves_its_slot(tmp_path: Path) -> None:
    def failing(path: str, kind: Callable[..., SyntheticSampler]) -> RunFolder:
        return run(tmp_path / path, kind(fail="an old clock"), shard_prompts=7, batch_size=64)

    arrays, tensors = failing("arrays", SyntheticSampler), failing("tensors", TensorSampler)
    assert findings_bytes(tensors) == findings_bytes(arrays)
    assert [row["status"] for row in tensors.findings()].count("failed") == 1


def test_slots_are_as_a_prompt_graph_each(near_duplicates: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    prompts = memcore.DevicePrompts(3, 30, (32, 32, 3), device="cpu")
    graphs = [memcore.PromptGraph((32, 32, 3)) for _ in range(2)]
    for start in range(0, 24, 7):
        batch = near_duplicates[start : start + 7]
        exclude = rng.random(len(batch)) < 0.3
        for slot, graph in zip((0, 2), graphs, strict=True):
            graph.extend(batch, exclude=exclude)
            prompts.extend(torch.from_numpy(batch), [slot] * len(batch), exclude=exclude)
    for slot, graph in zip((0, 2), graphs, strict=True):
        mine, expected = prompts.graph(slot), graph.graph()
        assert (mine.n, prompts.excluded(slot)) == (expected.n, graph.excluded)
        assert np.array_equal(mine.edges, expected.edges)
        assert np.array_equal(mine.ssd, expected.ssd)
        assert prompts.edge_counts([slot]) == [len(expected)]
        first = expected.edges[0, 0]
        assert np.array_equal(prompts.pixels(slot, first), near_duplicates[first])
    first, empty, last = prompts.largest()
    assert first == last == memcore.max_clique(graphs[0].graph())
    assert (empty.members, empty.upper, empty.proven) == ((), 0, True)
    prompts.clear(0)
    assert (prompts.generated(0), len(prompts.images(0)), prompts.generated(2)) == (0, 0, 24)


def test_wrong_calls_name_the_argument() -> None:
    prompts = memcore.DevicePrompts(1, 2, (8, 8, 3), device="cpu")
    images = torch.zeros(3, 8, 8, 3, dtype=torch.uint8)
    with pytest.raises(ArgumentValueError, match=r"capacity=2, slot 0 would have 3"):
        prompts.extend(images, [0, 0, 0])
    with pytest.raises(ArgumentValueError, match=r"slots must be in \[0, 0\], got 1"):
        prompts.extend(images[:1], [1])
    with pytest.raises(ArgumentValueError, match="images must have the shape"):
        prompts.extend(images, [0])
    with pytest.raises(ArgumentTypeError, match="images must be uint8"):
        prompts.extend(images.float(), [0, 0, 0])
    with pytest.raises(ArgumentValueError, match="exclude must be bool"):
        prompts.extend(images[:1], [0], exclude=np.zeros(2, np.bool_))
    with pytest.raises(ArgumentValueError, match="capacity must be in"):
        memcore.DevicePrompts(1, 1025, (8, 8, 3), device="cpu")
    with pytest.raises(DeviceError, match="device must be 'cpu' or a CUDA device"):
        memcore.DevicePrompts(1, 2, (8, 8, 3), device="mps")
    assert prompts.generated(0) == 0
