"""The C ABI on sets of images, floats, many graphs and images that keep coming: Python's answers, and no crash."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import memcore
from memcore import _core, isa
from tests.support import c_abi
from tests.support.c_abi import LIBRARY, CError

BFLOAT16_ONE = 0x3F80


def bfloat16(values: np.ndarray) -> np.ndarray:
    """Numbers that bfloat16 holds, as its bits."""
    bits = values.astype(np.float32).view(np.uint32)
    assert not (bits & 0xFFFF).any()
    return (bits >> 16).astype(np.uint16)


@pytest.mark.parametrize("name", isa.available())
@pytest.mark.parametrize("planar", [False, True])
def test_batches_equal_those_of_python(name: str, planar: bool) -> None:
    rng = np.random.default_rng(5)
    a = rng.integers(0, 256, (4, 19, 12, 20, 3), dtype=np.uint8)
    b = rng.integers(0, 256, (4, 3, 12, 20, 3), dtype=np.uint8)
    if planar:
        a, b = (np.ascontiguousarray(x.transpose(0, 1, 4, 2, 3)).transpose(0, 1, 3, 4, 2) for x in (a, b))
    assert LIBRARY.memcore_isa_select(name.encode()) == 0
    try:
        with isa.using(name):
            for other in (None, b):
                ssd = memcore.pairwise_tiled_l2(a, other, tile=(4, 5), output="ssd", channels="last")
                distances = memcore.pairwise_tiled_l2(a, other, tile=(4, 5), channels="last")
                x, y = c_abi.as_batch(a), None if other is None else c_abi.as_batch(other)
                assert np.array_equal(c_abi.batch_distances(x, y, (4, 5), np.uint64), ssd)
                assert np.array_equal(c_abi.batch_distances(x, y, (4, 5), np.uint32, 2), ssd)
                assert np.array_equal(c_abi.batch_distances(x, y, (4, 5), np.float32), distances)
    finally:
        assert LIBRARY.memcore_isa_select(None) == 0


def test_distances_of_a_tile_beyond_32_bits() -> None:
    images = np.zeros((2, 3, 2, 66_052, 1), np.uint8)
    images[1, 1:] = 255
    got = c_abi.batch_distances(c_abi.as_batch(images), None, (1, 66_052))
    assert np.array_equal(got, memcore.pairwise_tiled_l2(images, tile=(1, 66_052)))
    assert got[1, 0, 1] == 1.0


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
def test_floats_equal_those_of_python(kind: str) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(6)
    values = (rng.integers(0, 129, (2, 9, 14, 30, 3)) / 128).astype(np.float32)
    given = bfloat16(values) if kind == "bfloat16" else values.astype(kind)
    tensor = torch.from_numpy(values).to(getattr(torch, kind))
    for b in (None, slice(0, 4)):
        wanted = memcore.pairwise_tiled_l2(
            tensor, None if b is None else tensor[:, b], tile=(7, 10), channels="last"
        )
        x, y = c_abi.as_batch(given, kind), None if b is None else c_abi.as_batch(given[:, b], kind)
        if y is not None:
            y.data_bytes = given.nbytes
        assert np.array_equal(c_abi.batch_distances(x, y, (7, 10), threads=2), np.asarray(wanted))


@pytest.mark.parametrize("size", [8, 64])
@pytest.mark.parametrize("cuts", [(30,), (1, 1, 28), (9, 20, 1), (15, 15)])
def test_a_growing_graph_is_that_of_python(size: int, cuts: tuple[int, ...]) -> None:
    rng = np.random.default_rng(7)
    images = rng.integers(100, 150, (30, size, size, 3), dtype=np.uint8)
    images[::4] = images[0]
    images[::4, 0, 0, 0] = np.arange(8)
    theirs = memcore.PromptGraph((size, size, 3), 0.07, capacity=30)
    tile = (size // 4, size // 4)
    ours = c_abi.GrowingGraph(tile, c_abi.ssd_max(0.07, tile[0] * tile[1] * 3))
    kept = np.empty_like(images)
    since = 0
    for cut in cuts:
        ours.extend(kept, since, images[since : since + cut])
        theirs.extend(images[since : since + cut])
        since += cut
    edges, ssd = c_abi.take_edges(ours.graph)
    assert len(edges) >= 28
    assert np.array_equal(edges, theirs.graph().edges)
    assert np.array_equal(ssd, theirs.graph().ssd)
    assert np.array_equal(kept, images)
    ours.close()


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 2**66 - 1)), max_size=6),
    st.integers(0, 6),
    st.integers(0, 50),
)
def test_many_graphs_equal_those_of_python(graphs, min_size: int, node_limit: int) -> None:
    parts, offsets = [np.empty((0, 2), np.int32)], [0]
    for n, bits in graphs:
        i, j = np.triu_indices(n, 1)
        keep = [bits >> k & 1 == 1 for k in range(len(i))]
        parts.append(np.stack([i, j], 1)[np.array(keep, bool)].astype(np.int32))
        offsets.append(offsets[-1] + len(parts[-1]))
    sizes = np.array([n for n, _ in graphs], np.int32)
    ends, edges = np.array(offsets, np.int64), np.concatenate(parts)
    wanted = _core.max_cliques(sizes, ends, edges, node_limit, 1, min_size)
    assert c_abi.max_cliques(sizes, ends, edges, min_size, node_limit, 2) == wanted


NUMBER = st.integers(0, 3) | st.sampled_from([2**31, 2**32, 2**62, 2**63, 2**64 - 1])
STRIDE = st.integers(-40, 40) | st.sampled_from([-(2**63), 2**63 - 1, -(2**62), 2**62])


@settings(max_examples=500)
@given(
    st.integers(-1, 4),
    st.lists(NUMBER, min_size=6, max_size=6),
    st.lists(STRIDE, min_size=5, max_size=5),
    st.tuples(NUMBER, NUMBER),
    st.integers(0, 30),
)
def test_hostile_batches(kind, sizes, strides, tile, capacity) -> None:
    buffer = np.full(480, 0.25, np.float32).view(np.uint8)
    x = c_abi.Batch(
        ctypes.sizeof(c_abi.Batch), buffer.ctypes.data, buffer.nbytes, sizes[5], kind, *sizes[:5], *strides
    )
    for call, dtype in (
        (LIBRARY.memcore_batch_tiled_l2, np.float32),
        (LIBRARY.memcore_batch_tiled_l2_ssd, np.uint64),
        (LIBRARY.memcore_batch_tiled_l2_ssd32, np.uint32),
    ):
        out = np.full(64, 7, dtype)
        status = call(ctypes.byref(x), None, *tile, out.ctypes.data, capacity, 1)
        assert status < c_abi.STATUSES.index("INTERNAL")
        wrote = sizes[0] * sizes[1] * sizes[1] if status == 0 else 0
        assert wrote <= capacity
        assert (out[wrote:] == 7).all()
        if status != 0:
            assert LIBRARY.memcore_last_error()


@settings(max_examples=300)
@given(
    st.lists(st.integers(-1, 4) | st.just(2**31 - 1), max_size=4),
    st.lists(st.integers(-1, 4) | st.sampled_from([2**62, -(2**63)]), min_size=5, max_size=5),
    st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 4)), max_size=4),
)
def test_hostile_lists_of_graphs(sizes, ends, pairs) -> None:
    vertices = np.array(sizes, np.int32)
    offsets = np.array([*ends[: len(sizes)], len(pairs)], np.int64)
    edges = np.array(pairs, np.int32).reshape(-1, 2)
    fine = offsets[0] == 0 and (np.diff(offsets) >= 0).all() and all(0 <= n < 2**31 - 1 for n in sizes)
    if fine:
        of = np.repeat(vertices, np.diff(offsets))
        fine = all(0 <= i < j < n for (i, j), n in zip(pairs, of, strict=True))
    if fine:
        assert len(c_abi.max_cliques(vertices, offsets, edges)) == len(sizes)
        return
    with pytest.raises(CError) as caught:
        c_abi.max_cliques(vertices, offsets, edges)
    assert caught.value.status == "VALUE"


def test_a_value_outside_is_named() -> None:
    values = np.full((2, 2, 2, 2, 3), BFLOAT16_ONE, np.uint16)
    values[1, 0, 1, 1, 2] = BFLOAT16_ONE + 1
    with pytest.raises(
        CError, match=r"VALUE: images: values must lie in \[0, 1\], got 1.00.* batch 1, image 0, row 1"
    ):
        c_abi.batch_distances(c_abi.as_batch(values, "bfloat16"), None, (1, 1))
