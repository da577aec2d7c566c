"""Native calls that take much longer than a person waits, ended by Ctrl-C: ``python -m tests.support.long_calls NAME ...``.

Prints for each a line {"name", "interrupted": whether KeyboardInterrupt came, "late_s": seconds from the signal to the
exception} as JSON. The signal comes from a thread of the same process once the call has begun, so that nothing but the
call is measured. With ``--times`` it comes as often, at random moments.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import memcore
from memcore import _core, isa
from memcore.types import Graph

#: Seconds from the beginning of a call to the signal: longer than what Python does before the native core begins.
BEFORE_S = 0.1
#: Seconds within which it comes at a random moment.
WITHIN_S = 0.6
Call = Callable[[], Any]


def noise(*shape: int, high: int = 256) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, high, shape, dtype=np.uint8)


def zeros(*shape: int) -> NDArray[np.uint8]:
    """Return an array that is never written, and so takes no memory."""
    return np.zeros(shape, np.uint8)


def hard_edges(n: int = 450, share: float = 0.85) -> NDArray[np.int32]:
    """Return a random graph whose largest clique takes hours."""
    i, j = np.triu_indices(n, 1)
    chosen = np.random.default_rng(0).random(len(i)) < share
    return np.stack([i[chosen], j[chosen]], axis=1).astype(np.int32)


def hard_graph(share: float = 0.85) -> Graph:
    return Graph(450, hard_edges(share=share), None, np.empty(0, np.float32), 0.0, 0)


def dense(threads: int) -> Call:
    images = noise(3500, 64, 64, 3)
    return lambda: memcore.pairwise_tiled_l2(images, threads=threads)


def large_images(threads: int) -> Call:
    images, others = noise(2, 4096, 4096, 3), noise(24, 4096, 4096, 3)
    return lambda: memcore.pairwise_tiled_l2(images, others, threads=threads)


def floats(threads: int) -> Call:
    images = noise(1600, 64, 64, 3).astype(np.float32) / 255
    return lambda: memcore.pairwise_tiled_l2(images, threads=threads)


def unit_interval(threads: int) -> Call:
    images = np.zeros((100_000, 64, 64, 3), np.float16)[..., :2]
    return lambda: _core.check_unit_interval(images)


def graph(threads: int) -> Call:
    images = noise(3500, 64, 64, 3, high=90)
    return lambda: memcore.tiled_l2_graph(images, 0.15, threads=threads)


def edges(threads: int) -> Call:
    images = noise(3500, 64, 64, 3, high=90)
    return lambda: memcore.tiled_l2_graph(images, 0.15, threads=threads, distances=False)


def growing(threads: int) -> Call:
    prompt = memcore.PromptGraph((64, 64, 3), 0.15, threads=threads)
    prompt.extend(noise(3500, 64, 64, 3, high=90))
    return prompt.graph


def features(threads: int) -> Call:
    images, held = zeros(6_000, 512, 512, 3), _core.Features(128, 128)
    return lambda: held.append(images, threads)


def features_of_a_file(threads: int) -> Call:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
    file.truncate(6_000 * 512 * 512 * 3)
    held = _core.Features(128, 128)
    return lambda: held.read(file.fileno(), 0, 6_000, 512, 512, 3, threads)


def screen(threads: int) -> Call:
    held = _core.Features(16, 16)
    held.append(noise(20_000, 64, 64, 1, high=90), 2)
    return lambda: held.screen(10**5, threads)


def knn(threads: int) -> Call:
    queries, corpus = noise(20_000, 256), noise(100_000, 256)
    return lambda: memcore.knn(queries, corpus, 5, threads=threads)


def sketch(threads: int) -> Call:
    images = zeros(8_000, 512, 512, 3)
    return lambda: _core.index_sketch(images, 4, 4, threads)


def decide(threads: int) -> Call:
    """Return the comparison of the pairs that block sums leave undecided: here all, since a pair is just too far."""
    images = noise(2_500, 64, 64, 3)
    held = _core.Features(16, 16)
    held.append(images, 2)
    candidates = held.screen(2 * 16 * 16 * 3 * 128 * 128, 2)
    places = np.arange(len(images), dtype=np.uint32)
    return lambda: held.decide(candidates, images, places)


def first_mismatch(threads: int) -> Call:
    images = zeros(6_000, 512, 512, 3)
    held = _core.Features(128, 128)
    for start in range(0, len(images), 500):
        held.append(images[start : start + 500], 2)
    return lambda: held.first_mismatch(images, np.arange(len(images)), threads)


def knn_extend(threads: int) -> Call:
    queries, corpus = noise(20_000, 256), noise(100_000, 256)
    ssd, index = np.zeros((20_000, 5), np.uint32), np.zeros((20_000, 5), np.int64)
    return lambda: _core.knn_extend(queries, corpus, ssd, index, 0, 0, threads)


def torch_dense(threads: int) -> Call:
    import torch

    images = torch.from_numpy(noise(3500, 3, 64, 64))
    ops = _torch_ops()
    return lambda: ops.pairwise_tiled_l2(images)


def torch_graph(threads: int) -> Call:
    import torch

    images = torch.from_numpy(noise(3500, 3, 64, 64, high=90))
    ops = _torch_ops()
    return lambda: ops.tiled_l2_graph(images, 0.15)


def torch_knn(threads: int) -> Call:
    import torch

    queries, corpus = torch.from_numpy(noise(20_000, 256)), torch.from_numpy(noise(100_000, 256))
    ops = _torch_ops()
    return lambda: ops.knn(queries, corpus, 5)


def torch_max_clique(threads: int) -> Call:
    import torch

    matrix = np.zeros((450, 450), np.bool_)
    matrix[tuple(hard_edges().T)] = True
    adjacency = torch.from_numpy(matrix | matrix.T)
    ops = _torch_ops()
    return lambda: ops.max_clique(adjacency, node_limit=10**15)


def _torch_ops() -> Any:
    import torch
    import torch._dynamo  # the first call imports it, and Ctrl-C in the middle of that is torch's matter

    import memcore.torch_ops  # noqa: F401 - it registers them

    return torch.ops.memcore


def ranges(threads: int) -> Call:
    centres, corpus = noise(20_000, 60), noise(400_000, 60)
    limits = np.full(len(centres), 10, np.uint32)
    level = (centres, limits, centres, limits, corpus)
    return lambda: _core.index_range(level, level, np.arange(len(centres) + 1), 10**6, threads)


def pair_ssd(threads: int) -> Call:
    tiles, at = noise(20, 16, 1 << 14), np.zeros(1_000_000, np.int64)
    return lambda: _core.index_pair_ssd(tiles, tiles, at, at + 1, threads)


def max_clique(threads: int) -> Call:
    graph = hard_graph()
    return lambda: memcore.max_clique(graph)


def max_clique_adjacency(threads: int) -> Call:
    matrix = np.zeros((450, 450), np.bool_)
    matrix[tuple(hard_edges().T)] = True
    return lambda: _core.max_clique_adjacency(matrix | matrix.T, 10**15)


def max_cliques(threads: int) -> Call:
    graphs = [hard_graph(share) for share in (0.02, 0.85, 0.84, 0.02)]
    return lambda: memcore.max_cliques(graphs, node_limit=10**15, threads=threads)


def find_cliques(threads: int) -> Call:
    graph = hard_graph()
    return lambda: memcore.find_cliques(graph, 5, node_limit=10**15)


def find_many_cliques(threads: int) -> Call:
    path = np.stack([np.arange(1_500_000), np.arange(1, 1_500_001)], axis=1).astype(np.int32)
    return lambda: _core.find_cliques(1_500_001, path, 2, 10**15)


def sparse_cliques(threads: int) -> Call:
    """Return the search of a graph of too many vertices for bit rows."""
    pairs = np.sort(np.random.default_rng(0).integers(0, 5_000, (4_000_000, 2), dtype=np.int32), axis=1)
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    return lambda: _core.max_clique(5_000, pairs, 10**15)


def complements(threads: int) -> Call:
    """Return the search of a graph that nearly all pairs are edges of: for an independent set of the others."""
    i, j = np.triu_indices(1_500, 1)
    chosen = np.random.default_rng(0).random(len(i)) >= 0.004
    pairs = np.stack([i[chosen], j[chosen]], axis=1).astype(np.int32)
    return lambda: _core.max_clique(1_500, pairs, 10**15)


#: What prepares each call, for a number of threads.
CALLS: dict[str, Callable[[int], Call]] = {
    call.__name__: call
    for call in (
        *(
            dense,
            large_images,
            floats,
            unit_interval,
            graph,
            edges,
            growing,
            features,
            features_of_a_file,
            screen,
            decide,
            first_mismatch,
        ),
        *(
            knn,
            knn_extend,
            sketch,
            ranges,
            pair_ssd,
            max_clique,
            max_clique_adjacency,
            max_cliques,
            find_cliques,
        ),
        *(find_many_cliques, sparse_cliques, complements),
        *(torch_dense, torch_graph, torch_knn, torch_max_clique),
    )
}
WITH_HELPERS = {"dense", "knn", "features", "max_cliques"}


def interrupted(call: Call, before_s: float = BEFORE_S) -> dict[str, Any]:
    """Begin a call, send this process SIGINT, and return how late KeyboardInterrupt came."""
    sent = 0.0

    def send() -> None:
        nonlocal sent
        sent = time.monotonic()
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(before_s, send)
    timer.daemon = True
    try:
        timer.start()
        call()
        timer.cancel()
        timer.join()  # it may be just sending
    except KeyboardInterrupt:
        late = time.monotonic() - sent
        timer.join()
        return {"interrupted": True, "late_s": late}
    return {"interrupted": False, "late_s": 0.0}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="+", choices=list(CALLS))
    parser.add_argument("--isa", default="scalar", choices=isa.available())
    parser.add_argument("--threads", type=int, help="default: 2 for some, 1 for the others")
    parser.add_argument("--times", type=int, help="how often; without it once, after a tenth of a second")
    arguments = parser.parse_args()
    rng = random.Random(0)
    with isa.using(arguments.isa):
        for name in arguments.names:
            call = CALLS[name](arguments.threads or (2 if name in WITH_HELPERS else 1))
            within, left = WITHIN_S, arguments.times or 1
            while left:
                before = rng.uniform(0, within) if arguments.times else BEFORE_S
                answer = interrupted(call, before)
                if arguments.times and not answer["interrupted"]:  # it was quicker
                    within *= 0.8
                    continue
                left -= 1
                print(json.dumps({"name": name, **answer}), flush=True)


if __name__ == "__main__":
    main()
