"""The native clique solver: size, proof, bounds and the canonical answer."""

from __future__ import annotations

import itertools
import threading

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from memcore import _core

NO_LIMIT = 10**12
Bool = NDArray[np.bool_]
Int32 = NDArray[np.int32]


def edges_of(adjacency: Bool) -> Int32:
    return np.ascontiguousarray(np.argwhere(np.triu(adjacency, 1)), dtype=np.int32)


def random_adjacency(n: int, density: float, seed: int) -> Bool:
    upper = np.triu(np.random.default_rng(seed).random((n, n)) < density, 1)
    return upper | upper.T


def from_rule(n: int, rule) -> Bool:
    a = np.zeros((n, n), dtype=np.bool_)
    for i, j in itertools.combinations(range(n), 2):
        a[i, j] = a[j, i] = rule(i, j)
    return a


def first_maximum_clique(adjacency: Bool) -> list[int]:
    """Depth-first in ascending order: the first clique of the largest size is the lexicographically smallest."""
    n = len(adjacency)
    rows = [sum(1 << j for j in range(n) if adjacency[i, j]) for i in range(n)]
    best: list[int] = []

    def extend(members: list[int], candidates: int) -> None:
        nonlocal best
        if len(members) > len(best):
            best = members
        while candidates and len(members) + candidates.bit_count() > len(best):
            v = (candidates & -candidates).bit_length() - 1
            candidates &= candidates - 1
            extend([*members, v], candidates & rows[v])

    extend([], (1 << n) - 1)
    return best


def is_clique(adjacency: Bool, members: list[int]) -> bool:
    return members == sorted(set(members)) and all(
        adjacency[i, j] for i, j in itertools.combinations(members, 2)
    )


def solve(adjacency: Bool, node_limit: int = NO_LIMIT):
    return _core.max_clique(len(adjacency), edges_of(adjacency), node_limit)


def batch(adjacencies: list[Bool], *, node_limit: int = NO_LIMIT, threads: int = 1, min_size: int = 0):
    edges = [edges_of(a) for a in adjacencies]
    offsets = np.concatenate([[0], np.cumsum([len(e) for e in edges])]).astype(np.int64)
    sizes = np.array([len(a) for a in adjacencies], dtype=np.int32)
    flat = np.concatenate([np.empty((0, 2), np.int32), *edges])
    return _core.max_cliques(sizes, offsets, flat, node_limit, threads, min_size)


@st.composite
def graphs(draw: st.DrawFn, max_n: int = 14) -> Bool:
    n = draw(st.integers(0, max_n))
    pairs = n * (n - 1) // 2
    sparse = draw(st.booleans())
    bits = draw(st.lists(st.booleans(), min_size=pairs, max_size=pairs))
    a = np.zeros((n, n), dtype=np.bool_)
    a[np.triu_indices(n, 1)] = np.array(bits, dtype=np.bool_) ^ (not sparse)
    return a | a.T


@settings(max_examples=300, deadline=None)
@given(graphs())
def test_equals_enumeration(adjacency):
    expected = first_maximum_clique(adjacency)
    assert solve(adjacency)[:4] == (expected, len(expected), len(expected), True)
    assert _core.max_clique_adjacency(adjacency, NO_LIMIT) == solve(adjacency)


@settings(max_examples=200, deadline=None)
@given(graphs(), st.integers(0, 10), st.integers(0, 15))
def test_limits_and_least_sizes(adjacency, node_limit, min_size):
    expected = first_maximum_clique(adjacency)
    members, lower, upper, proven, nodes = solve(adjacency, node_limit)
    assert lower == len(members) <= len(expected) <= upper
    assert nodes <= node_limit
    assert is_clique(adjacency, members)
    assert not proven or members == expected
    floored = batch([adjacency], min_size=min_size)[0]
    if len(expected) >= min_size:
        assert floored[:4] == (expected, len(expected), len(expected), True)
    else:
        assert floored[:4] == ([], 0, min_size - 1, True)


@settings(max_examples=150, deadline=None)
@given(graphs(12), st.integers(1, 5))
def test_find_cliques_equals_repeated_enumeration(adjacency, min_size):
    left = list(range(len(adjacency)))
    expected = []
    while left:
        found = [left[v] for v in first_maximum_clique(adjacency[np.ix_(left, left)])]
        if len(found) < min_size:
            break
        expected.append(found)
        left = [v for v in left if v not in found]
    answers, upper = _core.find_cliques(len(adjacency), edges_of(adjacency), min_size, NO_LIMIT)
    assert [a[0] for a in answers] == expected
    assert upper == min_size - 1
    assert all(a[3] and a[1] == a[2] == len(a[0]) for a in answers)


@pytest.mark.parametrize("seed", range(60))
def test_equals_networkx(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(20, 61))
    adjacency = random_adjacency(n, float(rng.choice([0.1, 0.3, 0.5, 0.7, 0.8])), seed)
    expected = min(
        sorted(c)
        for size, c in [(nx.max_weight_clique(nx.from_numpy_array(adjacency), weight=None)[1], None)]
        for c in nx.find_cliques(nx.from_numpy_array(adjacency))
        if len(c) == size
    )
    assert solve(adjacency)[:4] == (expected, len(expected), len(expected), True)


def test_hub_trap():
    """The vertex of highest degree lies in no large clique: a greedy answer is 2, the paper's criterion needs 10."""
    a = np.zeros((500, 500), dtype=np.bool_)
    a[10:20, 10:20] = True
    a[:4, 30:] = True
    a[30:, :4] = True
    np.fill_diagonal(a, False)
    assert a.sum(0).argmax() < 4
    assert solve(a)[:4] == (list(range(10, 20)), 10, 10, True)


def steiner_cover(points: int, triples: list[tuple[int, ...]]) -> Bool:
    """Mannino's graphs: the complement of a triangle for each triple, each corner joined to its point."""
    apart = {(points + 3 * t + c, p) for t, triple in enumerate(triples) for c, p in enumerate(triple)}
    apart |= {
        (points + 3 * t + c, points + 3 * t + d)
        for t in range(len(triples))
        for c, d in [(0, 1), (0, 2), (1, 2)]
    }
    return from_rule(points + 3 * len(triples), lambda i, j: (i, j) not in apart and (j, i) not in apart)


def dimacs() -> dict[str, tuple[Bool, int]]:
    def hamming(bits: int, distance: int) -> Bool:
        return from_rule(1 << bits, lambda i, j: (i ^ j).bit_count() >= distance)

    def johnson(n: int, weight: int, distance: int) -> Bool:
        words = [x for x in range(1 << n) if x.bit_count() == weight]
        return from_rule(len(words), lambda i, j: (words[i] ^ words[j]).bit_count() >= distance)

    def keller_adjacent(x: tuple[int, ...], y: tuple[int, ...]) -> bool:
        differences = [(a - b) % 4 for a, b in zip(x, y, strict=True)]
        return 2 in differences and sum(d != 0 for d in differences) >= 2

    zero = (0, 0, 0, 0)
    keller = [x for x in itertools.product(range(4), repeat=4) if keller_adjacent(x, zero)]
    lines = {
        tuple(sorted(3 * ((x + t * dx) % 3) + (y + t * dy) % 3 for t in range(3)))
        for x, y, (dx, dy) in itertools.product(range(3), range(3), [(0, 1), (1, 0), (1, 1), (1, 2)])
    }
    planted = random_adjacency(200, 0.5, 4)
    hidden = np.random.default_rng(5).choice(200, 20, replace=False)
    planted[np.ix_(hidden, hidden)] = True
    np.fill_diagonal(planted, False)
    return {
        "hamming6-4": (hamming(6, 4), 4),
        "hamming8-4": (hamming(8, 4), 16),
        "johnson8-2-4": (johnson(8, 2, 4), 4),
        "johnson8-4-4": (johnson(8, 4, 4), 14),
        "c-fat200-1": (from_rule(200, lambda i, j: (i % 37 - j % 37) % 37 in (0, 1, 36)), 12),
        "MANN_a9": (steiner_cover(9, sorted(lines)), 16),
        "keller4": (from_rule(len(keller), lambda i, j: keller_adjacent(keller[i], keller[j])), 11),
        "hidden20": (planted, 20),
    }


def test_dimacs():
    sizes = {
        "hamming6-4": 704,
        "hamming8-4": 20864,
        "johnson8-2-4": 210,
        "johnson8-4-4": 1855,
        "c-fat200-1": 1534,
    }
    sizes |= {"MANN_a9": 918, "keller4": 9435}
    for name, (adjacency, clique_number) in dimacs().items():
        if name in sizes:
            assert len(edges_of(adjacency)) == sizes[name], name
        members, lower, upper, proven, _ = solve(adjacency)
        assert (lower, upper, proven) == (clique_number, clique_number, True), name
        assert len(members) == clique_number, name
        assert is_clique(adjacency, members), name


@pytest.mark.parametrize("n", [1, 2, 64, 65, 500, 700])
def test_complete_and_cocktail_party(n):
    complete = ~np.eye(n, dtype=np.bool_)
    assert solve(complete)[:4] == (list(range(n)), n, n, True)
    pairs = from_rule(n, lambda i, j: i // 2 != j // 2)
    assert solve(pairs)[:4] == (list(range(0, n, 2)), (n + 1) // 2, (n + 1) // 2, True)


def test_nearly_complete_is_solved_by_its_complement():
    a = random_adjacency(500, 0.02, 1)
    a[:490, :490] = random_adjacency(490, 0.995, 2)
    members, lower, upper, proven, nodes = solve(a)
    assert proven
    assert lower == upper == len(members)
    assert is_clique(a, members)
    assert nodes < 2000
    maximal = set(range(490)) - set(members)
    assert all((~a[v, members]).sum() >= 1 for v in maximal)


@pytest.mark.parametrize("density", [0.2, 0.5, 0.8, 0.95])
def test_size_does_not_depend_on_numbering(density):
    a = random_adjacency(120, density, 3)
    expected = solve(a)
    assert expected[3]
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(120)
        members, lower, upper, proven, _ = solve(a[np.ix_(order, order)])
        assert (lower, upper, proven) == expected[1:4]
        assert is_clique(a, sorted(order[members]))


@pytest.mark.parametrize("node_limit", [0, 1, 3, 30])
def test_a_small_limit_gives_true_bounds_and_the_same_answer_each_time(node_limit):
    for density, clique_number in [(0.5, None), (0.9, None)]:
        a = random_adjacency(150 if density < 0.9 else 80, density, 9)
        clique_number = solve(a)[1]
        answer = solve(a, node_limit)
        assert answer[1] <= clique_number <= answer[2]
        assert answer[4] <= node_limit
        assert answer == solve(a, node_limit)


def test_batch_equals_one_by_one_on_any_number_of_threads():
    many = [random_adjacency(n, 0.1 + 0.08 * (n % 11), n) for n in range(80)]
    one_by_one = [solve(a) for a in many]
    for threads in (1, 2, 5):
        assert batch(many, threads=threads) == one_by_one
    assert batch([]) == []


def test_many_python_threads_at_once():
    a = random_adjacency(150, 0.5, 1)
    expected = solve(a)
    answers = []
    workers = [threading.Thread(target=lambda: answers.append(solve(a))) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert answers == [expected] * 6


def test_repeated_and_unsorted_edges():
    a = random_adjacency(60, 0.4, 2)
    edges = edges_of(a)
    mixed = np.random.default_rng(0).permutation(np.concatenate([edges, edges[::3]]))
    assert _core.max_clique(60, mixed, NO_LIMIT) == _core.max_clique(60, edges, NO_LIMIT)


def test_more_vertices_than_bit_rows():
    """A ring of triangles on 6,000 vertices has a core of all of them."""
    i = np.arange(6000)
    ring = np.concatenate([np.stack([i, (i + 1) % 6000], 1), np.stack([i, (i + 2) % 6000], 1)])
    planted = np.array(list(itertools.combinations(range(17, 6000, 700), 2)))
    edges = np.sort(np.concatenate([ring, planted]), axis=1).astype(np.int32)
    assert _core.max_clique(6000, edges, NO_LIMIT)[:4] == (list(range(17, 6000, 700)), 9, 9, True)
    assert _core.max_clique(6000, np.sort(ring, axis=1).astype(np.int32), NO_LIMIT)[:4] == (
        [0, 1, 2],
        3,
        3,
        True,
    )


def test_empty():
    none = np.empty((0, 2), np.int32)
    assert _core.max_clique(0, none, 5) == ([], 0, 0, True, 0)
    assert _core.max_clique(7, none, 5) == ([0], 1, 1, True, 0)
    assert _core.find_cliques(7, none, 2, 5) == ([], 1)
    assert [a[0] for a in _core.find_cliques(3, none, 1, 5)[0]] == [[0], [1], [2]]


@pytest.mark.parametrize("row", [(-1, 2), (2, 2), (3, 1), (0, 4), (4, 5), (0, 2**31 - 1)])
def test_bad_edges_raise(row):
    edges = np.array([(0, 1), row], dtype=np.int32)
    with pytest.raises(ValueError, match="row 1"):
        _core.max_clique(4, edges, 1)
    with pytest.raises(ValueError, match="row 1"):
        _core.find_cliques(4, edges, 2, 1)
    with pytest.raises(ValueError, match="row 1"):
        _core.max_cliques(np.array([4], np.int32), np.array([0, 2], np.int64), edges, 1, 1)


def test_bad_arguments_raise():
    edges = np.array([(0, 1)], dtype=np.int32)
    sizes, offsets = np.array([2], np.int32), np.array([0, 1], np.int64)
    with pytest.raises(ValueError, match="node_limit"):
        _core.max_clique(2, edges, -1)
    with pytest.raises(ValueError, match="n must"):
        _core.max_clique(-1, edges, 1)
    with pytest.raises(ValueError, match="shape"):
        _core.max_clique(2, np.zeros((1, 3), np.int32), 1)
    with pytest.raises(TypeError):
        _core.max_clique(2, edges.astype(np.float64), 1)
    with pytest.raises(ValueError, match="shape"):
        _core.max_clique_adjacency(np.zeros((2, 3), np.bool_), 1)
    with pytest.raises(TypeError, match="bool"):
        _core.max_clique_adjacency(np.zeros((2, 2), np.float32), 1)
    with pytest.raises(ValueError, match="offsets"):
        _core.max_cliques(sizes, np.array([0, 2], np.int64), edges, 1, 1)
    with pytest.raises(ValueError, match="offsets"):
        _core.max_cliques(np.array([2, 2], np.int32), np.array([0, 5, 1], np.int64), edges, 1, 1)
    with pytest.raises(ValueError, match="sizes"):
        _core.max_cliques(np.array([-2], np.int32), np.array([0, 0], np.int64), edges[:0], 1, 1)
    with pytest.raises(ValueError, match="min_size"):
        _core.max_cliques(sizes, offsets, edges, 1, 1, -1)


def sparse_edges(n: int, groups: list[set[int]], strays: list[tuple[int, int]]) -> Int32:
    pairs = {pair for group in groups for pair in itertools.combinations(sorted(group), 2)}
    pairs |= {(min(pair), max(pair)) for pair in strays if pair[0] != pair[1]}
    return np.array(sorted(pairs), dtype=np.int32).reshape(-1, 2)


VERTEX = st.integers(0, 39)


@given(
    st.lists(st.sets(VERTEX, min_size=2, max_size=7), max_size=4),
    st.lists(st.tuples(VERTEX, VERTEX), max_size=40),
    st.sampled_from([40, 500, 1024, 1025]),
    st.integers(1, 8),
)
@settings(max_examples=300, deadline=None)
def test_sparse_graphs_equal_enumeration_however_their_edges_stand(groups, strays, n, min_size):
    """Isolated vertices, ties, a complete innermost core or not, edges in order or not."""
    edges = sparse_edges(n, groups, strays)
    a = np.zeros((40, 40), dtype=np.bool_)
    a[edges[:, 0], edges[:, 1]] = a[edges[:, 1], edges[:, 0]] = True
    expected = first_maximum_clique(a)
    found = _core.max_clique(n, edges, NO_LIMIT)
    assert found[:4] == (expected, len(expected), len(expected), True)
    assert _core.max_clique(n, np.ascontiguousarray(edges[::-1]), NO_LIMIT) == found
    offsets = np.array([0, len(edges)])
    (at_least,) = _core.max_cliques(np.array([n], np.int32), offsets, edges, NO_LIMIT, 1, min_size)
    if len(expected) >= min_size:
        assert at_least[:4] == found[:4]
    else:
        assert at_least[0] == []
        assert at_least[2] == min_size - 1
        assert at_least[3]


def test_hub_of_many_leaves_hides_no_clique():
    edges = sparse_edges(500, [{100, 200, 300, 400}], [(0, v) for v in range(1, 500)])
    assert _core.max_clique(500, edges, 0) == ([0, 100, 200, 300, 400], 5, 5, True, 0)
    apart = sparse_edges(500, [{100, 200, 300, 400}], [(0, v) for v in range(1, 99)])
    assert _core.max_clique(500, apart, 0) == ([100, 200, 300, 400], 4, 4, True, 0)


@pytest.mark.parametrize("size", [63, 64, 65, 66])
def test_both_sides_of_the_core_that_fits_a_word(size):
    """64 vertices are a word of bits; of 65 the general search answers, and the same."""
    edges = sparse_edges(1024, [set(range(900, 900 + size))], [(0, 1)])
    assert _core.max_clique(1024, edges, 0) == (list(range(900, 900 + size)), size, size, True, 0)


@pytest.mark.parametrize("density", [0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("n", [30, 63, 64, 65, 90])
def test_cores_without_a_complete_one_equal_the_general_search(n, density):
    """Searched within a word where that is short; find_cliques never does that."""
    for seed in range(6):
        rng = np.random.default_rng([n, seed])
        upper = np.triu(rng.random((n, n)) < density, 1)
        edges = np.stack(np.nonzero(upper), axis=1).astype(np.int32) * 7  # among vertices without edges
        (general, *_), _ = _core.find_cliques(7 * n, edges, 2, NO_LIMIT)
        found = _core.max_clique(7 * n, edges, NO_LIMIT)
        assert found[:4] == general[:4]
        for limit in (0, 1, 10, 1999, 2001):
            members, lower, largest, proven, nodes = _core.max_clique(7 * n, edges, limit)
            assert nodes <= limit
            assert lower <= found[1] <= largest
            assert not proven or members == found[0]
