"""Ctrl-C at any moment of a command: it ends with exit code 3 and no traceback, and the same command resumes it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from memcore.commands._interrupts import Interrupts
from tests.support import proofs
from tests.support.forked_commands import ForkedCommands
from tests.support.stopping import MODULE, Stopped, after, stop, when_a_worker_starts, when_it_imports
from tests.support.workshop import OUTPUTS, Workshop

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sends POSIX signals and looks into /proc")

#: Times that each command is stopped.
STOPS = proofs.times("STOPS", 1)
#: Times that a command is stopped before it is let run to its end.
IN_A_ROW = 3
STOPPED, DONE = 3, (0, 5)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("stopped") / "workshop")


@pytest.fixture(scope="module")
def forked() -> Iterator[ForkedCommands]:
    with ForkedCommands() as started:
        yield started


def check(ended: Stopped) -> None:
    """Check how a command ended that got Ctrl-C, maybe just before or after its work."""
    assert "Traceback" not in ended.err
    assert "Exception ignored" not in ended.err
    if ended.late_s is None or ended.code in DONE:
        assert ended.code in DONE, ended
    elif ended.code == -signal.SIGINT:
        assert ended.out, "its answer was printed: only Python's own end was left"
    else:
        assert ended.code == STOPPED, ended
        assert "memcore: interrupted" in ended.err


@pytest.mark.parametrize("command", OUTPUTS)
def test_a_stopped_command_is_resumed_to_the_same_bytes(
    command: str, workshop: Workshop, forked: ForkedCommands
) -> None:
    rng = random.Random(command)
    words = workshop.words(command)
    workshop.reset(command)
    forked.start(words)
    code, seconds = forked.wait()
    assert code in DONE, "undisturbed"
    whole = workshop.written(command)
    late: list[float] = []
    for left in range(STOPS, 0, -IN_A_ROW):
        workshop.reset(command)
        for _ in range(min(IN_A_ROW, left)):
            twice = rng.uniform(0, 0.3) if rng.random() < 0.5 else None
            ended = stop(words, after(rng.uniform(0, seconds + 0.7)), again_s=twice)
            check(ended)
            late += [] if ended.late_s is None else [ended.late_s]
        forked.start(words)
        assert forked.wait()[0] == code
        assert workshop.written(command) == whole
    late.sort()
    figures = {"median_s": round(late[len(late) // 2], 3), "most_s": round(late[-1], 3)} if late else {}
    proofs.record("commands", command, stops=len(late), of=STOPS, **figures)


@pytest.mark.parametrize(
    "program", [MODULE, (Path(sys.executable).with_name("memcore"),)], ids=["-m", "memcore"]
)
@pytest.mark.parametrize("again_s", [None, 0.0])
def test_while_it_imports(program: tuple[str | Path, ...], again_s: float | None) -> None:
    """Python would show where it was in the imports."""
    if not Path(program[0]).exists():
        pytest.skip("memcore is not installed as a program")
    ended = stop(["info"], when_it_imports, again_s=again_s, program=program)
    check(ended)
    assert ended.late_s is not None
    assert ended.code == STOPPED, ended.err


@pytest.mark.parametrize("command", ["audit", "filter"])
def test_while_its_workers_import(command: str, workshop: Workshop) -> None:
    """Ctrl-C reaches them too."""
    workshop.reset(command)
    ended = stop(workshop.words(command), when_a_worker_starts)
    check(ended)
    assert ended.code == STOPPED, ended.err
    assert [line for line in ended.err.splitlines() if line and not line.startswith("memcore: ")] == []


def test_after_its_answer_ctrl_c_ends_the_process_plainly() -> None:
    """Python would show a traceback of its own end."""
    before = signal.getsignal(signal.SIGINT)
    try:
        with Interrupts(final=True):
            pass
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


INTERRUPTED = """
import sys
from memcore import cli
from memcore.commands import info
def run(arguments):
    exec("raise KeyboardInterrupt")  # as one of Python's own is interrupted
info.run = run
sys.argv = ["memcore", "info"]
sys.exit(cli.program())
"""


def test_within_an_exec_too_it_is_exit_code_3(tmp_path: Path) -> None:
    """Python remembers that one was interrupted; started with -m, it then ended by SIGINT."""
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == STOPPED, done.stderr
    assert "memcore: interrupted" in done.stderr


@pytest.mark.skipif(STOPS < 2, reason="make proof-stops runs it: it takes minutes")
def test_the_demo(tmp_path: Path) -> None:
    rng = random.Random("demo")
    words = ["demo", "--out", str(tmp_path / "demo"), "--generations", "16"]
    late = []
    for _ in range(10):
        ended = stop(words, after(rng.uniform(0, 20)), again_s=rng.uniform(0, 0.3))
        check(ended)
        late.append(ended.late_s or 0.0)
        if ended.code in DONE:
            break
    proofs.record(
        "commands", "demo", stops=len(late), median_s=sorted(late)[len(late) // 2], most_s=max(late)
    )
