"""k nearest neighbours of the native core against the NumPy int64 oracle: same ssd, same indices, ties by index."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memcore import _core, isa
from tests.support import native_oracle as oracle

pytestmark = pytest.mark.parametrize("name", oracle.ISAS)


@settings(max_examples=60, deadline=None)
@given(
    queries=st.integers(1, 40),
    corpus=st.integers(1, 300),
    dimension=st.integers(1, 150),
    k=st.integers(1, 60),
    levels=st.sampled_from([1, 2, 3, 256]),
    threads=st.sampled_from([1, 2, 3]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_size_with_many_ties(
    name: str, queries: int, corpus: int, dimension: int, k: int, levels: int, threads: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    q = rng.integers(0, levels, (queries, dimension), dtype=np.uint8)
    c = rng.integers(0, levels, (corpus, dimension), dtype=np.uint8)
    k = min(k, corpus)
    with isa.using(name):
        ssd, index = _core.knn(q, c, k, threads)
    expected_ssd, expected_index = oracle.knn(q, c, k)
    assert ssd.dtype == np.uint32
    assert index.dtype == np.int64
    assert np.array_equal(ssd, expected_ssd)
    assert np.array_equal(index, expected_index)


@pytest.mark.parametrize(
    "dimension", [oracle.MAX_UINT32 - 1, oracle.MAX_UINT32, oracle.MAX_UINT32 + 1, 140_000]
)
def test_long_rows_at_the_limits_of_32_bits(name: str, dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    c = rng.integers(0, 256, (37, dimension), dtype=np.uint8)
    c[0], c[1] = 0, 255
    q = c[:3].copy()
    with isa.using(name):
        for threads in (1, 2):
            ssd, index = _core.knn(q, c, 37, threads)
            expected_ssd, expected_index = oracle.knn(q, c, 37)
            assert ssd.dtype == oracle.ssd_dtype(dimension)
            assert np.array_equal(ssd, expected_ssd)
            assert np.array_equal(index, expected_index)


def test_several_blocks_of_queries_and_corpus(name: str) -> None:
    rng = np.random.default_rng(0)
    q, c = rng.integers(0, 3, (1500, 20), dtype=np.uint8), rng.integers(0, 3, (1000, 20), dtype=np.uint8)
    with isa.using(name):
        for threads in (1, 2):
            ssd, index = _core.knn(q, c, 50, threads)
            expected_ssd, expected_index = oracle.knn(q, c, 50)
            assert np.array_equal(ssd, expected_ssd)
            assert np.array_equal(index, expected_index)


def test_strided_rows_are_read_in_place(name: str) -> None:
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 256, (90, 64), dtype=np.uint8)
    with isa.using(name):
        ssd, index = _core.knn(wide[::-2, :30], wide[::3, 5:35], 4, 1)
    expected = oracle.knn(wide[::-2, :30], wide[::3, 5:35], 4)
    assert np.array_equal(ssd, expected[0])
    assert np.array_equal(index, expected[1])


def test_bad_arguments_are_refused(name: str) -> None:
    a = np.zeros((4, 6), np.uint8)
    with isa.using(name):
        for call in [
            (a, a, 5),
            (a, a, 0),
            (a, a[:, :5], 1),
            (a[:, ::2], a[:, ::2], 1),
            (a[0], a, 1),
            (a, a[:0], 1),
        ]:
            with pytest.raises(ValueError):
                _core.knn(*call)
        with pytest.raises(TypeError):
            _core.knn(a.astype(np.int8), a, 1)
        ssd, index = _core.knn(a[:0], a, 2)
        assert ssd.shape == index.shape == (0, 2)
