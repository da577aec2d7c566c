"""Maximum cliques against igraph, networkx, cliquematch and networkit, each within a time limit."""

from __future__ import annotations

import functools
import json
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import memcore
from memcore import isa
from memcore.backends import reference
from memcore.bench import graphs
from memcore.bench.child import environment
from memcore.bench.clique_peer import PEERS
from memcore.bench.peers import missing
from memcore.bench.rows import MS_A_GRAPH, Row, Target, figure
from memcore.bench.timing import Pairs, Spread, WrongAnswerError, alone, measure
from memcore.types import Clique, Graph

#: Graph -> Clique: what is timed; a test passes a wrong one.
Kernel = Callable[[Graph], Clique]

_NO_TIMER = not hasattr(signal, "setitimer")
#: Seconds to import a library and to build its graphs, which are not the search's.
_START_S = 60.0
#: Vertices of the subgraphs whose cliques are compared with enumeration.
_ENUMERATED = 16


def makers(quick: bool) -> dict[str, Callable[[], Graph]]:
    """Return a maker for each graph by name, from the sparse graphs of ordinary prompts to the hard ones."""
    n = 200 if quick else 500
    kinds = [("12 duplicates", 0.15), ("all same", 0.15), ("low-contrast grey", 0.12)]
    if not quick:
        kinds += [("diverse", 0.15), ("60 duplicates", 0.15)]
    made: dict[str, Callable[[], Graph]] = {
        f"{n} images, {kind}, at {threshold:.2f}": functools.partial(graphs.of_images, kind, n, threshold)
        for kind, threshold in kinds
    }
    for density in (0.1, 0.3) if quick else (0.1, 0.2, 0.3, 0.4, 0.5):
        made[f"G({n}, {density})"] = functools.partial(graphs.random, n, density, 5)
    group = n * 49 // 50
    for share in (0.005,) if quick else (0.0005, 0.001, 0.005):
        made[f"{group} of {n}, {share:.2%} missing"] = functools.partial(
            graphs.nearly_complete, n, group, share, 6
        )
    return made


def verify(name: str, graph: Graph, kernel: Kernel = memcore.max_clique) -> Clique:
    """Return the clique, after checks that do not rely on the search.

    Members are all connected, bounds agree, and on induced subgraphs the answer is the enumeration's. Raises
    WrongAnswerError.
    """
    found = kernel(graph)
    adjacency = graph.adjacency()
    members = list(found.members)
    inner = adjacency[np.ix_(members, members)]
    if int(inner.sum()) != len(members) * (len(members) - 1) or sorted(set(members)) != members:
        raise WrongAnswerError(
            f"clique of {name}: the {len(members)} members are not a clique; nothing was timed"
        )
    if not found.lower == len(members) <= found.upper or found.proven != (found.lower == found.upper):
        raise WrongAnswerError(
            f"clique of {name}: {len(members)} members, but bounds {found.lower} to {found.upper}, "
            f"proven={found.proven}; nothing was timed"
        )
    random = np.random.default_rng(graph.n)
    # Enumeration without bounds: 16 vertices are 65,536 sets at most.
    parts = [random.permutation(graph.n)[:_ENUMERATED] for _ in range(4)]
    parts.append(np.argsort(-graph.degrees(), kind="stable")[:_ENUMERATED])
    for part in parts:
        inner = adjacency[np.ix_(np.sort(part), np.sort(part))]
        want = reference.max_clique(inner)
        got = kernel(graphs.from_edges(len(inner), _upper(inner))).members
        if got != want:
            raise WrongAnswerError(
                f"clique of {len(inner)} vertices of {name}: {got} instead of {want}; nothing was timed"
            )
    return found


def run(quick: bool, *, kernel: Kernel = memcore.max_clique) -> Iterator[Row]:
    """Measure every graph against every peer, then many graphs in one call."""
    limit_s, rounds = (0.5, 3) if quick else (6.0, 7)
    made = {name: make() for name, make in makers(quick).items()}
    found = {name: verify(name, graph, kernel) for name, graph in made.items()}
    ours = {name: Spread.of(alone(functools.partial(kernel, graph), 3)) for name, graph in made.items()}
    outcomes = {peer: against(peer, list(made.values()), limit_s, rounds) for peer in PEERS}
    for number, name in enumerate(made):
        of_this = {peer: outcome[number] for peer, outcome in outcomes.items()}
        yield from one_graph(name, found[name], ours[name], of_this, limit_s)
    yield many_graphs(300 if quick else 10_000, 3)


def one_graph(
    name: str, found: Clique, ours: Spread, outcomes: Mapping[str, Mapping[str, Any]], limit_s: float
) -> Iterator[Row]:
    """Return a row for each peer, and a row for the best of them, to which the target applies."""
    work = f"largest clique of {name}: {len(found)}{'' if found.proven else f' to {found.upper}, unproven'}"
    ratios: list[tuple[Spread, bool, str]] = []
    for peer, outcome in outcomes.items():
        if "note" in outcome:
            if outcome.get("ended"):
                least = limit_s / ours.median
                ratios.append((Spread(least, least, least), True, peer))
            yield Row("clique", work, peer, isa.active(), ours_s=ours, note=outcome["note"])
            continue
        size = int(outcome["size"])
        if size > found.upper:
            raise WrongAnswerError(f"clique of {name}: {peer} finds {size}, above our bound {found.upper}")
        pairs = Pairs(outcome["ours_s"], outcome["other_s"])
        right = size == len(found)
        if right:
            ratios.append((pairs.times_faster, False, peer))
        yield Row(
            "clique",
            work,
            peer,
            isa.active(),
            value=pairs.times_faster,
            ours_s=Spread.of(pairs.ours_s),
            other_s=Spread.of(pairs.other_s),
            rounds=len(pairs.ours_s),
            note=f"{figure(1000 * outcome['build_s'])} ms to build its graph"
            if right
            else f"finds only {size}",
        )
    yield best_of_peers(name, work, found, ratios)


def best_of_peers(name: str, work: str, found: Clique, ratios: list[tuple[Spread, bool, str]]) -> Row:
    """Return the smallest ratio; if every peer ran into the limit, that is only a lower bound."""
    hard = name.startswith("G(") and float(name.removesuffix(")").split(",")[1]) >= 0.4
    what = f"max_clique of {name} against the best peer"
    target = Target(what, ">=", 10) if hard else Target(what, ">=", 1)
    if not ratios:
        return Row("clique", work, "best peer", isa.active(), target=target, note="no peer answered")
    ratio, bound, peer = min(ratios, key=lambda entry: entry[0].median)
    note = peer if found.proven else f"{peer}; ours is unproven"
    return Row(
        "clique", work, "best peer", isa.active(), value=ratio, target=target, at_least=bound, note=note
    )


def against(peer: str, made: list[Graph], limit_s: float, rounds: int) -> list[dict[str, Any]]:
    """Return the outcome of each graph: ``size``, ``ours_s``, ``other_s``; or a ``note`` (``ended``: limit)."""
    absent = missing(PEERS[peer][0])
    if absent is not None:
        return [{"note": absent}] * len(made)
    outcomes: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graphs.npz"
        stored = {f"edges{i}": graph.edges for i, graph in enumerate(made)}
        np.savez(path, n=np.array([graph.n for graph in made]), **stored)  # type: ignore[arg-type]
        while len(outcomes) < len(made):
            outcomes += _one_process(peer, path, limit_s, rounds, len(outcomes), len(made))
    return outcomes


def _one_process(
    peer: str, path: Path, limit_s: float, rounds: int, first: int, count: int
) -> list[dict[str, Any]]:
    """Solve the graphs from ``first`` on, until all are done, or one takes too long or ends the process."""
    command = [
        sys.executable,
        "-m",
        "memcore.bench.clique_peer",
        peer,
        str(path),
        str(limit_s),
        str(rounds),
        str(first),
    ]
    outcomes: list[dict[str, Any]] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment()
    ) as child:
        steps: queue.Queue[str | None] = queue.Queue()
        reader = threading.Thread(target=_read, args=(child, steps), daemon=True)
        reader.start()
        searching = False
        while len(outcomes) < count - first:
            try:
                # On Windows there is only the wall clock; elsewhere the child ends itself, and this is the last resort.
                line = steps.get(timeout=limit_s if searching and _NO_TIMER else _START_S + 20 * limit_s)
            except queue.Empty:
                ended = searching and _NO_TIMER
                outcomes.append({"note": f"> {limit_s:g} s" if ended else "did not answer", "ended": ended})
                break
            if line is None:
                status = child.wait()
                ended = not _NO_TIMER and status == -signal.SIGPROF
                note = f"> {limit_s:g} s" if ended else f"ended with status {status}"
                outcomes.append({"note": note, "ended": ended})
                break
            step = json.loads(line)
            searching = step["step"] == "built"
            if step["step"] == "done":
                outcomes.append(step)
        child.kill()
        reader.join()
    return outcomes


def _read(child: subprocess.Popen[str], steps: queue.Queue[str | None]) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        steps.put(line)
    steps.put(None)


def many_graphs(count: int, rounds: int) -> Row:
    """Measure many graphs of 500 vertices, memorisation-like, in one call and one thread; answers checked first."""
    made = [graphs.memorised(500, seed) for seed in range(count)]
    target = Target("thresholded graphs of 500 vertices in one call, ms a graph", "<=", 0.3)
    work = f"{count} graphs of 500 vertices, memorisation-like"
    call = functools.partial(memcore.max_cliques, made, threads=1)
    found = [clique.members for clique in call()]
    for number in range(0, count, max(1, count // 25)):
        graph = made[number]
        verify(f"memorised graph {number}", graph)
        if found[number] != memcore.max_clique(graph).members:
            raise WrongAnswerError(f"clique of memorised graph {number}: the answer in one call differs")
    milliseconds = [1000 * measure(call) / count for _ in range(rounds)]
    return Row(
        "clique",
        work,
        "one call",
        isa.active(),
        MS_A_GRAPH,
        value=Spread.of(milliseconds),
        rounds=rounds,
        target=target,
    )


def _upper(adjacency: NDArray[np.bool_]) -> NDArray[np.int32]:
    return np.stack(np.nonzero(np.triu(adjacency, 1)), axis=1).astype(np.int32)
