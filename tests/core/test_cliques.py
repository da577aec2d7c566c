"""Many graphs in one call, and what a list of cliques says of the vertices that it leaves."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import memcore
from memcore.bench import graphs
from memcore.errors import ArgumentTypeError, ArgumentValueError


def adjacency(n: int, density: float, seed: int) -> NDArray[np.bool_]:
    upper = np.triu(np.random.default_rng(seed).random((n, n)) < density, 1)
    return upper | upper.T


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 13), max_size=8),
    density=st.floats(0.1, 0.9),
    seed=st.integers(0, 2**31),
    min_size=st.integers(1, 5),
    threads=st.sampled_from([1, 2]),
)
def test_a_batch_equals_single_calls_and_enumeration(
    sizes: list[int], density: float, seed: int, min_size: int, threads: int
) -> None:
    matrices = [adjacency(n, density, seed + i) for i, n in enumerate(sizes)]
    made = [
        matrix if i % 2 else graphs.from_edges(len(matrix), np.argwhere(np.triu(matrix)).astype(np.int32))
        for i, matrix in enumerate(matrices)
    ]
    answers = memcore.max_cliques(iter(made), min_size=min_size, threads=threads)
    assert len(answers) == len(made)
    for matrix, answer in zip(matrices, answers, strict=True):
        expected = memcore.max_clique(matrix, backend="reference").members
        if len(expected) < min_size:
            expected = () if min_size > 1 or not len(matrix) else expected
            assert answer.members == expected
            assert answer.upper == max(min_size - 1, len(expected))
        else:
            assert answer.members == expected
            assert answer.upper == len(expected)
        assert answer.proven


def test_a_stack_of_matrices() -> None:
    stack = np.stack([adjacency(9, 0.5, seed) for seed in range(4)])
    assert memcore.max_cliques(stack) == [memcore.max_clique(matrix) for matrix in stack]
    assert memcore.max_cliques([]) == []


def test_wrong_graphs_are_named() -> None:
    good = adjacency(4, 0.5, 0)
    skew = np.triu(np.ones((3, 3), dtype=bool), 1)
    with pytest.raises(ArgumentValueError, match=r"graphs\[1\]: graph must be symmetric"):
        memcore.max_cliques([good, skew])
    with pytest.raises(ArgumentTypeError, match=r"graphs\[0\]: graph must be a memcore.Graph"):
        memcore.max_cliques([None])
    whole = graphs.from_edges(3, np.array([[0, 1]], np.int32))
    with pytest.raises(ArgumentTypeError, match="got one Graph"):
        memcore.max_cliques(whole)
    with pytest.raises(ValueError, match="row 1"):
        memcore.max_cliques([whole, graphs.from_edges(3, np.array([[1, 1]], np.int32))])
    with pytest.raises(ArgumentValueError, match="min_size must be >= 1, got 0"):
        memcore.max_cliques([good], min_size=0)
    partial = dataclasses.replace(whole, partial=True, stats={"min_clique": 5})
    with pytest.raises(ArgumentValueError, match=r"graphs\[0\]'s min_clique=5"):
        memcore.max_cliques([partial], min_size=4)
    assert memcore.max_cliques([partial], min_size=5)[0].upper == 4


def test_no_clique_is_told_from_a_budget_that_ended() -> None:
    hard = adjacency(90, 0.8, 4)
    largest = len(memcore.max_clique(hard))
    none = memcore.find_cliques(hard, largest + 1)
    assert none == []
    assert none.proven
    assert none.upper == largest
    ended = memcore.find_cliques(hard, largest + 1, node_limit=1)
    assert ended == []
    assert not ended.proven
    assert ended.upper > largest


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 13), density=st.floats(0.2, 0.9), seed=st.integers(0, 2**31), limit=st.integers(1, 30)
)
def test_what_is_left_has_a_bound_that_holds(n: int, density: float, seed: int, limit: int) -> None:
    matrix = adjacency(n, density, seed)
    found = memcore.find_cliques(matrix, 3, node_limit=limit)
    left = np.setdiff1d(np.arange(n), [v for clique in found for v in clique.members])
    largest = len(memcore.max_clique(matrix[np.ix_(left, left)], backend="reference").members)
    assert largest <= max(found.upper, 2)
    assert found.proven == (found.upper < 3)
    if found.proven:
        assert largest < 3
    whole = memcore.find_cliques(matrix, 3, backend="reference")
    assert whole.proven
    assert [c.members for c in memcore.find_cliques(matrix, 3)] == [c.members for c in whole]


def test_edges_that_begin_at_an_odd_byte() -> None:
    edges = np.array([[0, 1], [1, 2], [0, 2]], np.int32)
    odd = np.frombuffer(b"\0" + edges.tobytes(), np.uint8)[1:].view(np.int32).reshape(3, 2)
    assert not odd.flags.aligned
    graph = memcore.Graph(3, odd, None, None, 0.15, 48)
    assert memcore.max_clique(graph).members == (0, 1, 2)
    assert [clique.members for clique in memcore.max_cliques([graph])] == [(0, 1, 2)]
    assert [clique.members for clique in memcore.find_cliques(graph, 2)] == [(0, 1, 2)]
