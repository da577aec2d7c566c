"""Run a clique peer in a process of its own, so that a search that does not end can be stopped.

``python -m memcore.bench.clique_peer PEER GRAPHS.npz LIMIT ROUNDS FIRST`` solves graph FIRST and all after it,
in turn with memcore, and prints one line of JSON a step: ``ready``, then for each graph ``built``, ``first``
(the peer's first answer) and ``done`` (all rounds). The peer's graph is built before the clock starts.
"""

from __future__ import annotations

import functools
import json
import signal
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import memcore
from memcore.bench.peers import load
from memcore.bench.timing import in_turn, measure
from memcore.types import Graph

#: A graph in the peer's own form -> the size of its largest clique.
Solver = Callable[[Any], int]


def _networkx(n: int, edges: NDArray[np.int32]) -> Any:
    graph = load("networkx").empty_graph(n)
    graph.add_edges_from(edges.tolist())
    return graph


def _igraph(n: int, edges: NDArray[np.int32]) -> Any:
    return load("igraph").Graph(n=n, edges=edges.tolist())


def _cliquematch(n: int, edges: NDArray[np.int32]) -> Any:
    matrix = np.zeros((n, n), dtype=np.bool_)
    matrix[edges[:, 0], edges[:, 1]] = matrix[edges[:, 1], edges[:, 0]] = True
    return load("cliquematch").Graph.from_matrix(matrix)


def _networkit(n: int, edges: NDArray[np.int32]) -> Any:
    networkit = load("networkit")
    networkit.setNumberOfThreads(1)
    graph = networkit.Graph(n)
    for i, j in edges.tolist():
        graph.addEdge(i, j)
    return graph


def _solve_networkx(graph: Any) -> int:
    return int(load("networkx").max_weight_clique(graph, weight=None)[1])


def _solve_cliquematch(graph: Any) -> int:
    graph.reset_search()
    return len(graph.get_max_clique(use_heuristic=True, use_dfs=True))


def _solve_networkit(graph: Any) -> int:
    search = load("networkit").clique.MaximalCliques(graph, maximumOnly=True)
    search.run()
    return len(search.getCliques()[0])


#: Name -> (module, its graph from n and edges, its search).
PEERS: dict[str, tuple[str, Callable[[int, NDArray[np.int32]], Any], Solver]] = {
    "networkx max_weight_clique": ("networkx", _networkx, _solve_networkx),
    "igraph clique_number": ("igraph", _igraph, lambda graph: int(graph.clique_number())),
    "igraph largest_cliques": ("igraph", _igraph, lambda graph: len(graph.largest_cliques()[0])),
    "cliquematch get_max_clique": ("cliquematch", _cliquematch, _solve_cliquematch),
    "networkit MaximalCliques": ("networkit", _networkit, _solve_networkit),
}


def _say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def _end_after(seconds: float) -> None:
    """Let the system end this process after ``seconds`` of the processor; 0 cancels it.

    A busy machine must not make a peer look slow. Where there is no such timer, the parent ends this process by its clock.
    """
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def solve(number: int, graph: Graph, peer: str, limit_s: float, rounds: int) -> None:
    """Solve one graph: the peer's first answer, then rounds in turn, as many as fit into the limit."""
    _, build, search = PEERS[peer]
    built: list[Any] = []
    build_s = measure(lambda: built.append(build(graph.n, graph.edges)), attempts=1)
    theirs = built[-1]
    sizes: list[int] = []
    _say(step="built", graph=number)
    _end_after(limit_s)
    first_s = measure(lambda: sizes.append(search(theirs)), attempts=1)
    _end_after(0)
    _say(step="first", graph=number, size=sizes[0], seconds=first_s)
    ours = functools.partial(memcore.max_clique, graph)
    if first_s > limit_s / 3:
        ours()
        _say(
            step="done",
            graph=number,
            size=sizes[0],
            build_s=build_s,
            ours_s=[measure(ours)],
            other_s=[first_s],
        )
        return
    pairs = in_turn(ours, functools.partial(search, theirs), rounds, limit_s / 3)
    _say(
        step="done", graph=number, size=sizes[0], build_s=build_s, ours_s=pairs.ours_s, other_s=pairs.other_s
    )


def main() -> None:
    """Solve the graphs that the arguments name, and print one JSON object a step."""
    peer, path, limit_s, rounds, first = sys.argv[1], sys.argv[2], *map(float, sys.argv[3:6])
    stored = np.load(path)
    load(PEERS[peer][0])
    # The parent's environment has set every pool to one thread; torch and faiss need not be loaded for it.
    _say(step="ready")
    for number in range(int(first), len(stored["n"])):
        edges = stored[f"edges{number}"]
        graph = Graph(int(stored["n"][number]), edges, None, np.zeros(len(edges), np.float32), 0.0, 0)
        solve(number, graph, peer, limit_s, int(rounds))


if __name__ == "__main__":
    main()
