"""k nearest neighbours of uint8 rows, small images cut from photographs, against faiss, torch and NumPy."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import memcore
from memcore import isa
from memcore.backends import reference
from memcore.bench import kinds, peers
from memcore.bench.rows import Row, Target
from memcore.bench.timing import Spread, in_turn, require_equal
from memcore.types import Neighbors

#: (queries, corpus, k) -> Neighbors: what is timed; a test passes a wrong one.
Kernel = Callable[[NDArray[np.uint8], NDArray[np.uint8], int], Neighbors]

NEIGHBORS = (1, 50)
_LIMITS = {"faiss IndexFlatL2": 4.0, "torch matmul + topk": 5.0}


def memcore_knn(queries: NDArray[np.uint8], corpus: NDArray[np.uint8], k: int) -> Neighbors:
    """Call the public function as a user does, in one thread."""
    return memcore.knn(queries, corpus, k, threads=1)


def verify(
    queries: NDArray[np.uint8],
    corpus: NDArray[np.uint8],
    k: int,
    kernel: Kernel = memcore_knn,
    *,
    sample: int = 8,
) -> Neighbors:
    """Return the neighbours, after comparing ``sample`` queries with the oracle on the whole corpus, with ties."""
    found = kernel(queries, corpus, k)
    some = np.sort(np.random.default_rng(k).permutation(len(queries))[:sample])
    # The oracle widens its whole corpus to int64; in parts, and merged by (ssd, index), it needs less memory.
    parts = []
    for start in range(0, len(corpus), 8192):
        part = corpus[start : start + 8192]
        ssd, index = reference.knn(queries[some], part, min(k, len(part)))
        parts.append((ssd, index + start))
    ssd = np.concatenate([part[0] for part in parts], axis=1)
    index = np.concatenate([part[1] for part in parts], axis=1)
    order = np.stack([np.lexsort((index[q], ssd[q]))[:k] for q in range(len(some))])
    require_equal("knn, indices", np.asarray(found.indices)[some], np.take_along_axis(index, order, 1))
    require_equal("knn, sums", np.asarray(found.ssd)[some], np.take_along_axis(ssd, order, 1))
    return found


def run(quick: bool, *, kernel: Kernel = memcore_knn) -> Iterator[Row]:
    """Measure both k against all peers."""
    # 32 x 32 x 3: the rows of CIFAR-10, whose training set has 50,000.
    n_queries, n_corpus, rounds, budget_s = (256, 4096, 3, 1.5) if quick else (1024, 50_000, 5, 15.0)
    everything = kinds.rows(n_corpus + n_queries)
    corpus, queries = everything[:n_corpus], everything[n_corpus:]
    for k in NEIGHBORS:
        yield from against_peers(queries, corpus, k, peers.KNN, rounds, budget_s, kernel=kernel)


def against_peers(
    queries: NDArray[np.uint8],
    corpus: NDArray[np.uint8],
    k: int,
    chosen: Sequence[peers.KnnPeer],
    rounds: int,
    budget_s: float,
    *,
    kernel: Kernel = memcore_knn,
) -> Iterator[Row]:
    """Measure one row a peer; building its index (float32 copies of the corpus) is not counted, packing ours is."""
    work = f"{len(queries)} queries x {len(corpus)} rows of {corpus.shape[1]} bytes, k = {k}"
    found = verify(queries, corpus, k, kernel)
    for peer in chosen:
        limit = _LIMITS.get(peer.name)
        target = Target(f"knn against {peer.name}, k = {k}", ">=", limit) if limit else None
        absent = peers.missing(peer.module)
        if absent is not None:
            yield Row("knn", work, peer.name, isa.active(), target=target, note=absent)
            continue
        search = peer.build(corpus)
        values, index = search(queries, k)
        error = largest_error(values, np.asarray(found.ssd), corpus.shape[1])
        other = float((index != np.asarray(found.indices)).mean())
        ours = functools.partial(kernel, queries, corpus, k)
        pairs = in_turn(ours, functools.partial(search, queries, k), rounds, budget_s)
        yield Row(
            "knn",
            work,
            peer.name,
            isa.active(),
            value=pairs.times_faster,
            ours_s=Spread.of(pairs.ours_s),
            other_s=Spread.of(pairs.other_s),
            rounds=len(pairs.ours_s),
            largest_error=error,
            target=target,
            note=f"{other:.1%} of its neighbours in other places" if other else "",
        )


def largest_error(squares: NDArray[Any], ssd: NDArray[Any], dimension: int) -> float:
    """Return the largest error of the k distances in [0, 1], rank by rank."""
    exact = np.sqrt(ssd.astype(np.float64) / (dimension * 255**2))
    got = np.sqrt(np.maximum(squares.astype(np.float64), 0) / (dimension * 255**2))
    return float(np.abs(got - exact).max())
