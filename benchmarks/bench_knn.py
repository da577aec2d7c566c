"""k nearest neighbours of uint8 rows: memcore and its peers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from memcore.bench import kinds, knn, peers

Rows = NDArray[np.uint8]


@pytest.fixture(scope="module")
def rows(full: bool) -> tuple[Rows, Rows]:
    """Return queries and corpus."""
    n_queries, n_corpus = (1024, 50_000) if full else (256, 4096)
    everything = kinds.rows(n_corpus + n_queries)
    return everything[n_corpus:], everything[:n_corpus]


@pytest.mark.parametrize("k", knn.NEIGHBORS)
def bench_memcore(benchmark: Any, rows: tuple[Rows, Rows], k: int) -> None:
    benchmark.group = f"knn, k = {k}"
    queries, corpus = rows
    knn.verify(queries, corpus, k)
    benchmark.pedantic(functools.partial(knn.memcore_knn, queries, corpus, k), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("k", knn.NEIGHBORS)
@pytest.mark.parametrize("peer", peers.KNN, ids=lambda peer: peer.name)
def bench_peer(
    benchmark: Any, rows: tuple[Rows, Rows], k: int, peer: peers.KnnPeer, needs: Callable[[str], None]
) -> None:
    needs(peer.module)
    benchmark.group = f"knn, k = {k}"
    queries, corpus = rows
    found = knn.verify(queries, corpus, k)
    search = peer.build(corpus)
    error = knn.largest_error(search(queries, k)[0], np.asarray(found.ssd), corpus.shape[1])
    assert error < 0.01, "the peer computes something else"
    benchmark.extra_info["largest_error"] = error
    benchmark.pedantic(functools.partial(search, queries, k), rounds=3)
