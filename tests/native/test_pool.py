"""The thread pool: many callers, fork, and the CPU affinity of whoever calls."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from memcore import _core
from tests.support import native_oracle as oracle

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
EXPECTED = oracle.tile_ssd(IMAGES, IMAGES, (4, 4))


def test_concurrent_callers_get_their_own_answers() -> None:
    wrong: list[int] = []

    def work(seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(IMAGES))
        for threads in (1, 2, 3, 8, 0) * 4:
            answer = oracle.native_ssd(IMAGES[order], None, (4, 4), threads)
            if not np.array_equal(answer, EXPECTED[np.ix_(order, order)]):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(s,)) for s in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_after_fork_makes_its_own_pool() -> None:
    oracle.native_ssd(IMAGES, None, (4, 4), 4)  # the parent's threads exist now
    stop = threading.Event()

    def keep_busy() -> None:  # fork while another thread holds the pool's locks now and then
        while not stop.is_set():
            oracle.native_ssd(IMAGES, None, (4, 4), 4)

    busy = threading.Thread(target=keep_busy)
    busy.start()
    try:
        for _ in range(5):
            pid = os.fork()
            if pid == 0:
                same = np.array_equal(oracle.native_ssd(IMAGES, None, (4, 4), 4), EXPECTED)
                os._exit(0 if same else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        stop.set()
        busy.join()
    assert np.array_equal(oracle.native_ssd(IMAGES, None, (4, 4), 4), EXPECTED)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs sched_setaffinity")
def test_affinity_is_respected_and_followed() -> None:
    """Workers made while the caller was pinned move when a later caller may use more CPUs."""
    code = """
import os, time
import numpy as np
from memcore import _core
cpus = sorted(os.sched_getaffinity(0))
os.sched_setaffinity(0, {cpus[0]})
assert _core.usable_cpus() == 1
x = np.zeros((1, 300, 32, 32, 3), np.uint8)
out = np.zeros((1, 300, 300), np.uint32)
_core.tiled_l2_ssd(x, None, 8, 8, out, 3)
os.sched_setaffinity(0, set(cpus))
assert _core.usable_cpus() == len(cpus)
until = time.monotonic() + 60
masks = set()
while frozenset(cpus) not in masks and time.monotonic() < until:  # a busy machine may wake a worker late
    _core.tiled_l2_ssd(x, None, 8, 8, out, 3)
    workers = [int(t) for t in os.listdir("/proc/self/task") if int(t) != os.getpid()]
    masks = {frozenset(os.sched_getaffinity(t)) for t in workers}
assert frozenset(cpus) in masks, masks
print("ok")
"""
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "ok", done.stderr


def test_the_gil_is_released() -> None:
    """Another Python thread makes progress during one long native call."""
    images = np.random.default_rng(1).integers(0, 256, (1, 300, 64, 64, 3), dtype=np.uint8)
    out = np.zeros((1, 300, 300), np.uint32)
    ticks = 0
    done = threading.Event()

    def count() -> None:
        nonlocal ticks
        while not done.wait(0.0005):
            ticks += 1

    thread = threading.Thread(target=count)
    thread.start()
    _core.isa_set("scalar")
    try:
        before = ticks
        _core.tiled_l2_ssd(images, None, 16, 16, out, 1)
        during = ticks - before
    finally:
        _core.isa_set(None)
        done.set()
        thread.join()
    assert during > 5
