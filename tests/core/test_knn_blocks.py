"""k nearest neighbours over corpora that come in parts: memory maps and iterators, whatever the cuts."""

from __future__ import annotations

import importlib
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import memcore
from memcore import _core
from memcore.errors import ArgumentTypeError, ArgumentValueError
from tests.support import native_oracle as oracle

ISAS = memcore.isa.available()


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=30, deadline=None)
@given(
    queries=st.integers(1, 20),
    cuts=st.lists(st.integers(1, 90), min_size=1, max_size=6),
    dimension=st.integers(1, 70),
    k=st.integers(1, 60),
    levels=st.sampled_from([1, 2, 3, 256]),
    threads=st.sampled_from([1, 2, 3]),
    backend=st.sampled_from(["cpu", "reference"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_an_iterator_equals_brute_force_over_the_whole(
    isa: str,
    queries: int,
    cuts: list[int],
    dimension: int,
    k: int,
    levels: int,
    threads: int,
    backend: memcore.types.Backend,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    q = rng.integers(0, levels, (queries, dimension), dtype=np.uint8)
    c = rng.integers(0, levels, (sum(cuts), dimension), dtype=np.uint8)
    k = min(k, len(c))
    parts = np.split(c, np.cumsum(cuts)[:-1])
    with memcore.isa.using(isa):
        got = memcore.knn(q, iter(parts), k, threads=threads, backend=backend)
    ssd, index = oracle.knn(q, c, k)
    assert np.array_equal(got.ssd, ssd)
    assert np.array_equal(got.indices, index)
    assert got.ssd.dtype == np.uint32


@pytest.mark.parametrize("isa", ISAS)
def test_rows_beyond_32_bits_in_parts(isa: str) -> None:
    rng = np.random.default_rng(0)
    c = rng.integers(0, 256, (9, 70_000), dtype=np.uint8)
    c[0], c[7] = 0, 255
    with memcore.isa.using(isa):
        got = memcore.knn(c[:2], iter([c[:1], c[1:4], c[4:]]), 9)
    ssd, index = oracle.knn(c[:2], c, 9)
    assert got.ssd.dtype == np.uint64
    assert np.array_equal(got.ssd, ssd)
    assert np.array_equal(got.indices, index)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_memory_map_is_read_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 2, (1500, 16, 16, 3), dtype=np.uint8)
    images[700] = images[300] = images[5]
    path = tmp_path / "corpus.npy"
    np.save(path, images)
    mapped = np.load(path, mmap_mode="r")
    # The function hides its module under the same name.
    monkeypatch.setattr(importlib.import_module("memcore.knn"), "_BLOCK_BYTES", 100 * 768 + 5)
    tracemalloc.start()
    # Also where no view serves: rows of a map that does not lie in order are copied a block at a time.
    got = memcore.knn(images[:10], mapped, 7, threads=threads)
    backwards = memcore.knn(images[:10, :, ::-1], mapped[:, :, ::-1], 7, threads=threads)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < images.nbytes / 4
    ssd, index = oracle.knn(images[:10].reshape(10, -1), images.reshape(1500, -1), 7)
    assert np.array_equal(got.ssd, ssd)
    assert np.array_equal(got.indices, index)
    assert np.array_equal(backwards.indices, index)
    assert got.indices[5, :3].tolist() == [5, 300, 700]


def test_torch_blocks() -> None:
    rows = torch.arange(200, dtype=torch.uint8).reshape(50, 4)
    got = memcore.knn(rows[:3], iter(rows.split(20)), 4)
    assert isinstance(got.indices, torch.Tensor)
    assert torch.equal(got.indices, memcore.knn(rows[:3], rows, 4).indices)


def test_wrong_parts() -> None:
    rows = np.zeros((5, 8), np.uint8)
    with pytest.raises(ArgumentValueError, match=r"rows of the same shape as queries \(8,\), got \(4,\)"):
        memcore.knn(rows, iter([rows, rows[:, :4]]), 1)
    with pytest.raises(ArgumentTypeError, match="corpus must be uint8"):
        memcore.knn(rows, iter([rows.astype(np.float32)]), 1)
    with pytest.raises(ArgumentValueError, match="number of rows of corpus, 10, got 11"):
        memcore.knn(rows, iter([rows, rows]), 11)
    with pytest.raises(ArgumentValueError, match="number of rows of corpus, 0, got 1"):
        memcore.knn(rows, iter([]), 1)
    with pytest.raises(ArgumentTypeError, match="got list"):
        memcore.knn(rows, [rows, rows], 1)


def test_places_are_checked() -> None:
    rows = np.zeros((5, 8), np.uint8)
    ssd, index = np.zeros((5, 2), np.uint32), np.zeros((5, 2), np.int64)
    assert _core.knn_extend(rows, rows, ssd, index, 0, 0, 1) == 2
    for bad_ssd, bad_index, have, before in [
        (ssd[:4], index, 0, 0),
        (ssd, index[:, :1], 0, 0),
        (np.zeros((5, 4), np.uint32)[:, ::2], index, 0, 0),
        (ssd, index, 3, 0),
        (ssd, index, 0, -1),
    ]:
        with pytest.raises(ValueError, match="must"):
            _core.knn_extend(rows, rows, bad_ssd, bad_index, have, before, 1)
    with pytest.raises(TypeError):
        _core.knn_extend(rows, rows, ssd.astype(np.uint64), index, 0, 0, 1)
