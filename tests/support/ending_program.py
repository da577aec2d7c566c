"""A program that ends while daemon threads compute: ``python -m tests.support.ending_program ENDING THREADS``.

With 0 threads it is the same program without them, which says how it is to end.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

import memcore
from memcore import _core

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (60, 64, 64, 3), dtype=np.uint8)
FLOATS = (IMAGES[:30] / 255).astype(np.float32)
ROWS = RNG.integers(0, 256, (400, 64), dtype=np.uint8)
EDGES = np.stack(np.triu_indices(40, 1), axis=1).astype(np.int32)
GRAPH = memcore.types.Graph(40, EDGES, None, np.empty(0, np.float32), 0.0, 0)


def features() -> object:
    held = _core.Features(16, 16)
    held.append(IMAGES, 2)
    return held.screen(10**6, 2)


#: One short call of each kind, so that a thread is often between two of them: it is then in Python, or on its way there.
CALLS: tuple[Callable[[], Any], ...] = (
    lambda: memcore.pairwise_tiled_l2(IMAGES, threads=2),
    lambda: memcore.pairwise_tiled_l2(FLOATS),
    lambda: memcore.tiled_l2_graph(IMAGES, threads=2),
    lambda: memcore.knn(ROWS, ROWS, 3),
    lambda: memcore.max_clique(GRAPH),
    lambda: memcore.max_cliques([GRAPH] * 8, threads=2),
    lambda: memcore.find_cliques(GRAPH, 5),
    features,
    lambda: _core.index_sketch(IMAGES, 4, 4, 2),
)


def compute() -> int:
    """Make a call of each kind, and return what depends on them."""
    return sum(len(repr(type(call()))) for call in CALLS)


def start(threads: int) -> None:
    """Start daemon threads that compute for ever, and wait until all of them do."""
    begun = threading.Barrier(threads + 1)

    def for_ever(first: int) -> None:
        calls = itertools.cycle(CALLS[first % len(CALLS) :] + CALLS[: first % len(CALLS)])
        begun.wait()
        while True:
            next(calls)()

    for first in range(threads):
        threading.Thread(target=for_ever, args=(first,), daemon=True).start()
    begun.wait()


def say(*words: object) -> None:
    print(" ".join(map(str, words)) + "\n", end="", flush=True)  # in one piece: threads say things


def end_of_main() -> None:
    say("done")


def computing() -> None:
    say(compute())


def sys_exit() -> None:
    say("done")
    sys.exit(3)


def exception() -> None:
    say("done")
    raise ValueError("as it should be")


def os_exit() -> None:
    say("done")
    os._exit(4)


def terminated() -> None:
    say("done")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


def ctrl_c() -> None:
    say("done")
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)


def atexit_computes() -> None:
    atexit.register(lambda: say("at the end", compute()))
    say("done")


def atexit_starts_threads() -> None:
    def begin() -> None:
        with contextlib.suppress(RuntimeError):  # Python from 3.12 on starts none at its end
            start(THREADS and 2)
        say("at the end", compute())

    atexit.register(begin)
    say("done")


def other_threads_finish() -> None:
    """Python waits for threads that are no daemons."""
    pool = ThreadPoolExecutor(2)
    for _ in range(3):
        pool.submit(lambda: say(compute()))


def forked() -> None:
    pid = os.fork()
    if pid == 0:
        say("child", compute())
        sys.exit(5)
    say("parent", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), compute())


def fork_with_threads() -> None:
    """The child has daemon threads of its own when it ends."""
    pid = os.fork()
    if pid == 0:
        start(THREADS and 2)
        say("child", compute())
        sys.exit(5)
    say("parent", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), compute())


def child() -> None:
    start(THREADS and 2)
    say("child", compute())
    sys.exit(6)


def spawned() -> None:
    process = multiprocessing.get_context("spawn").Process(target=child)
    process.start()
    process.join()
    say("parent", process.exitcode, compute())


def subinterpreter() -> None:
    """The core belongs to the main interpreter: another one is told so."""
    try:
        interpreters = importlib.import_module("_xxsubinterpreters")
    except ImportError:
        say("there are none")
        return
    program = (
        f"import sys\nsys.path[:] = {sys.path!r}\n"
        "try:\n    import memcore\nexcept ImportError as error:\n    print(error, flush=True)\n"
    )
    for _ in range(2):
        interpreters.run_string(interpreters.create(), program)
    say("parent", compute())


ENDINGS: dict[str, Callable[[], None]] = {
    ending.__name__: ending
    for ending in (
        *(end_of_main, computing, sys_exit, exception, os_exit, terminated, ctrl_c),
        *(atexit_computes, atexit_starts_threads, other_threads_finish),
        *(forked, fork_with_threads, spawned, subinterpreter),
    )
}
THREADS = int(sys.argv[2]) if sys.argv[1:2] and sys.argv[1] in ENDINGS else 0

if __name__ == "__main__":
    if THREADS:
        start(THREADS)
    ENDINGS[sys.argv[1]]()
