"""The graphs of the prompts in flight: one interface, the same answers from ``PromptGraph`` and ``DevicePrompts``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

import memcore
from memcore.backends import gpu_clique
from memcore.errors import ArgumentValueError
from memcore.graphs import growing_device, growing_host
from memcore.graphs.device_prompts import DevicePrompts, SlotAnswer
from memcore.graphs.device_slots import KernelSlots
from memcore.graphs.growing import GraphSettings, GrowingGraphs, PromptRun
from memcore.graphs.growing_device import DeviceGrowingGraphs
from memcore.graphs.growing_host import HostGrowingGraphs
from memcore.graphs.start import start_graphs
from memcore.images.constant import flag_constant
from memcore.types import Images

torch = pytest.importorskip("torch")

SHAPE = (16, 16, 3)
SETTINGS = GraphSettings(
    shape=SHAPE, threshold=0.15, grid=(4, 4), min_clique=4, node_limit=10**6, generations=40, expected=40
)
Make = Callable[[GraphSettings], GrowingGraphs]
Pixels = NDArray[np.uint8]


def on_slots(settings: GraphSettings) -> GrowingGraphs:
    return DeviceGrowingGraphs(settings, "cpu")


both = pytest.mark.parametrize("make", [HostGrowingGraphs, on_slots], ids=["prompt-graphs", "slots"])


def images_of(prompt_id: int, copies: int, count: int = 20) -> Pixels:
    """Random images, the first of which are copies of one with a little noise, shuffled."""
    rng = np.random.default_rng(prompt_id)
    images = rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8)
    base = rng.integers(8, 248, SHAPE)
    images[:copies] = base + rng.integers(-6, 7, (copies, *SHAPE))
    return images[rng.permutation(count)]


def batch(*parts: tuple[int, Pixels], tensors: bool = True) -> tuple[Images, list[PromptRun]]:
    """A sampler's batch, and its runs; constant images are flagged."""
    runs, first = [], 0
    for prompt_id, images in parts:
        runs.append(PromptRun(prompt_id, first, len(images)))
        first += len(images)
    pixels = np.concatenate([images for _, images in parts])
    flagged = flag_constant(pixels)
    return Images(torch.from_numpy(pixels) if tensors else pixels, flagged), runs


def expected(images: Pixels) -> tuple[int, int, int, list[memcore.Finding]]:
    """What one ``PromptGraph`` over all the images says."""
    graph = memcore.PromptGraph(SHAPE, 0.15, min_clique=4)
    graph.extend(images, exclude=flag_constant(images))
    return graph.n, graph.excluded, len(graph.graph()), graph.findings()


def answer(graphs: GrowingGraphs, prompt_id: int) -> tuple[int, int, int, list[memcore.Finding]]:
    outcome = graphs.outcome(prompt_id)
    return outcome.generated, outcome.excluded, outcome.edges, outcome.findings


def count_questions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return a list that grows with each question: the number of prompts, and the size that was asked for."""
    asked: list[tuple[int, int]] = []
    right = DevicePrompts.ask

    def ask(self: DevicePrompts, slots: list[int], *, min_size: int = 0, node_limit: int) -> list[SlotAnswer]:
        asked.append((len(slots), min_size))
        return right(self, slots, min_size=min_size, node_limit=node_limit)

    monkeypatch.setattr(DevicePrompts, "ask", ask)
    return asked


@pytest.mark.parametrize(
    ("make", "tensors"),
    [(HostGrowingGraphs, False), (HostGrowingGraphs, True), (on_slots, True)],
    ids=["arrays", "tensors", "slots"],
)
def test_prompts_mixed_in_batches_and_split_over_them(make: Make, tensors: bool) -> None:
    whole = {7: images_of(7, 9), 3: images_of(3, 0), 5: images_of(5, 3)}
    graphs = make(SETTINGS)
    graphs.begin([7, 3])
    graphs.extend(*batch((7, whole[7][:12]), (3, whole[3][:9]), tensors=tensors))
    graphs.begin([5])
    graphs.extend(*batch((3, whole[3][9:]), (5, whole[5]), (7, whole[7][12:]), tensors=tensors))
    bounds = graphs.bounds([3, 7, 5])
    assert (bounds(7), bounds(3)) == ((9, 9), (1, 1))
    assert bounds(5) == (3, 3)
    for prompt_id, images in whole.items():
        assert answer(graphs, prompt_id) == expected(images)
    member = graphs.outcome(7).findings[0].members[0]
    assert np.array_equal(graphs.outcome(7).pixels(member), whole[7][member])


@both
def test_flagged_images_count_and_have_no_edges(make: Make) -> None:
    images = images_of(1, 8)
    images[[0, 3, 11, 19]] = 0
    graphs = make(SETTINGS)
    graphs.begin([1, 2])
    graphs.extend(*batch((1, images[:4]), (2, np.zeros((6, *SHAPE), np.uint8))))
    graphs.extend(*batch((1, images[4:])))
    assert graphs.bounds([1, 2])(2) == (0, 0)
    assert answer(graphs, 1) == expected(images)
    assert answer(graphs, 1)[:2] == (20, 4)
    assert answer(graphs, 2) == (6, 6, 0, [])
    with pytest.raises(ArgumentValueError, match="index 3 is not a kept generation"):
        graphs.outcome(1).pixels(3)


@both
def test_a_prompt_dropped_midway_leaves_nothing_to_the_next(make: Make) -> None:
    first, second, other = images_of(1, 12), images_of(2, 5), images_of(3, 6)
    graphs = make(SETTINGS)
    graphs.begin([1, 3])
    graphs.extend(*batch((1, first), (3, other[:10])))
    assert graphs.bounds([1])(1) == (12, 12)
    graphs.drop(1)
    graphs.drop(4)  # was never begun
    graphs.begin([2])
    graphs.extend(*batch((2, second), (3, other[10:])))
    assert graphs.bounds([2, 3])(2) == (5, 5)
    assert answer(graphs, 2) == expected(second)
    assert answer(graphs, 3) == expected(other)


def test_one_question_is_asked_about_all_prompts_that_are_due(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = count_questions(monkeypatch)
    whole = {i: images_of(i, 6 * (i % 2)) for i in range(8)}
    graphs = on_slots(SETTINGS)
    graphs.begin(list(whole))
    graphs.extend(*batch(*whole.items()))
    bounds = graphs.bounds(list(whole))
    assert not asked
    for prompt_id, images in whole.items():
        assert answer(graphs, prompt_id) == expected(images)
    assert asked == [(8, 4)], "whether there is a finding, and no more"
    assert bounds(3) == (6, 6)
    assert bounds(2) == (1, 1)
    assert answer(graphs, 2) == expected(whole[2])
    assert asked == [(8, 4)], "the answers hold until images arrive"
    graphs.extend(*batch((2, whole[1])))
    assert graphs.bounds([2])(2) == (6, 6)
    assert asked == [(8, 4), (1, 0)], "a budget decides on the largest clique, whatever its size"


def test_the_largest_clique_is_asked_only_of_prompts_with_edges_and_no_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is recorded and decides nothing; the search for it may take long, that for a finding rarely does."""
    asked = count_questions(monkeypatch)
    copies = {0: 9, 1: 3, 2: 0, 3: 2, 4: 6, 5: 0}
    whole = {i: images_of(i, count) for i, count in copies.items()}
    graphs, on_host = on_slots(SETTINGS), HostGrowingGraphs(SETTINGS)
    for growing in (graphs, on_host):
        growing.begin(list(whole))
        growing.extend(*batch(*whole.items()))
    graphs.bounds(list(whole))
    for prompt_id, images in whole.items():
        assert answer(graphs, prompt_id) == expected(images)
        mine, other = graphs.outcome(prompt_id), on_host.outcome(prompt_id)
        assert mine.largest == other.largest == max(copies[prompt_id], 1)
        assert mine.upper < 4 or mine.findings
    assert asked == [(6, 4), (2, 0)]
    assert graphs.bounds(list(whole))(1) == (3, 3)
    assert len(asked) == 2


@pytest.mark.parametrize("decision_nodes", [1, 100_000])
def test_the_largest_clique_is_the_same_where_the_search_ends_at_its_limit(
    decision_nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (growing_device, growing_host):
        monkeypatch.setattr(module, "DECISION_NODES", decision_nodes)
    settings = dataclasses.replace(SETTINGS, threshold=0.45, min_clique=30)
    images = images_of(8, 5, count=40)
    found = []
    for make in (HostGrowingGraphs, on_slots):
        graphs = make(settings)
        graphs.begin([1])
        graphs.extend(*batch((1, images)))
        outcome = graphs.outcome(1)
        assert outcome.edges > 100
        found.append((outcome.largest, outcome.upper < 30, outcome.findings))
    assert found[0] == found[1]


def test_a_device_answers_with_one_transfer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels replaced by matrices on the CPU: what is counted is how often something comes to the host."""
    adjacency = torch.zeros(3, 40, 40, dtype=torch.bool)
    adjacency[0, :5, :5] = adjacency[2, 7:9, 7:9] = True
    adjacency[:, range(40), range(40)] = False

    class Graphs:
        bits = gpu_clique.pack(adjacency)

        def degrees(self) -> torch.Tensor:
            return adjacency.sum(2).int()

    def max_cliques(bits: torch.Tensor, *, min_size: int, node_limit: int) -> tuple[torch.Tensor, ...]:
        rows = gpu_clique.unpack(bits, 40)
        members = gpu_clique.pack(torch.cat([rows.any(1)[:, None]], dim=1))[:, 0]
        sizes = rows.any(1).sum(1)
        return members, torch.stack([sizes, sizes, sizes.new_ones(len(sizes)), sizes], dim=1)

    transfers = []
    right = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: (transfers.append(self.shape), right(self))[1])
    monkeypatch.setattr(gpu_clique, "available", lambda: (True, ""))
    monkeypatch.setattr(gpu_clique, "max_cliques", max_cliques)
    slots = KernelSlots.__new__(KernelSlots)
    slots._graphs = Graphs()
    found = slots.cliques([2, 0], 0, 100)
    assert {slot: (clique.members, clique.upper, edges) for slot, (clique, edges) in found.items()} == {
        2: ((7, 8), 2, 1),
        0: ((0, 1, 2, 3, 4), 5, 10),
    }
    assert len(transfers) == 1


def test_runs_may_leave_rows_out_and_come_twice() -> None:
    images = images_of(4, 8)
    pixels = torch.from_numpy(images)
    by_runs, by_slots = (DevicePrompts(2, 40, SHAPE, device="cpu") for _ in range(2))
    by_runs.extend_runs(pixels, [(1, 12, 6), (0, 3, 4), (1, 0, 2)])
    order = [*range(12, 18), *range(3, 7), 0, 1]
    by_slots.extend(pixels[order], [1] * 6 + [0] * 4 + [1] * 2)
    for slot in (0, 1):
        assert by_runs.generated(slot) == by_slots.generated(slot)
        assert np.array_equal(by_runs.graph(slot).edges, by_slots.graph(slot).edges)
        assert torch.equal(by_runs.images(slot), by_slots.images(slot))
    assert np.array_equal(by_runs.pixels(1, 6), images[0])


def test_images_of_two_slots_in_turn() -> None:
    images = torch.from_numpy(images_of(9, 10))
    turns, runs = (DevicePrompts(2, 20, SHAPE, device="cpu") for _ in range(2))
    exclude = np.arange(20) % 5 == 1
    turns.extend(images, [0, 1] * 10, exclude=exclude)
    for slot in (0, 1):
        runs.extend_runs(images[slot::2].contiguous(), [(slot, 0, 10)], exclude=exclude[slot::2])
        assert np.array_equal(turns.graph(slot).edges, runs.graph(slot).edges)
        assert turns.excluded(slot) == runs.excluded(slot) == 2
    assert turns.ask() == runs.ask()
    assert [a.edges for a in turns.ask()] == turns.edge_counts([0, 1])


@pytest.mark.parametrize(
    ("runs", "text"),
    [
        ([(0, 0, 4)], r"runs must lie within the 3 images and hold one at least, got \(0, 0, 4\)"),
        ([(0, 0, 0)], "runs must lie within the 3 images"),
        ([(0, -1, 2)], "runs must lie within the 3 images"),
        ([(2, 0, 3)], r"slots must be in \[0, 1\], got 2"),
        ([(0, 0, 2), (0, 0, 3)], "capacity=4, slot 0 would have 5"),
    ],
)
def test_wrong_runs_are_refused_as_a_whole(runs: list[tuple[int, int, int]], text: str) -> None:
    prompts = DevicePrompts(2, 4, SHAPE, device="cpu")
    with pytest.raises(ArgumentValueError, match=text):
        prompts.extend_runs(torch.zeros(3, *SHAPE, dtype=torch.uint8), runs)
    assert (prompts.generated(0), prompts.generated(1)) == (0, 0)


def test_which_graphs_a_sampler_gets() -> None:
    arrays = Images(np.zeros((1, *SHAPE), np.uint8), np.zeros(1, np.bool_))
    tensors = Images(torch.zeros(1, *SHAPE, dtype=torch.uint8), np.zeros(1, np.bool_))
    assert isinstance(start_graphs(SETTINGS, arrays), HostGrowingGraphs)
    assert isinstance(start_graphs(SETTINGS, tensors), HostGrowingGraphs)


def test_former_names_of_a_prompt_graphs_buffer() -> None:
    buffer = np.empty((4, *SHAPE), np.uint8)
    images = images_of(6, 2, count=4)
    named, formerly = (
        memcore.PromptGraph(SHAPE, buffer=buffer),
        memcore.PromptGraph(SHAPE, room=buffer.copy()),
    )
    slot = named.next_slot()
    assert slot is not None
    assert np.shares_memory(slot, buffer)
    for graph in (named, formerly):
        graph.extend(images)
    assert np.array_equal(named.graph().edges, formerly.graph().edges)
    with pytest.raises(ArgumentValueError, match="buffer and room are two names of one argument"):
        memcore.PromptGraph(SHAPE, buffer=buffer, room=buffer)
