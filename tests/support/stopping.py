"""``memcore`` commands that get Ctrl-C as a terminal sends it: to the command and to all that it has started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

ROOT = Path(__file__).parents[2]
#: Seconds after which a command that does not end is given up.
GIVEN_UP_S = 60.0
#: How to begin a command: as Python's module, or as the installed program.
MODULE = (sys.executable, "-m", "memcore")
#: Called with the command: returns when Ctrl-C is to come.
Moment: TypeAlias = "Callable[[subprocess.Popen[str]], None]"


class Stopped(NamedTuple):
    """How a command ended, and how many seconds after Ctrl-C; None where it ended before."""

    code: int
    out: str
    err: str
    late_s: float | None


def when_it_imports(process: subprocess.Popen[str]) -> None:
    """Return as soon as the command has begun to import NumPy, so that memcore's own first lines have run."""
    maps = Path(f"/proc/{process.pid}/maps")
    _wait(process, lambda: "numpy" in maps.read_text("utf-8", "replace"))


def when_a_worker_starts(process: subprocess.Popen[str]) -> None:
    """Return as soon as there is a worker, which then imports for a while."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

    def there() -> bool:
        return any(
            b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes() for c in children.read_text().split()
        )

    _wait(process, there)


def after(seconds: float) -> Moment:
    """Return the moment that comes that long after memcore has begun."""

    def moment(process: subprocess.Popen[str]) -> None:
        when_it_imports(process)
        time.sleep(seconds)

    return moment


def _wait(process: subprocess.Popen[str], there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + GIVEN_UP_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if there():
                return
        time.sleep(0.001)


def stop(
    words: Sequence[str],
    moment: Moment,
    *,
    again_s: float | None = None,
    program: Sequence[str | Path] = MODULE,
) -> Stopped:
    """Begin a command, send it Ctrl-C at a moment, once more after ``again_s``, and return how it ended."""
    process = subprocess.Popen(
        [*program, *words],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    moment(process)
    sent = time.monotonic()
    there = _ctrl_c(process)
    if again_s is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(again_s)
        _ctrl_c(process)
    try:
        out, err = process.communicate(timeout=GIVEN_UP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return Stopped(process.returncode, out, err, time.monotonic() - sent if there else None)


def _ctrl_c(process: subprocess.Popen[str]) -> bool:
    if process.poll() is not None:
        return False
    os.killpg(process.pid, signal.SIGINT)
    return True
