"""The graphs of the prompts in flight: one interface, the same answers from ``PromptGraph`` and ``DevicePrompts``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import memcore
from memcore.backends import gpu_clique
from memcore.errors import ArgumentTypeError, ArgumentValueError
from memcore.graphs import device_slots, growing_device, growing_host
from memcore.graphs.device_prompts import DevicePrompts
from memcore.graphs.device_slots import KernelSlots
from memcore.graphs.growing import GraphSettings, GrowingGraphs, PromptRun
from memcore.graphs.growing_device import DeviceGrowingGraphs
from memcore.graphs.growing_host import HostGrowingGraphs
from memcore.graphs.slot_runs import SlotRun
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

    def counted(right: Callable[..., Any]) -> Callable[..., Any]:
        def ask(self: DevicePrompts, slots: list[int], *, min_size: int = 0, node_limit: int) -> Any:
            asked.append((len(slots), min_size))
            return right(self, slots, min_size=min_size, node_limit=node_limit)

        return ask

    for name in ("ask", "has_clique"):
        monkeypatch.setattr(DevicePrompts, name, counted(getattr(DevicePrompts, name)))
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
    assert bounds(1) == (6, 6)
    assert asked == [(8, 4), (8, 0)], "the answers hold until images arrive"
    graphs.extend(*batch((2, whole[1])))
    assert graphs.bounds([2])(2) == (6, 6)
    assert asked == [(8, 4), (8, 0), (1, 0)], "a budget decides on the largest clique, whatever its size"


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


@dataclasses.dataclass
class Answering:
    """Kernels replaced by matrices on the CPU; what is counted is how often the host waits, and what the device is asked."""

    waits: list[int]
    limits: list[int]
    slots: KernelSlots


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Answering:
    adjacency = torch.zeros(4, 40, 40, dtype=torch.bool)
    adjacency[0, :5, :5] = adjacency[2, 7:9, 7:9] = adjacency[3, 9:30, 9:30] = True
    adjacency[:, range(40), range(40)] = False
    waits: list[int] = []
    limits: list[int] = []

    class Graphs:
        bits = gpu_clique.pack(adjacency)

    def max_cliques(bits: torch.Tensor, *, min_size: int, node_limit: int) -> tuple[torch.Tensor, ...]:
        limits.append(node_limit)
        rows = gpu_clique.unpack(bits, 40)
        sizes = rows.any(1).sum(1)
        members = gpu_clique.pack(rows.any(1)[:, None])[:, 0]
        return members, torch.stack([sizes, sizes, sizes <= 20, sizes], dim=1)

    def has_cliques(
        bits: torch.Tensor, *, min_size: int, node_limit: int, slots: torch.Tensor | None = None
    ) -> torch.Tensor:
        limits.append(node_limit)
        rows = gpu_clique.unpack(bits if slots is None else bits[slots], 40)
        sizes = rows.any(1).sum(1)
        verdicts = torch.where(sizes > 20, 2, (sizes >= min_size).long())
        return torch.stack([verdicts, rows.flatten(1).sum(1) // 2], dim=1).int()

    right = device_slots.fetch
    monkeypatch.setattr(device_slots, "fetch", lambda *a: (waits.append(len(a)), right(*a))[1])
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: pytest.fail("another wait"))
    monkeypatch.setattr(gpu_clique, "available", lambda: (True, ""))
    monkeypatch.setattr(gpu_clique, "max_cliques", max_cliques)
    monkeypatch.setattr(gpu_clique, "has_cliques", has_cliques)
    slots = KernelSlots.__new__(KernelSlots)
    slots._graphs = Graphs()
    return Answering(waits, limits, slots)


def test_a_device_answers_with_one_wait(answering: Answering) -> None:
    found = answering.slots.cliques([2, 0, 1], 0, 100)
    assert {slot: (clique.members, clique.upper, edges) for slot, (clique, edges) in found.items()} == {
        2: ((7, 8), 2, 1),
        0: ((0, 1, 2, 3, 4), 5, 10),
        1: ((), 0, 0),
    }
    assert len(answering.waits) == 1
    verdicts = answering.slots.verdicts([0, 1, 2, 3], 3, 100)
    assert verdicts == {0: (True, 10), 1: (False, 0), 2: (False, 1), 3: (None, 210)}
    assert len(answering.waits) == 2


def test_a_hard_graph_does_not_hold_the_device(answering: Answering) -> None:
    """One warp would search it for minutes while all else waits: the device stops early, and the CPU has the whole limit."""
    assert set(answering.slots.cliques([0, 3], 0, 10**7)) == {0}
    answering.slots.verdicts([0, 3], 4, 10**7)
    answering.slots.verdicts([0, 3], 4, 50)
    assert max(answering.limits) <= device_slots.DEVICE_NODES <= 5000
    assert answering.limits[-1] == 50


@pytest.mark.parametrize(("copies", "found"), [(0, False), (4, False), (5, True), (9, True)])
def test_whether_there_is_a_clique_of_a_size(copies: int, found: bool) -> None:
    prompts = DevicePrompts(3, 40, SHAPE, device="cpu")
    images = torch.from_numpy(images_of(3, copies))
    prompts.extend_runs(images, [(1, 0, 20)])
    edges = prompts.edge_counts([1])[0]
    assert edges == copies * (copies - 1) // 2
    assert prompts.has_clique(min_size=5) == [(False, 0), (found, edges), (False, 0)]
    assert prompts.has_clique([1, 1], min_size=5) == [(found, edges)] * 2


class Memory:
    """A device on which the calls of one method find no memory, those whose numbers are in ``fails`` (from 0 on)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, fails: Callable[[int], bool]) -> None:
        self.calls = 0
        right = getattr(DevicePrompts, name)

        def call(prompts: DevicePrompts, *arguments: Any, **more: Any) -> Any:
            self.calls += 1
            if fails(self.calls - 1):
                raise torch.OutOfMemoryError("CUDA out of memory")
            return right(prompts, *arguments, **more)

        monkeypatch.setattr(DevicePrompts, name, call)


@pytest.mark.parametrize(
    ("name", "fails", "moved"),
    [
        ("extend_runs", lambda number: number == 0, False),  # all at once: halves fit
        (
            "extend_runs",
            lambda number: number in (0, 1, 2),
            True,
        ),  # not even one: it moves before it has an image
        ("extend_runs", lambda number: number in (1, 2, 3), True),  # later, with images
        ("extend_runs", lambda number: True, True),
        ("grow", lambda number: True, True),
        ("__init__", lambda number: True, True),
        ("ask", lambda number: number == 0, False),
        ("ask", lambda number: True, True),
        ("has_clique", lambda number: number == 0, False),
        ("has_clique", lambda number: True, True),
        ("graph", lambda number: True, True),
    ],
)
def test_where_memory_ends_answers_are_the_same(
    name: str,
    fails: Callable[[int], bool],
    moved: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = {i: images_of(i, copies) for i, copies in ((1, 9), (2, 0), (3, 3), (4, 6))}
    whole[1][[2, 5]] = 0  # flagged
    graphs = on_slots(SETTINGS)
    memory = Memory(monkeypatch, name, fails)
    graphs.begin([1, 2])
    graphs.extend(*batch((1, whole[1][:8]), (2, whole[2][:8])))
    graphs.begin([3, 4])
    graphs.extend(*batch(*((i, images[8:] if i < 3 else images) for i, images in whole.items())))
    bounds = graphs.bounds(list(whole))
    if name == "ask":
        right = HostGrowingGraphs(SETTINGS)
        right.begin(list(whole))
        right.extend(*batch(*whole.items()))
        assert [bounds(i) for i in whole] == [right.bounds([i])(i) for i in whole]
    for prompt_id, images in whole.items():
        assert answer(graphs, prompt_id) == expected(images)
        if not flag_constant(images)[7]:
            assert np.array_equal(graphs.pixels(prompt_id, 7), images[7])
    assert memory.calls
    told = [record.message for record in caplog.records if "the memory of cpu is full" in record.message]
    assert len(told) == moved
    for prompt_id in whole:
        graphs.drop(prompt_id)
    monkeypatch.undo()
    graphs.begin([9])
    graphs.extend(*batch((9, whole[1])))
    assert answer(graphs, 9) == expected(whole[1])


@pytest.mark.parametrize("fails", [{0, 1}, {0, 2, 4}], ids=["its first run", "its second run"])
def test_memory_ends_within_a_prompt_that_has_two_runs_in_a_batch(
    fails: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = images_of(1, 9), images_of(2, 4)
    graphs = on_slots(SETTINGS)
    Memory(monkeypatch, "extend_runs", lambda number: number in fails)
    graphs.begin([1, 2])
    graphs.extend(*batch((1, first[:5]), (2, second), (1, first[5:])))
    assert answer(graphs, 1) == expected(first)
    assert answer(graphs, 2) == expected(second)


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


@pytest.mark.parametrize("run", [SlotRun("0", 0, 1), SlotRun(0, 0.5, 1), SlotRun(0, 0, True)])  # type: ignore[arg-type]
def test_runs_of_other_things_than_numbers_are_refused_by_name(run: SlotRun) -> None:
    prompts = DevicePrompts(2, 4, SHAPE, device="cpu")
    with pytest.raises(ArgumentTypeError, match="runs"):
        prompts.extend_runs(torch.zeros(3, *SHAPE, dtype=torch.uint8), [run])


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
