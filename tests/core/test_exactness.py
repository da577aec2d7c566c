"""Every backend and instruction set equals the int64 oracle, ==, over shapes, tails and extremes.

The oracle here is written out again, pair by pair, so that a fault in memcore.backends.reference shows too.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import memcore
from memcore.distance import ssd_to_distance
from memcore.types import Threshold

ISAS = memcore.isa.available()


def oracle(a: NDArray[np.uint8], b: NDArray[np.uint8], tile: tuple[int, int]) -> NDArray[np.int64]:
    th, tw = tile
    out = np.zeros((len(a), len(b)), dtype=np.int64)
    for i, x in enumerate(a.astype(np.int64)):
        for j, y in enumerate(b.astype(np.int64)):
            squares = (x - y) ** 2
            out[i, j] = max(
                squares[r : r + th, c : c + tw].sum()
                for r in range(0, x.shape[0], th)
                for c in range(0, x.shape[1], tw)
            )
    return out


@st.composite
def image_sets(draw: st.DrawFn) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None, tuple[int, int]]:
    th, tw = draw(st.integers(1, 9)), draw(st.integers(1, 23))
    h, w = th * draw(st.integers(1, 3)), tw * draw(st.integers(1, 3))
    c = draw(st.sampled_from([1, 2, 3, 4]))
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    extreme = draw(st.booleans())

    def make(count: int) -> NDArray[np.uint8]:
        if extreme:
            return (rng.integers(0, 2, (count, h, w, c)) * 255).astype(np.uint8)
        return rng.integers(0, 256, (count, h, w, c), dtype=np.uint8)

    m = draw(st.one_of(st.none(), st.integers(1, 20)))
    return make(n), None if m is None else make(m), (th, tw)


@pytest.mark.parametrize("isa", ISAS)
@given(case=image_sets(), threads=st.sampled_from([1, 2]))
def test_ssd_equals_the_oracle(isa: str, case: tuple, threads: int) -> None:
    images, other, tile = case
    with memcore.isa.using(isa):
        got = memcore.pairwise_tiled_l2(images, other, tile=tile, output="ssd", threads=threads)
    assert got.dtype == np.uint32
    assert np.array_equal(got, oracle(images, images if other is None else other, tile))


@given(case=image_sets())
def test_reference_backend_equals_the_oracle(case: tuple) -> None:
    images, other, tile = case
    got = memcore.pairwise_tiled_l2(images, other, tile=tile, output="ssd", backend="reference")
    assert np.array_equal(got, oracle(images, images if other is None else other, tile))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("channels", ["last", "first"])
@pytest.mark.parametrize(
    ("side", "k", "dtype"), [(128, 49_152, np.uint32), (148, 65_712, np.uint32), (160, 76_800, np.uint64)]
)
def test_extremes_of_large_tiles(isa: str, channels: str, side: int, k: int, dtype: type) -> None:
    """All-0 against all-255: 3.196e9 at K = 49,152 exceeds int32; beyond K = 66,051 it exceeds uint32."""
    images = np.zeros((3, side, side, 3), dtype=np.uint8)
    images[1] = 255
    images[2] = 128
    given_images = images if channels == "last" else np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    with memcore.isa.using(isa):
        got = memcore.pairwise_tiled_l2(given_images, grid=(1, 1), output="ssd", channels=channels)
    assert got.dtype == dtype
    assert got[0, 1] == k * 255**2
    assert got[0, 2] == k * 128**2
    assert got[1, 2] == k * 127**2
    assert np.array_equal(got, got.T)
    assert memcore.pairwise_tiled_l2(images, grid=(1, 1))[0, 1] == 1.0


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("above", [0, 1])
def test_both_sides_of_a_threshold(isa: str, above: int) -> None:
    """A pair one unit of ssd above the threshold's integer is no edge; at it, it is one."""
    tile_bytes = 16 * 16 * 3
    limit = Threshold(0.1).ssd_max(tile_bytes)
    images = np.full((2, 64, 64, 3), 100, dtype=np.uint8)
    rest = limit + above
    flat = np.zeros(tile_bytes, dtype=np.int64)
    for position in range(
        tile_bytes
    ):  # four squares sum to any number, so this greedy ends at exactly the target
        step = min(100, int(rest**0.5))
        flat[position] = step
        rest -= step * step
        if rest == 0:
            break
    assert rest == 0
    images[1, 16:32, 32:48] = (100 + flat.reshape(16, 16, 3)).astype(np.uint8)
    with memcore.isa.using(isa):
        graph = memcore.tiled_l2_graph(images, 0.1)
        assert memcore.pairwise_tiled_l2(images, output="ssd")[0, 1] == limit + above
    assert len(graph) == 1 - above
    if not above:
        assert graph.ssd is not None
        assert graph.ssd[0] == limit


@given(
    numerator=st.integers(0, 1000),
    tile_bytes=st.integers(1, 200_000),
)
def test_threshold_is_the_floor_of_a_rational(numerator: int, tile_bytes: int) -> None:
    exact = Fraction(numerator, 1000) ** 2 * 255**2 * tile_bytes
    got = Threshold(numerator / 1000).ssd_max(tile_bytes)
    assert got <= exact < got + 1


def test_the_papers_threshold_at_512() -> None:
    """0.15^2 * 255^2 * 49,152 is an integer; the binary number beside 0.15 would lose it."""
    assert Threshold(0.15).ssd_max(49_152) == 71_912_448
    assert Threshold(np.float32(0.15)).ssd_max(49_152) == 71_912_448


@pytest.mark.parametrize("isa", ISAS)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 40),
    threshold=st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.15, 0.3, 1.0]),
    spread=st.sampled_from([0, 1, 3, 10, 40, 255]),
    min_clique=st.sampled_from([None, 2, 3, 5]),
)
def test_graph_equals_brute_force(
    isa: str, seed: int, n: int, threshold: float, spread: int, min_clique: int | None
) -> None:
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, (3, 16, 16, 3))
    noise = rng.integers(-spread, spread + 1, (n, 16, 16, 3))
    images = np.clip(base[rng.integers(0, 3, n)] + noise, 0, 255).astype(np.uint8)
    ssd = oracle(images, images, (4, 4))
    limit = Threshold(threshold).ssd_max(48)
    i, j = np.nonzero(np.triu(ssd <= limit, 1))
    expected = np.stack([i, j], axis=1)
    with memcore.isa.using(isa):
        graph = memcore.tiled_l2_graph(images, threshold, min_clique=min_clique)
    assert graph.edges.dtype == np.int32
    if not graph.partial:
        assert np.array_equal(graph.edges, expected)
        assert graph.ssd is not None
        assert np.array_equal(graph.ssd, ssd[i, j])
        return
    kept = {tuple(e) for e in graph.edges.tolist()}
    assert kept <= {tuple(e) for e in expected.tolist()}
    whole = memcore.Graph(
        n, expected.astype(np.int32), ssd[i, j].astype(np.uint32), graph.distances, threshold, 48
    )
    assert min_clique is not None
    assert [c.members for c in memcore.find_cliques(graph, min_clique)] == [
        c.members for c in memcore.find_cliques(whole, min_clique)
    ]


@pytest.mark.parametrize("isa", ISAS)
@given(
    seed=st.integers(0, 2**32),
    q=st.integers(1, 20),
    n=st.integers(1, 70),
    d=st.integers(1, 150),
    levels=st.sampled_from([2, 4, 256]),
    data=st.data(),
)
def test_knn_equals_the_oracle_with_ties(
    isa: str, seed: int, q: int, n: int, d: int, levels: int, data: st.DataObject
) -> None:
    """Few levels make many ties, which must fall to the smaller index."""
    rng = np.random.default_rng(seed)
    queries = (rng.integers(0, levels, (q, d)) * (255 // (levels - 1))).astype(np.uint8)
    corpus = (rng.integers(0, levels, (n, d)) * (255 // (levels - 1))).astype(np.uint8)
    k = data.draw(st.integers(1, n))
    ssd = ((queries[:, None].astype(np.int64) - corpus[None].astype(np.int64)) ** 2).sum(axis=2)
    order = np.lexsort((np.broadcast_to(np.arange(n), ssd.shape), ssd), axis=1)[:, :k]
    with memcore.isa.using(isa):
        got = memcore.knn(queries, corpus, k)
    assert np.array_equal(got.indices, order)
    assert np.array_equal(got.ssd, np.take_along_axis(ssd, order, axis=1))


@given(
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.integers(1, 7), min_size=1, max_size=6),
)
def test_prompt_graph_does_not_depend_on_the_batches(seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    n = sum(cuts)
    base = rng.integers(0, 256, (2, 16, 16, 3))
    images = np.clip(base[rng.integers(0, 2, n)] + rng.integers(-9, 10, (n, 16, 16, 3)), 0, 255).astype(
        np.uint8
    )
    excluded = rng.random(n) < 0.2
    whole = memcore.PromptGraph((16, 16, 3), 0.1, min_clique=2, capacity=1)
    whole.extend(images, exclude=excluded)
    parts = memcore.PromptGraph((16, 16, 3), 0.1, min_clique=2, capacity=3)
    start = 0
    for cut in cuts:
        parts.extend(images[start : start + cut], exclude=excluded[start : start + cut])
        start += cut
    a, b = whole.graph(), parts.graph()
    assert np.array_equal(a.edges, b.edges)
    assert np.array_equal(a.ssd, b.ssd)
    assert whole.findings() == parts.findings()
    ssd = oracle(images, images, (4, 4))
    kept = ~excluded
    near = (ssd <= Threshold(0.1).ssd_max(48)) & kept[:, None] & kept[None, :]
    assert np.array_equal(a.edges, np.argwhere(np.triu(near, 1)))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@given(case=image_sets())
def test_float_images_are_near_the_float64_answer(isa: str, dtype: str, case: tuple) -> None:
    images, other, tile = case
    a = (images / 255).astype(dtype)
    b = None if other is None else (other / 255).astype(dtype)
    with memcore.isa.using(isa):
        got = memcore.pairwise_tiled_l2(a, b, tile=tile)
    expected = memcore.pairwise_tiled_l2(a, b, tile=tile, backend="reference")
    k = tile[0] * tile[1] * images.shape[3]
    assert got.dtype == np.float32
    assert np.all(np.abs(got - expected) <= expected * k * 2.0**-24 + 1e-7)


def test_float_images_are_bit_identical_on_every_isa_and_thread_count(rng: np.random.Generator) -> None:
    images = rng.random((19, 20, 36, 3), dtype=np.float32)
    answers = []
    for isa in ISAS:
        with memcore.isa.using(isa):
            answers += [memcore.pairwise_tiled_l2(images, threads=t).tobytes() for t in (1, 2)]
    assert len(set(answers)) == 1


def test_many_sums_are_converted_in_pieces_to_the_same_bits() -> None:
    sums = np.random.default_rng(0).integers(0, 2**32, (700, 1100), dtype=np.uint32)
    whole = np.sqrt(sums.astype(np.float64) / (64 * 64 * 3 * 255**2)).astype(np.float32)
    for some in (sums, sums[::-1, ::2]):
        expected = whole if some is sums else whole[::-1, ::2]
        answer = ssd_to_distance(some, 64 * 64 * 3)
        assert answer.shape == some.shape
        assert answer.tobytes() == expected.tobytes()
