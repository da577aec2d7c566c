"""The C ABI: the same answers as the Python functions, and an error for whatever does not fit, never a crash."""

from __future__ import annotations

import ctypes
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import memcore
from memcore import _core, isa
from memcore.types import Threshold
from tests.support import c_abi
from tests.support import native_oracle as oracle
from tests.support.c_abi import LIBRARY, CError

MAX_K = (2**64 - 1) // 255**2


def fails(status: str, words: str, call, *arguments) -> None:
    with pytest.raises(CError, match=re.escape(words)) as caught:
        call(*arguments)
    assert caught.value.status == status


def test_the_header_and_these_signatures_agree() -> None:
    header = (Path(memcore.get_include()) / "memcore.h").read_text()
    declared = set(re.findall(r"\bmemcore_(\w+)\(", re.sub(r"/\*.*?\*/", "", header, flags=re.S)))
    assert declared == set(c_abi.SIGNATURES)
    codes = dict(re.findall(r"MEMCORE_(?:ERROR_)?([A-Z]+) = (\d+)[,\s]", header.split("CHANNELS_LAST")[0]))
    assert {name: int(codes[name]) for name in c_abi.STATUSES} == {
        name: number for number, name in enumerate(c_abi.STATUSES)
    }
    assert f'MEMCORE_VERSION "{memcore.__version__}"' in header
    assert LIBRARY.memcore_version().decode() == memcore.__version__
    for number, name in enumerate(c_abi.STATUSES):
        assert LIBRARY.memcore_status_name(number).decode() == f"MEMCORE_{'ERROR_' if number else ''}{name}"
    for number in (-1, len(c_abi.STATUSES), 2**31 - 1, -(2**31)):
        assert LIBRARY.memcore_status_name(number) == b"unknown"


# --------------------------------------------------------------------------------------------- the same answers


@pytest.mark.parametrize("name", isa.available())
@pytest.mark.parametrize("planar", [False, True])
def test_distances_and_graphs_equal_the_oracle(name: str, planar: bool) -> None:
    rng = np.random.default_rng(1)
    for shape, tile in [((19, 12, 20, 3), (4, 5)), ((5, 7, 9, 1), (7, 3)), ((33, 8, 70, 4), (8, 35))]:
        a = rng.integers(90, 140, shape, dtype=np.uint8)
        b = rng.integers(0, 256, (6, *shape[1:]), dtype=np.uint8)
        a[2], b[0], b[1] = a[0], 0, 255
        if planar:
            a, b = oracle.planar(a), oracle.planar(b)
        x, y = c_abi.as_images(a), c_abi.as_images(b)
        assert LIBRARY.memcore_isa_select(name.encode()) == 0
        try:
            square = c_abi.ssd(x, None, tile, 2)
            assert np.array_equal(square, oracle.tile_ssd(a, a, tile))
            assert np.array_equal(c_abi.ssd(x, y, tile), oracle.tile_ssd(a, b, tile))
            for limit in (0, int(np.median(square)), int(square[0, 1]), int(square[0, 1]) - 1, 2**64 - 1):
                edges, ssd = c_abi.graph(x, tile, limit)
                wanted = oracle.edges(oracle.tile_ssd(a, a, tile), min(limit, 2**62))
                assert np.array_equal(edges, wanted[0])
                assert np.array_equal(ssd, wanted[1])
                assert np.array_equal(c_abi.edges_alone(x, tile, limit), wanted[0])
        finally:
            assert LIBRARY.memcore_isa_select(None) == 0


def test_views_with_negative_strides_and_gaps() -> None:
    whole = np.random.default_rng(2).integers(0, 256, (9, 10, 24, 3), dtype=np.uint8)
    views = [whole[::-1], whole[1::2, ::-1], whole[2:7, 1:9, 4:20], whole[:, ::2][:, :4]]
    for view in views:
        tile = (view.shape[1] // 2, view.shape[2] // 2)
        got = c_abi.ssd(c_abi.as_images(view, whole), None, tile)
        assert np.array_equal(got, oracle.tile_ssd(view, view, tile))
    fails("STRIDES", "contiguous", c_abi.ssd, c_abi.as_images(whole[:, :, ::2], whole), None, (10, 12))


def test_a_graph_for_cliques_equals_that_of_python() -> None:
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    images[5:17] = np.clip(images[5].astype(int) + rng.integers(-5, 6, (12, 32, 32, 3)), 0, 255)
    limit = c_abi.ssd_max(0.15, 8 * 8 * 3)
    for min_clique in (0, 10, 13):
        edges, ssd = c_abi.graph(c_abi.as_images(images), (8, 8), limit, min_clique)
        ours = memcore.tiled_l2_graph(images, 0.15, min_clique=min_clique or None)
        assert np.array_equal(edges, ours.edges)
        assert np.array_equal(ssd, ours.ssd)
        assert np.array_equal(c_abi.edges_alone(c_abi.as_images(images), (8, 8), limit, min_clique), edges)
        size = max(min_clique, 10)
        found, rest = c_abi.cliques(40, edges, size)
        cliques = memcore.find_cliques(ours, size)
        assert [tuple(c[0]) for c in found] == [c.members for c in cliques]
        assert rest == cliques.upper


@settings(max_examples=100)
@given(st.integers(0, 12), st.lists(st.booleans(), min_size=66, max_size=66), st.integers(0, 40))
def test_cliques_equal_those_of_python(n: int, bits: list[bool], node_limit: int) -> None:
    i, j = np.triu_indices(n, 1)
    edges = np.stack([i, j], 1)[np.array(bits[: len(i)], bool)].astype(np.int32)
    largest = _core.max_clique(n, edges, node_limit)
    assert c_abi.cliques(n, edges, None, node_limit) == ([largest], largest[2])
    assert c_abi.cliques(n, edges, 2, node_limit) == _core.find_cliques(n, edges, 2, node_limit)


@pytest.mark.parametrize("d", [1, 31, 64, 70_000])
def test_neighbours_equal_the_oracle(d: int) -> None:
    rng = np.random.default_rng(d)
    queries = rng.integers(0, 4, (5, d), dtype=np.uint8)
    corpus = rng.integers(0, 4, (30, d), dtype=np.uint8)
    corpus[7] = corpus[3] = queries[0]
    for k in (1, 3, 30):
        ssd, index = c_abi.knn(c_abi.as_rows(queries), c_abi.as_rows(corpus), k, 2)
        wanted = oracle.knn(queries, corpus, k)
        assert np.array_equal(ssd, wanted[0])
        assert np.array_equal(index, wanted[1])


@settings(max_examples=500)
@given(
    st.one_of(
        st.floats(0, 1),
        st.integers(-1074, 0).map(lambda e: 2.0**e),
        st.tuples(st.integers(0, 10**6), st.integers(6, 9)).map(lambda p: p[0] / 10 ** p[1]),
    ),
    st.one_of(st.integers(1, 200_000), st.integers(1, MAX_K)),
)
@example(0.15, 49152)
@example(1.0, MAX_K)
@example(2.0**-44, MAX_K)
@example(5e-324, MAX_K)
@example(0.1, 12)
def test_thresholds_are_those_of_python(threshold: float, tile_bytes: int) -> None:
    assert c_abi.ssd_max(threshold, tile_bytes) == Threshold(threshold).ssd_max(tile_bytes)


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_distances_are_those_of_python(tile_bytes: int, share: float) -> None:
    from memcore.distance import ssd_to_distance

    ssd = int(share * tile_bytes * 255**2)
    assert LIBRARY.memcore_distance(ssd, tile_bytes) == ssd_to_distance(np.array(ssd, np.uint64), tile_bytes)


# ------------------------------------------------------------------------------------------------ hostile arguments

SIZE = st.one_of(
    st.integers(0, 9), st.sampled_from([2**31 - 1, 2**32, 2**33 + 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
)
STRIDE = st.one_of(
    st.integers(-130, 130), st.sampled_from([2**31, -(2**31), 2**62, -(2**62), 2**63 - 1, -(2**63)])
)


def mostly(right: st.SearchStrategy, hostile: st.SearchStrategy) -> st.SearchStrategy:
    return st.integers(0, 7).flatmap(lambda k: hostile if k == 0 else right)


BUFFER = np.random.default_rng(9).integers(0, 256, 400, dtype=np.uint8)


@st.composite
def hostile_images(draw: st.DrawFn) -> c_abi.Images | None:
    """Often nearly right, so that all checks are reached; never a lie about the buffer."""
    if draw(mostly(st.just(False), st.booleans())):
        return None
    n, h, w, c = (draw(st.integers(1, 4)) for _ in range(4))
    right = [w * c * h, w * c, c, 1] if draw(st.booleans()) else [w * c * h, w, 1, w * h]
    fields = [0, n, h, w, c, *right]
    for at in draw(mostly(st.just([]), st.lists(st.integers(0, 8), min_size=1, max_size=2))):
        fields[at] = draw(SIZE if at < 5 else STRIDE)
    exact = st.sampled_from([len(BUFFER), n * h * w * c])
    known = draw(mostly(exact, st.integers(0, n * h * w * c - 1)))
    size = draw(mostly(st.just(ctypes.sizeof(c_abi.Images)), SIZE))
    data = draw(mostly(st.just(BUFFER.ctypes.data), st.none()))
    return c_abi.Images(size, data, known, *fields)


def pointer(structure: ctypes.Structure | None):
    return None if structure is None else ctypes.byref(structure)


def covered(images: c_abi.Images) -> np.ndarray:
    """What a description means, element by element, by Python's own integers."""
    n, h, w, c = images.count, images.height, images.width, images.channels
    strides = (images.image_stride, images.row_stride, images.column_stride, images.channel_stride)
    at = np.full((n, h, w, c), images.offset, dtype=object)
    for axis, (length, stride) in enumerate(zip((n, h, w, c), strides, strict=True)):
        shape = [1, 1, 1, 1]
        shape[axis] = length
        at = at + np.array([i * stride for i in range(length)], dtype=object).reshape(shape)
    assert at.min() >= 0
    assert at.max() < images.data_bytes
    return BUFFER[at.astype(np.int64)]


@settings(max_examples=800)
@given(
    hostile_images(),
    st.none() | hostile_images(),
    st.tuples(mostly(st.integers(1, 2), SIZE), mostly(st.integers(1, 2), SIZE)),
    mostly(st.just(40), st.integers(0, 40)),
    mostly(st.integers(0, 3), st.integers(-2, 5000)),
    mostly(st.just(False), st.just(True)),
    st.sampled_from(["graph", "edges"]),
)
def test_hostile_images(first, second, tile, capacity, threads, null_out, answer) -> None:
    out = np.full(64, 7, np.uint64)
    status = LIBRARY.memcore_tiled_l2_ssd(
        pointer(first), pointer(second), *tile, None if null_out else out.ctypes.data, capacity, threads
    )
    made = ctypes.c_void_p(1)
    thresholded = getattr(LIBRARY, f"memcore_tiled_l2_{answer}")
    other = thresholded(pointer(first), *tile, capacity, capacity, threads, ctypes.byref(made))
    assert (made.value is None) == (other != 0)
    LIBRARY.memcore_graph_free(made)
    if status != 0:
        assert 0 < status < c_abi.STATUSES.index("INTERNAL")
        assert LIBRARY.memcore_last_error()
        assert (out == 7).all()
        return
    a = covered(first)
    b = a if second is None else covered(second)
    wanted = oracle.tile_ssd(a, b, tile)
    assert np.array_equal(out[: wanted.size].reshape(wanted.shape), wanted)
    assert (out[wanted.size :] == 7).all()


@settings(max_examples=600)
@given(
    st.lists(SIZE, min_size=5, max_size=5), STRIDE, st.integers(1, 4), SIZE, st.integers(0, 40), st.booleans()
)
def test_hostile_rows(sizes, stride, count, k, capacity, null) -> None:
    known = min(sizes[0] * 40, len(BUFFER))
    queries = c_abi.Rows(ctypes.sizeof(c_abi.Rows), BUFFER.ctypes.data, known, *sizes[1:4], stride)
    corpus = c_abi.Rows(ctypes.sizeof(c_abi.Rows), BUFFER.ctypes.data, len(BUFFER), 0, count, sizes[3], 5)
    ssd, index = np.full(64, 7, np.uint64), np.full(64, 7, np.int64)
    status = LIBRARY.memcore_knn(
        pointer(queries),
        pointer(corpus),
        k,
        None if null else ssd.ctypes.data,
        index.ctypes.data,
        capacity,
        1,
    )
    if status != 0:
        assert status < c_abi.STATUSES.index("INTERNAL")
        assert (ssd == 7).all()
        assert (index == 7).all()
        return
    at = [sizes[1] + i * stride for i in range(queries.count)]
    q = np.stack([BUFFER[p : p + queries.dimension] for p in at])
    c = np.stack([BUFFER[5 * i : 5 * i + corpus.dimension] for i in range(count)])
    wanted = oracle.knn(q, c, k)
    assert np.array_equal(ssd[: q.shape[0] * k].reshape(-1, k), wanted[0])
    assert np.array_equal(index[: q.shape[0] * k].reshape(-1, k), wanted[1])


HUGE = st.sampled_from([-(2**63), -1, 0, 1, 2, 5, 2**20, 2**31 - 2, 2**31 - 1, 2**63 - 1])


@settings(max_examples=600)
@given(
    HUGE,
    st.lists(st.tuples(st.integers(-2, 9), st.integers(-2, 2**31 - 1)), max_size=4),
    st.sampled_from([None, 2**62, 2**63, 2**64 - 1]),
    HUGE,
    HUGE,
    st.booleans(),
)
def test_hostile_edges(n, pairs, lie, min_size, node_limit, null) -> None:
    edges = np.array(pairs, np.int32).reshape(-1, 2)
    data = None if null or not pairs else edges.ctypes.data
    count = len(edges) if lie is None else lie
    for call, middle in ((LIBRARY.memcore_max_clique, ()), (LIBRARY.memcore_find_cliques, (min_size,))):
        made = ctypes.c_void_p(1)
        status = call(n, data, count, *middle, node_limit, ctypes.byref(made))
        assert status < c_abi.STATUSES.index("INTERNAL")
        assert (made.value is None) == (status != 0)
        LIBRARY.memcore_cliques_free(made)
        assert call(n, data, count, *middle, node_limit, None) == 1
        fine = 0 <= n < 2**31 - 1 and node_limit >= 0 and (not middle or 2 <= min_size < 2**31)
        fine = fine and (not pairs or data is not None) and lie is None
        assert (status == 0) == (fine and all(0 <= i < j < n for i, j in pairs)), LIBRARY.memcore_last_error()


@settings(max_examples=300)
@given(st.lists(SIZE, min_size=4, max_size=4), st.integers(-2, 3), st.booleans(), st.booleans())
def test_hostile_descriptions(sizes, layout, null_out, null_data) -> None:
    images = c_abi.Images()
    data = None if null_data else BUFFER.ctypes.data  # described, never read
    status = LIBRARY.memcore_images_init(None if null_out else pointer(images), data, *sizes, layout)
    product = int(np.prod(np.array(sizes, dtype=object)))
    fine = layout in (0, 1) and 0 < product < 2**63 and sizes[3] <= 4
    assert (status == 0) == (fine and not null_out and not null_data), LIBRARY.memcore_last_error()
    assert images.data_bytes == (product if status == 0 else 0)


def test_numbers_that_are_none() -> None:
    for bad in (float("nan"), float("inf"), -1e-300, 1.0000000000000002):
        fails("VALUE", "threshold must be a number in [0, 1]", c_abi.ssd_max, bad, 1)
    fails("OVERFLOW", "tile_bytes", c_abi.ssd_max, 0.5, MAX_K + 1)
    assert np.isnan(LIBRARY.memcore_distance(1, 0))


def test_instruction_sets() -> None:
    names = [LIBRARY.memcore_isa_name(k).decode() for k in range(LIBRARY.memcore_isa_count())]
    assert tuple(names) == isa.available()
    assert LIBRARY.memcore_isa_name(2**64 - 1) is None
    active = ctypes.c_char_p()
    assert LIBRARY.memcore_isa_active(ctypes.byref(active)) == 0
    assert active.value == isa.active().encode()
    for bad in (b"", b"AVX2", b"sse9", b"x" * 3000):
        fails("ISA", "available: scalar", lambda b=bad: c_abi.check(LIBRARY.memcore_isa_select(b)))
    assert LIBRARY.memcore_isa_selected() is None
    assert LIBRARY.memcore_usable_cpus() == _core.usable_cpus()


def test_a_tile_beyond_32_bits() -> None:
    images = np.zeros((2, 1, 66_052, 1), np.uint8)
    images[1] = 255
    x = c_abi.as_images(images)
    out = np.zeros((2, 2), np.uint32)
    status = LIBRARY.memcore_tiled_l2_ssd32(pointer(x), None, 1, 66_052, out.ctypes.data, 4, 1)
    assert c_abi.STATUSES[status] == "OVERFLOW"
    assert c_abi.ssd(x, None, (1, 66_052))[0, 1] == 66_052 * 255**2
    assert LIBRARY.memcore_tiled_l2_ssd32(pointer(x), None, 1, 33_026, out.ctypes.data, 4, 1) == 0
    assert out[0, 1] == 33_026 * 255**2


def test_each_thread_has_its_own_message() -> None:
    seen: dict[int, list[bytes]] = {}
    assert LIBRARY.memcore_max_clique(-77, None, 0, 1, ctypes.byref(ctypes.c_void_p())) == 2

    def work(k: int) -> None:
        first = LIBRARY.memcore_last_error()
        LIBRARY.memcore_max_clique(-k, None, 0, 1, ctypes.byref(ctypes.c_void_p()))
        seen[k] = [first, LIBRARY.memcore_last_error()]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {k: [b"", b"n must be in [0, 2^31 - 2], got -%d" % k] for k in range(1, 5)}
    assert LIBRARY.memcore_last_error().endswith(b"-77")
