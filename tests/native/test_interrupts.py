"""Native calls can be stopped: Ctrl-C ends each kind, other signals do not, and the interpreter may end meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import memcore
from memcore import _core
from tests.support import long_calls, proofs
from tests.support import native_oracle as oracle

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")

ROOT = Path(__file__).parents[2]
#: Seconds after which a call that no signal ends is given up: it would take minutes.
GIVEN_UP_S = 60
ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


#: Times that each call is interrupted: in a proof at random moments, and on the best instruction set as well.
STOPS = proofs.times("STOPS", 1)


def interrupt(names: Iterable[str], *options: str) -> list[dict[str, Any]]:
    """Interrupt calls, in one process that ends after the first that no signal ends, and return its answers."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.long_calls", *names, *options],
            cwd=ROOT,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
            timeout=GIVEN_UP_S * max(1, STOPS // 10),
        )
    except subprocess.TimeoutExpired as late:
        lines = (late.stdout or b"").decode()
    else:
        lines = done.stdout
        assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in lines.splitlines()]


@pytest.fixture(scope="module")
def answers() -> dict[str, dict[str, Any]]:
    """Interrupt every call once."""
    return {answer["name"]: answer for answer in interrupt(long_calls.CALLS)}


@pytest.mark.parametrize("name", long_calls.CALLS)
def test_ctrl_c_is_answered_within_a_second(name: str, answers: dict[str, dict[str, Any]]) -> None:
    assert name in answers, "it, or one before it, was not ended"
    assert answers[name]["interrupted"], "the call ended before the signal came"
    assert answers[name]["late_s"] < 1.0


@pytest.mark.skipif(STOPS < 2, reason="make proof-stops runs it: it takes half an hour")
@pytest.mark.parametrize("isa", sorted({"scalar", _core.isa_active()}))
@pytest.mark.parametrize("name", long_calls.CALLS if STOPS > 1 else ["dense"])
def test_ctrl_c_at_random_moments(name: str, isa: str) -> None:
    """Those of a call that ends before them do not count."""
    found = interrupt([name], "--times", str(STOPS), "--isa", isa)
    late = sorted(answer["late_s"] for answer in found)
    assert len(late) == STOPS, "it was not ended"
    proofs.record("calls", name, isa=isa, stops=STOPS, median_s=late[STOPS // 2], most_s=late[-1])
    assert late[-1] <= 0.5


IMAGES = np.random.default_rng(0).integers(0, 256, (1200, 64, 64, 1), dtype=np.uint8)


def long_ssd(threads: int) -> np.ndarray:
    _core.isa_set("scalar")
    try:
        return oracle.native_ssd(IMAGES, None, (16, 16), threads)
    finally:
        _core.isa_set(None)


class Told(Exception):
    """What a handler raises."""


def raise_told(number: int, frame: object) -> None:
    raise Told("enough")


@contextlib.contextmanager
def alarmed(handler: Callable[[int, object], None], every_s: float = 0.0) -> Iterator[None]:
    """Have SIGALRM come after 10 ms, and again if it is to."""
    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01, every_s)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("threads", [1, 2])
def test_handlers_that_return_run_meanwhile_and_change_no_answer(threads: int) -> None:
    expected = long_ssd(1)
    seen: list[np.ndarray] = []

    def handler(number: int, frame: object) -> None:
        if len(seen) < 3:  # it may compute itself
            seen.append(oracle.native_ssd(IMAGES[:40], None, (16, 16), threads))

    with alarmed(handler, 0.01):
        answer = long_ssd(threads)
    assert np.array_equal(answer, expected)
    assert seen
    assert all(np.array_equal(part, expected[:40, :40]) for part in seen)


def test_whatever_a_handler_raises_comes_out() -> None:
    edges = long_calls.hard_edges()
    with pytest.raises(Told, match="enough"), alarmed(raise_told):
        _core.max_clique(450, edges, 10**15)


def test_a_graph_goes_on_growing_after_an_interrupt() -> None:
    features = _core.Features(128, 128)
    few = np.random.default_rng(1).integers(0, 256, (6, 512, 512, 3), dtype=np.uint8)
    features.append(few[:3])
    many = long_calls.zeros(6_000, 512, 512, 3)
    with pytest.raises(Told), alarmed(raise_told):
        features.append(many)
    assert len(features) == 3
    features.append(few[3:])
    assert features.first_mismatch(few, np.arange(6)) == 6


def test_other_threads_are_not_interrupted() -> None:
    """Python handles signals in the main thread: a call of another one runs to its end."""
    expected = long_ssd(1)
    answers: list[np.ndarray] = []
    done = threading.Event()

    def compute() -> None:
        answers.append(long_ssd(1))
        done.set()

    threading.Thread(target=compute).start()
    with pytest.raises(Told), alarmed(raise_told):
        done.wait()
    done.wait()
    assert np.array_equal(answers[0], expected)


FORK = """
import os, signal, sys, threading
sys.path.insert(0, {folder!r})
from memcore import _core
from tests.support import long_calls, proofs
code = []
def fork():
    pid = os.fork()
    if pid == 0:  # its only thread handles its signals now, though in the parent it did not
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            _core.max_clique(450, long_calls.hard_edges(), 10**15)
        except TimeoutError:
            os._exit(7)
        os._exit(1)
    code.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
def handler(number, frame):
    raise TimeoutError
signal.signal(signal.SIGALRM, handler)
thread = threading.Thread(target=fork)
thread.start()
thread.join()
print(code)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_another_thread_forked_is_interrupted() -> None:
    code = FORK.format(folder=str(ROOT))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=GIVEN_UP_S,
    )
    assert done.stdout.strip() == "[7]", done.stderr


def test_a_program_in_plain_c_cancels_its_calls(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs cc: apt-get install gcc")
    library = Path(memcore.get_library())
    program = tmp_path / "cancel"
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pthread", "-I", ROOT / "csrc"]
    link = ["-L", library.parent, f"-Wl,-rpath,{library.parent}", "-lmemcore"]
    subprocess.run([compiler, *flags, ROOT / "csrc/tests/test_cancel.c", *link, "-o", program], check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=False, timeout=GIVEN_UP_S)
    assert done.returncode == 0, done.stderr


EXIT = """
import os, sys, threading
import numpy as np
from memcore import _core
images = np.zeros((1, 60, 64, 64, 3), np.uint8)
edges = np.stack(np.triu_indices(40, 1), axis=1).astype(np.int32)
begun = threading.Barrier(5)
def compute():
    out = np.zeros((1, 60, 60), np.uint32)
    begun.wait()
    while True:
        _core.tiled_l2_ssd(images, None, 16, 16, out, 2)
        _core.max_clique(40, edges, 1000)
for _ in range(4):
    threading.Thread(target=compute, daemon=True).start()
begun.wait()
print("done", flush=True)
sys.exit(3)
"""


def test_a_program_ends_as_it_would_without_daemon_threads_that_compute() -> None:
    for _ in range(5):
        children = [
            subprocess.Popen(
                [sys.executable, "-c", EXIT],
                env=ENVIRONMENT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        for child in children:
            out, complaints = child.communicate(timeout=GIVEN_UP_S)
            assert (child.returncode, out, complaints) == (3, "done\n", "")
