"""Nearest rows equal the int64 oracle, in any order of programs, without a stray access or a race."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from memcore_kernels import knn as knn_kernels

from memcore.backends import gpu, reference
from memcore.errors import ArgumentValueError
from tests.support.interpreter_check import watched


@pytest.mark.parametrize(
    ("q", "n", "d", "k"), [(1, 1, 1, 1), (17, 40, 5, 7), (3, 70, 130, 33), (2, 33, 64, 32)]
)
def test_nearest_rows(q: int, n: int, d: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn_kernels, "PROGRAMS", 1)  # more than one block of the corpus to a program
    rng = np.random.default_rng(q + n)
    # Few values, so that there are many ties.
    queries, corpus = (torch.from_numpy(rng.integers(0, 3, (m, d), dtype=np.uint8)) for m in (q, n))
    corpus[n // 2] = 255
    with watched(k):
        ssd, indices = knn_kernels.knn(queries, corpus, k)
    expected_ssd, expected_indices = reference.knn(queries.numpy(), corpus.numpy(), k)
    assert ssd.tolist() == expected_ssd.tolist()
    assert indices.tolist() == expected_indices.tolist()


def test_the_gpu_backend_finds_nearest_rows() -> None:
    rows = torch.from_numpy(np.random.default_rng(4).integers(0, 256, (9, 24), dtype=np.uint8))
    ssd, indices = gpu.knn(rows[:2], rows, 3)
    expected = reference.knn(rows[:2].numpy(), rows.numpy(), 3)
    assert (ssd.tolist(), indices.tolist()) == (expected[0].tolist(), expected[1].tolist())
    with pytest.raises(ArgumentValueError, match="k must be at most 128 on a GPU, got 129"):
        gpu.knn(rows, rows, 129)


def test_nearest_rows_of_views_and_long_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    whole = torch.from_numpy(rng.integers(0, 256, (50, 96), dtype=np.uint8))
    with watched():
        ssd, indices = knn_kernels.knn(whole[:3, 16:64], whole[::2, 16:64], 5)
    expected = reference.knn(whole[:3, 16:64].numpy(), whole[::2, 16:64].numpy(), 5)
    assert (ssd.tolist(), indices.tolist()) == (expected[0].tolist(), expected[1].tolist())
    monkeypatch.setattr(knn_kernels, "choose_config", lambda *_: knn_kernels.Config(16, 16, 4096, 2, 4))
    long = torch.zeros(3, 66_304, dtype=torch.uint8)  # two segments
    long[1] = 255
    with watched():
        ssd, indices = knn_kernels.knn(long[:1], long, 3)
    assert ssd.tolist() == [[0, 0, 66_304 * 255**2]]
    assert indices.tolist() == [[0, 2, 1]]


def test_parts_are_few_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two programs a multiprocessor, whole blocks, every row in one part; too many rows for 32 bits are refused."""
    assert knn_kernels.share_out(50_001, 8, 128, 132) == (33, 1536)
    for rows, queries, columns in ((1, 1, 128), (129, 3, 64), (5000, 2, 32)):
        parts, rows_per_part = knn_kernels.share_out(rows, queries, columns, 3)
        assert rows_per_part % columns == 0
        assert (parts - 1) * rows_per_part < rows <= parts * rows_per_part
    monkeypatch.setattr(knn_kernels, "share_out", lambda *_: (2, 2**31 - 40))
    row = torch.zeros(50, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match="corpus must have fewer than 40 rows, got 50: split it"):
        knn_kernels.knn(row, row, 1)


def test_wrong_calls_name_the_argument() -> None:
    with pytest.raises(TypeError, match=r"queries must be torch\.uint8"):
        knn_kernels.knn(torch.zeros(2, 3), torch.zeros(2, 3), 1)
