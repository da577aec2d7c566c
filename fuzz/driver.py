"""Run fuzzers in processes of their own, two at a time at most, and say what they found.

A worker that crashes or hangs is a failure of the case that it was in; another worker goes on behind that case.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fuzz.target import Case
from fuzz.worker import MOST_FAILURES, SLOW_SECONDS, Failure, State

#: Seconds of the clock after which a case hangs, even if it uses no processor.
HUNG_SECONDS = 120.0
#: Seconds that a worker has to import what it needs, on a busy machine.
START_SECONDS = 120.0
ROOT = Path(__file__).parents[1]
#: Where files are in memory: what a case syncs to a disk takes ten times as long.
_MEMORY = "/dev/shm"
#: Where failures and their inputs are kept.
RECORDS = ROOT / "build" / "fuzz"


class Job(NamedTuple):
    """What to run: a fuzzer, the seed of all its cases, and for how long."""

    name: str
    seed: int
    seconds: float
    cases: int


class Run:
    """One fuzzer: its worker, and what was found so far."""

    def __init__(self, job: Job) -> None:
        self.job = job
        prefix = f"memcore-fuzz-{job.name.rpartition(':')[2]}-"
        self.folder = Path(
            tempfile.mkdtemp(prefix=prefix, dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None)
        )
        self.failures: list[tuple[Failure, Path | None]] = []
        self.outcomes: Counter[str] = Counter()
        self.more: int = 0
        self.done = 0
        self.slowest = 0.0
        self.grown = 0
        self._state = State(self.folder / "state")
        self._began: float | None = None
        self._spent = 0.0
        self._first = 0
        self._read = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._seen = (-1, 0.0)
        self._start()

    def _start(self) -> None:
        self._state.write(-1, 0)
        self._seen = (-1, time.monotonic())
        left = self.job.seconds - self._spent
        numbers = map(str, (self.job.seed, self._first, self.job.cases, left))
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-W",
                    "ignore",
                    "-m",
                    "fuzz.worker",
                    self.job.name,
                    *numbers,
                    str(self.folder),
                ],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path]))},
            )

    def poll(self) -> bool:
        """Look at the worker; return whether the fuzzer is done."""
        assert self._process is not None
        number, done, began = self._state.read()
        now = time.monotonic()
        if number != self._seen[0]:
            if self._began is None and number >= 0:
                self._began = now
            self._seen = (number, now)
        code = self._process.poll()
        if code is None:
            waited = now - self._seen[1]
            if number < 0:
                if waited < START_SECONDS:
                    return False
                self._kill()
                return self._end(f"its worker did not begin within {START_SECONDS:.0f} s", -1, done)
            worked = _processor_seconds(self._process.pid) - began
            if waited < HUNG_SECONDS and worked < 2 * SLOW_SECONDS:
                return False
            self._kill()
            return self._end(
                f"it hangs: {waited:.0f} s, {worked:.0f} s of them at work", number, done, "hang"
            )
        if code == 0:
            self._read_events()
            return True
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        log = (self.folder / "log").read_text("utf-8", "replace")[-4000:]
        return self._end(f"its process ended with {how}\n{log}", number, done, f"crash, {how}")

    def _end(self, what: str, number: int, done: int, kind: str = "start") -> bool:
        """Note a failure of the case that the worker was in; start another one behind it. Return whether that was all."""
        self._read_events()
        self.done += done + (number >= 0)
        name = Case(self.job.name, self.job.seed, number) if number >= 0 else self.job.name
        given = None
        if number >= 0 and self._state.given.exists():
            given = self._state.given.replace(self.folder / f"input-of-{number}")
        self.failures.append((Failure(str(name), kind, what), given))
        if self._began is not None:
            self._spent += time.monotonic() - self._began
            self._began = None
        self._first = number + 1
        finished = self._spent >= self.job.seconds or self._first >= self.job.cases
        if number < 0 or finished or len(self.failures) >= MOST_FAILURES:
            return True
        self._start()
        return False

    def _read_events(self) -> None:
        path = self.folder / "events"
        lines = path.read_text().splitlines() if path.exists() else []
        for line in lines[self._read :]:
            event = json.loads(line)
            if "failure" in event:
                self.failures.append((Failure(*event["failure"]), Path(event["input"])))
            else:
                self.outcomes.update(event["outcomes"])
                self.done += event["done"]
                self.more += event["outcomes"].get("failed", 0)
                self.slowest = max(self.slowest, event["slowest"])
                self.grown = max(self.grown, event["grown"])
        self._read = len(lines)

    def _kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the worker if it is still there, and remove the fuzzer's folder."""
        if self._process is not None and self._process.poll() is None:
            self._kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _processor_seconds(pid: int) -> float:
    """Return what a process has used of the processors; 0 where the system does not tell it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_all(jobs: list[Job], at_a_time: int, on_end: Callable[[Run], None]) -> None:
    """Run every job; call ``on_end`` with each that is done, while its folder is still there."""
    waiting: Iterator[Job] = iter(jobs)
    runs: list[Run] = []
    try:
        while True:
            while len(runs) < at_a_time and (job := next(waiting, None)) is not None:
                runs.append(Run(job))
            if not runs:
                return
            for run in [run for run in runs if run.poll()]:
                on_end(run)
                run.close()
                runs.remove(run)
            time.sleep(0.05)
    finally:
        for run in runs:
            run.close()


def record(run: Run, records: Path = RECORDS) -> dict[str, Any]:
    """Keep a fuzzer's failures with their inputs in a folder; return what became of it, as JSON has it."""
    records.mkdir(parents=True, exist_ok=True)
    told = []
    for failure, given in run.failures:
        kept = None
        if given is not None:
            kept = records / failure.case.replace(":", "-")
            shutil.copy(given, kept)
        told.append({**failure._asdict(), "input": None if kept is None else str(kept)})
    result = {
        "fuzzer": run.job.name,
        "seed": run.job.seed,
        "cases": run.done,
        "outcomes": dict(run.outcomes),
        "failures": told,
        "slowest_s": run.slowest,
        "grown_bytes": run.grown,
    }
    with (records / "runs.jsonl").open("a") as file:
        file.write(json.dumps(result) + "\n")
    return result
