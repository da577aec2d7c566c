"""Maximum cliques of thresholded and of random graphs: memcore, and its peers where they are quick enough.

`memcore bench` runs the peers in processes with a time limit; here they run only on graphs that all of them
solve quickly.
"""

from __future__ import annotations

import functools
from typing import Any

import pytest

import memcore
from memcore.bench import clique, clique_peer
from memcore.bench.peers import missing
from memcore.types import Graph

#: A peer hangs for hours on some of the others.
EASY = ("diverse", "12 duplicates", "0.1)")


@functools.cache
def make_graph(full: bool, name: str) -> Graph:
    return clique.makers(not full)[name]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "name" in metafunc.fixturenames:
        names = clique.makers(not metafunc.config.getoption("--full"))
        easy = metafunc.function is bench_peer
        metafunc.parametrize("name", [n for n in names if not easy or any(word in n for word in EASY)])


def bench_memcore(benchmark: Any, full: bool, name: str) -> None:
    benchmark.group = f"clique, {name}"
    graph = make_graph(full, name)
    found = clique.verify(name, graph)
    benchmark.extra_info["clique"] = len(found)
    benchmark.pedantic(memcore.max_clique, (graph,), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("peer", clique_peer.PEERS)
def bench_peer(benchmark: Any, full: bool, name: str, peer: str) -> None:
    benchmark.group = f"clique, {name}"
    module, build, solve = clique_peer.PEERS[peer]
    absent = missing(module)
    if absent is not None:
        pytest.skip(absent)
    graph = make_graph(full, name)
    theirs = build(graph.n, graph.edges)
    assert solve(theirs) == len(clique.verify(name, graph))
    benchmark.pedantic(solve, (theirs,), rounds=3)
