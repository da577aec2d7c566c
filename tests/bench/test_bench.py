"""The benchmarks: inputs that are what they promise, tables, and no time without a right answer."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import memcore
from memcore import bench
from memcore._install import install_command
from memcore.bench import child, clique, dense, graph, graphs, kinds, knn, peers, rows, stored, timing
from memcore.errors import ArgumentValueError, IsaError, MissingExtraError
from memcore.types import Clique, Graph, Neighbors

N, SIZE = 40, 64


@pytest.fixture
def photographs() -> None:
    """Skips where the packages that ship the photographs are not installed: they are in the extra `bench`."""
    for module in ("skimage", "sklearn", "PIL"):
        if peers.missing(module) is not None:
            pytest.skip(str(peers.missing(module)))


@pytest.fixture
def images(photographs: None) -> NDArray[np.uint8]:
    return kinds.images(dense.KIND, 24, 32)


def edges(name: str, threshold: float) -> set[tuple[int, int]]:
    found = memcore.tiled_l2_graph(kinds.images(name, N, SIZE), threshold)
    return {(int(i), int(j)) for i, j in found.edges}


def all_pairs(vertices: tuple[int, ...]) -> set[tuple[int, int]]:
    return {(i, j) for i in vertices for j in vertices if i < j}


# --- kinds


@pytest.mark.parametrize("name", kinds.KINDS)
@pytest.mark.usefixtures("photographs")
def test_a_kind_is_the_same_every_time_and_another_with_another_seed(name: str) -> None:
    first = kinds.images(name, 6, SIZE)
    assert first.shape == (6, SIZE, SIZE, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, kinds.images(name, 6, SIZE))
    assert not np.array_equal(first, kinds.images(name, 6, SIZE, seed=8))


@pytest.mark.parametrize("name", ["12 duplicates", "60 duplicates", "one scene", "all same"])
@pytest.mark.usefixtures("photographs")
def test_planted_copies_are_a_clique_at_both_thresholds(name: str) -> None:
    planted = kinds.planted(name, N)
    assert len(planted) == min(N, kinds.KINDS[name].copies)
    for threshold in graph.THRESHOLDS:
        assert all_pairs(planted) <= edges(name, threshold)


@pytest.mark.usefixtures("photographs")
def test_duplicates_stand_out_of_diverse_images() -> None:
    pairs = N * (N - 1) // 2
    assert len(edges("diverse", 0.15)) <= pairs // 50
    assert len(edges("12 duplicates", 0.15) - all_pairs(kinds.planted("12 duplicates", N))) <= pairs // 50
    assert len(edges("all same", 0.10)) == pairs


@pytest.mark.parametrize("name", ["low-contrast grey", "white noise"])
@pytest.mark.usefixtures("photographs")
def test_hard_kinds_have_pairs_on_both_sides_of_the_threshold(name: str) -> None:
    pairs = N * (N - 1) // 2
    assert pairs // 10 < len(edges(name, 0.15)) < pairs
    assert kinds.planted(name, N) == ()


@pytest.mark.usefixtures("photographs")
def test_a_cache_gives_the_same_images(tmp_path: Any) -> None:
    fresh = kinds.images("diverse", 3, 32)
    for _ in range(2):
        assert np.array_equal(kinds.images("diverse", 3, 32, cache=tmp_path / "images"), fresh)
    assert [path.suffix for path in (tmp_path / "images").iterdir()] == [".npy"]


@pytest.mark.usefixtures("photographs")
def test_rows_hold_ties_and_are_the_same_every_time() -> None:
    made = kinds.rows(64, side=8)
    assert made.shape == (64, 192)
    assert np.array_equal(made, kinds.rows(64, side=8))
    assert len(np.unique(made, axis=0)) < 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("diverse", 1), "n must be >= 2, got 1"),
        (("diverse", 4, 8), "size must be >= 16, got 8"),
        (("sparse",), "name must be one of 'diverse', .*, got 'sparse'"),
    ],
)
def test_a_wrong_kind_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ArgumentValueError, match=message):
        kinds.images(*arguments)


def test_graphs_are_the_same_every_time() -> None:
    for make in (lambda: graphs.random(30, 0.3, 1), lambda: graphs.nearly_complete(30, 25, 0.02, 1)):
        assert np.array_equal(make().edges, make().edges)
    sizes = [len(memcore.max_clique(graphs.memorised(120, seed))) for seed in range(8)]
    assert max(sizes[1:4] + sizes[5:]) < 6 <= min(sizes[0], sizes[4])


# --- a wrong answer is not timed


def off_by_one(images: NDArray[np.uint8], output: str, threads: int) -> Any:
    """The largest sum is one too large."""
    answer = np.array(dense.memcore_kernel(images, output, threads))
    if output == "ssd":
        answer[answer == answer.max()] += 1
    return answer


def never(*_: Any, **__: Any) -> Any:
    raise AssertionError("something was timed")


def test_wrong_dense_sums_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "in_turn", never)
    images = np.zeros((3, 16, 16, 3), dtype=np.uint8)
    images[1:] = 255
    with pytest.raises(bench.WrongAnswerError, match=r"dense on \w+: .* values are wrong.*nothing was timed"):
        list(dense.against_peers(images, "a test", peers.DENSE, 1, 1.0, kernel=off_by_one))


def test_a_wrong_distance_is_not_timed(images: NDArray[np.uint8]) -> None:
    def rounded(images: NDArray[np.uint8], output: str, threads: int) -> Any:
        answer = np.asarray(dense.memcore_kernel(images, output, threads))
        return answer if output == "ssd" else answer.round(3)

    with pytest.raises(bench.WrongAnswerError, match="distances"):
        dense.verify(images, rounded)


def test_a_missing_edge_is_not_timed(images: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    def without_the_last(images: NDArray[np.uint8], threshold: float) -> Graph:
        whole = graph.memcore_graph(images, threshold)
        assert whole.ssd is not None
        return dataclasses.replace(whole, edges=whole.edges[:-1], ssd=whole.ssd[:-1])

    monkeypatch.setattr(graph, "in_turn", never)
    with pytest.raises(bench.WrongAnswerError, match=r"graph at 0\.10, edges: shape"):
        list(graph.one_kind(images, dense.KIND, 1, kernel=without_the_last))


def test_a_wrong_neighbour_is_not_timed() -> None:
    def swapped(queries: NDArray[np.uint8], corpus: NDArray[np.uint8], k: int) -> Neighbors:
        found = knn.memcore_knn(queries, corpus, k)
        return Neighbors(found.distances, found.indices[:, ::-1], found.ssd)

    some = np.random.default_rng(1).integers(0, 256, (40, 48), dtype=np.uint8)
    knn.verify(some[:8], some, 3)
    with pytest.raises(bench.WrongAnswerError, match="knn, indices"):
        knn.verify(some[:8], some, 3, swapped)


@pytest.mark.parametrize("kind", stored.FORMATS)
def test_a_wrong_edge_of_stored_images_is_not_timed(
    images: NDArray[np.uint8], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind in stored.DECODERS:
        pytest.importorskip(stored.DECODERS[kind][1])

    def without_the_last(prompts: Any) -> Graph:
        whole = stored.memcore_graph(prompts)
        assert whole.ssd is not None
        assert len(whole) >= 66
        return dataclasses.replace(whole, edges=whole.edges[:-1], ssd=whole.ssd[:-1])

    row = stored.one_format(kind, images, tmp_path / "good", 1)
    assert row.value is not None
    assert row.holds == (row.value.median <= (1.6 if kind == "npy" else 1.15))
    monkeypatch.setattr(stored, "in_turn", never)
    with pytest.raises(bench.WrongAnswerError, match=f"stored {kind}, edges: shape"):
        stored.one_format(kind, images, tmp_path / "bad", 1, without_the_last)


def test_a_missing_decoder_is_a_line(
    images: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "kornia_rs" else find(name))
    row = stored.one_format("png", images, tmp_path / "set", 1)
    assert (row.value, row.holds) == (None, None)
    assert row.note == f"kornia-rs is not installed: {install_command('bench')}"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Clique((0, 1), 2, 2, True), "instead of"),
        (Clique((0, 1, 2, 3, 4, 5), 6, 6, True), "not a clique"),
        (Clique((0, 1), 2, 3, True), "bounds"),
    ],
)
def test_a_wrong_clique_is_not_timed(wrong: Clique, message: str) -> None:
    made = graphs.from_edges(6, np.array([[0, 1], [2, 3], [2, 4], [3, 4]], dtype=np.int32))
    assert clique.verify("a test", made).members == (2, 3, 4)
    with pytest.raises(bench.WrongAnswerError, match=message):
        clique.verify("a test", made, lambda _: wrong)


def test_a_refused_part_is_a_row_and_the_rest_goes_on() -> None:
    def wrong() -> Any:
        yield rows.Row("dense", "a test", "before", note="fine")
        raise bench.WrongAnswerError("dense: 3 of 9 values are wrong; nothing was timed")

    before, refused = bench.collect("dense", wrong())
    assert (before["refused"], refused["refused"]) == (False, True)
    assert any("3 of 9 values are wrong" in line for line in bench.table([before, refused]))


# --- peers


def test_a_missing_peer_is_a_line(images: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numkong" else find(name))
    made = list(dense.against_peers(images, "a test", peers.DENSE[:2], 1, 1.0))
    assert made[0].value is None
    lines = bench.table([row.as_dict() for row in made])
    assert f"  numkong dots_symmetric: numkong is not installed: {install_command('bench')}" in lines
    assert any("not measured (numkong is not installed" in line for line in lines)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[bench\]'"):
        peers.load("numkong")


def test_a_missing_clique_peer_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clique, "missing", lambda module: f"{module} is not installed: pip install ...")
    outcomes = clique.against("igraph clique_number", [graphs.random(5, 0.5, 1)] * 2, 1.0, 1)
    assert outcomes == [{"note": "igraph is not installed: pip install ..."}] * 2


@pytest.mark.parametrize("peer", peers.DENSE, ids=lambda peer: peer.name)
def test_dense_peers_compute_the_same(images: NDArray[np.uint8], peer: peers.Peer) -> None:
    if peers.missing(peer.module) is not None:
        pytest.skip(str(peers.missing(peer.module)))
    exact = dense.exact_distances(dense.verify(images), dense.tile_bytes(images))
    assert dense.largest_error(np.asarray(peer.run(images, dense.tile_shape(images))), exact) < 1e-3


@pytest.mark.parametrize("peer", peers.KNN, ids=lambda peer: peer.name)
@pytest.mark.usefixtures("photographs")
def test_knn_peers_compute_the_same(peer: peers.KnnPeer) -> None:
    if peers.missing(peer.module) is not None:
        pytest.skip(str(peers.missing(peer.module)))
    corpus = kinds.rows(300, side=8)
    found = knn.verify(corpus[:20], corpus, 5)
    values, _ = peer.build(corpus)(corpus[:20], 5)
    assert knn.largest_error(values, np.asarray(found.ssd), corpus.shape[1]) < 1e-2


def test_a_peer_that_takes_too_long_is_ended_and_the_next_graph_goes_on() -> None:
    if peers.missing("networkx") is not None:
        pytest.skip(str(peers.missing("networkx")))
    endless, easy = graphs.random(150, 0.8, 1), graphs.random(10, 0.5, 1)
    slow, quick = clique.against("networkx max_weight_clique", [endless, easy], 0.5, 1)
    assert slow == {"note": "> 0.5 s", "ended": True}
    assert quick["size"] == len(memcore.max_clique(easy))
    row = clique.best_of_peers(
        "G(150, 0.8)", "work", memcore.max_clique(easy), [(timing.Spread(3, 3, 3), True, "x")]
    )
    assert (row.at_least, row.holds) == (True, None)


# --- one instruction set, one part


@pytest.mark.parametrize("name", memcore.isa.available())
def test_a_part_is_measured_on_the_instruction_set_asked_for(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def run(quick: bool) -> list[rows.Row]:
        seen.append((memcore.isa.active(), child.environment()["MEMCORE_ISA"], quick))
        return [rows.Row("knn", "work", "peer", memcore.isa.active())]

    monkeypatch.setattr(knn, "run", run)
    results = bench.run_all(True, isa=name, parts=["knn"])
    assert seen == [(name, name, True)]
    assert [result["section"] for result in results] == ["machine", "knn"]
    assert results[0]["isa"] == results[1]["isa"] == name


@pytest.mark.parametrize("quick", [False, True])
def test_quick_sizes_have_no_verdict(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """N-X16: "19 of 28 hold" was said of sizes that no target is stated for."""
    aimed = rows.Row(
        "knn", "work", "peer", value=timing.Spread(2.4, 2.1, 2.6), target=rows.Target("knn", ">=", 2.2)
    )
    monkeypatch.setattr(knn, "run", lambda quick: [aimed])
    results = bench.run_all(quick, parts=["knn"])
    said = "\n".join(bench.table(results))
    assert ("targets: " in said) == (not quick)
    assert (results[1]["holds"] is None) == (results[1]["target"] is None) == quick
    assert ("The targets are stated for the sizes without --quick" in said) == quick


def test_unknown_parts_and_instruction_sets_are_refused() -> None:
    with pytest.raises(
        ArgumentValueError, match="part must be one of dense, graph, clique, knn, stored, got 'gpu'"
    ):
        bench.run_all(True, parts=["gpu"])
    with pytest.raises(IsaError, match="available: scalar"):
        bench.run_all(True, isa="avx1024", parts=[])
