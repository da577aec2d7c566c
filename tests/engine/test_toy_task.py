"""The engine runs any job: one that squares numbers is launched, killed, resumed, given up, followed and broken off."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from memcore.engine import circuit_breaker, scheduler
from memcore.engine.launchers import LAUNCHERS, make_pool, names
from memcore.engine.launchers.base import Resources
from memcore.engine.launchers.slurm import script
from memcore.engine.scheduler import ATTEMPTS, list_pending, run_here
from memcore.engine.status import status
from memcore.engine.task import finished, read_manifest
from memcore.errors import ConfigError, StoreError, WorkerError
from memcore.storage.local import LocalStorage
from memcore.system import atomic_files
from tests.support.faulty_disk import FaultyDisk, QuickDisk
from tests.support.toy_job import STEP, SquareFolder, SquareJob, SquareWork, numbers

ROOT = Path(__file__).parents[2]
COUNT = 40
TASKS = [f"from-{first:04d}" for first in range(0, COUNT, STEP)]
PROGRAM = (sys.executable, "-m", "tests.support.toy_job")


def command(place: Path, *flags: str) -> list[str]:
    return [*PROGRAM, str(place), "--count", str(COUNT), *flags]


def run(place: Path, *flags: str) -> dict[str, Any]:
    """Run the job in a process of its own, and return what it prints."""
    done = subprocess.run(command(place, *flags), capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def squares(place: Path) -> dict[str, list[int]]:
    return {p.stem: json.loads(p.read_text()) for p in sorted((place / "squares").glob("*.json"))}


RIGHT = {task: [n * n for n in numbers(task)] for task in TASKS}


def test_two_workers_and_nothing_foreign(tmp_path: Path) -> None:
    """The workers refuse to run with a foreign module; the launcher prints its own."""
    assert run(tmp_path / "job", "--workers", "2") == {"progress": COUNT, "foreign": []}
    assert squares(tmp_path / "job") == RIGHT
    writers = {read_manifest(LocalStorage(tmp_path / "job"), task)["writer"] for task in TASKS}
    assert 1 <= len(writers) <= 2
    assert f"{os.uname().nodename}:{os.getpid()}" not in writers
    assert run(tmp_path / "job", "--workers", "2") == {"progress": 0, "foreign": []}


def test_kills_and_resumes(tmp_path: Path) -> None:
    """SIGKILL of launchers and workers at random moments: each unfinished state is resumed to the same files."""
    rng = random.Random(7)
    place = tmp_path / "job"
    kills = 0
    while True:
        # while there are kills to come, all numbers take longer than all kills, on any machine
        seconds = "0.5" if kills < 6 else "0.01"
        process = subprocess.Popen(command(place, "--workers", "2", "--seconds", seconds), cwd=ROOT)
        deadline = time.monotonic() + 60
        while kills < 6 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(rng.uniform(0.5, 1.5))
            workers = [
                c for c in psutil.Process(process.pid).children() if "spawn_main" in " ".join(c.cmdline())
            ]
            victim = rng.choice([process, *workers])
            victim.kill()
            kills += 1
        process.wait(timeout=60)
        assert squares(place).items() <= RIGHT.items(), "a killed job left a file of other content"
        if process.returncode == 0:
            break
    assert kills == 6
    assert squares(place) == RIGHT
    assert not list(place.rglob(f"{atomic_files.TEMPORARY}*"))
    assert not list((place / "partial").glob("*"))


def test_a_checkpoint_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done before a failure is not done again: each later try writes a checkpoint after each item."""
    job = SquareJob(tmp_path / "job", COUNT, SquareWork(fail=[13]))
    run_here(job)
    job.forget(SquareFolder(LocalStorage(tmp_path / "job")), "from-0010")
    folder = run_here(SquareJob(tmp_path / "job", COUNT, SquareWork()))
    assert read_manifest(folder.storage, "from-0010")["resumed"] == 3
    assert squares(tmp_path / "job") == RIGHT


@pytest.mark.parametrize(
    ("fail", "reason", "detail"),
    [("13", "error", "ArithmeticError: cannot square 13"), ("-13", "crash", "exit code 7")],
    ids=["raises", "dies"],
)
def test_a_task_that_always_fails(tmp_path: Path, fail: str, reason: str, detail: str) -> None:
    """It is tried three times and given up with the cause; all others are done, and it is done again when forgotten."""
    place = tmp_path / "job"
    run(place, "--workers", "2", f"--fail={fail}")
    assert squares(place) == {task: RIGHT[task] for task in TASKS if task != "from-0010"}
    storage = LocalStorage(place)
    told = read_manifest(storage, "from-0010")
    assert (told["given_up"], told["reason"]) == (True, reason)
    assert detail in told["detail"]
    assert status(storage, len(TASKS)).given_up == 1
    run(place, "--workers", "2")
    assert "from-0010" not in squares(place)  # nothing is done again unasked
    SquareJob(place, COUNT, SquareWork()).forget(SquareFolder(storage), "from-0010")
    run(place, "--workers", "2")
    assert squares(place) == RIGHT


def test_tries_are_counted(tmp_path: Path) -> None:
    class Counting(SquareWork):
        tries = 0

        def run(self, *given: Any) -> Any:
            type(self).tries += given[1] == "from-0010"
            return super().run(*given)

    run_here(SquareJob(tmp_path / "job", COUNT, Counting(fail=[13])))
    assert Counting.tries == ATTEMPTS == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_the_circuit_breaker_opens(tmp_path: Path, workers: int) -> None:
    """A job of which nothing succeeds ends with the cause, and is as it was."""
    place = tmp_path / "job"
    flags = [f"--fail={n}" for n in range(COUNT)]
    done = subprocess.run(
        command(place, "--workers", str(workers), *flags),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 1
    assert "tasks could be done" in done.stderr
    assert "ArithmeticError: cannot square" in done.stderr
    assert finished(LocalStorage(place)) == []
    run(place)
    assert squares(place) == RIGHT


def test_a_success_closes_the_circuit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit_breaker, "TRIES", 1)
    folder = run_here(SquareJob(tmp_path / "job", COUNT, SquareWork(fail=range(5, COUNT, STEP))))
    assert status(folder.storage, len(TASKS)).given_up == len(TASKS) - 1
    with pytest.raises(WorkerError, match="not one of 3 tasks could be done"):
        run_here(SquareJob(tmp_path / "bad", COUNT, SquareWork(fail=range(COUNT))))


def test_status_tells_its_progress(tmp_path: Path) -> None:
    place = tmp_path / "job"
    storage = LocalStorage(place)
    before = status(storage, len(TASKS))
    assert (before.done, before.rate(), before.seconds_left(8), before.silent_seconds) == (
        0,
        None,
        None,
        None,
    )
    run(place, "--part", "1/2", "--seconds", "0.01")
    told = status(storage, len(TASKS), now=time.time() + 100)
    assert (told.tasks, told.done, told.given_up, told.checkpointed) == (8, 4, 0, 0)
    assert told.silent_seconds is not None
    assert 100 <= told.silent_seconds < 200
    rate, items = told.rate(), told.rate("numbers")
    assert rate is not None
    assert items == pytest.approx(STEP * rate)
    assert told.seconds_left(4) == pytest.approx(4 / rate)
    assert told.seconds_left(0) == 0
    job = SquareJob(place, COUNT, SquareWork())
    assert list_pending(job, SquareFolder(storage)) == TASKS[1::2]
    assert list_pending(job, SquareFolder(storage), (1, 2)) == []


def test_an_array_of_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its script runs any program; each task of the array does one part. Here bash runs them, without a SLURM."""
    monkeypatch.chdir(ROOT)
    place = tmp_path / "a job"
    words = [str(place), "--count", str(COUNT)]
    text = script(place, words, 2, ["--time=10"], place / "slurm", PROGRAM)
    assert "#SBATCH --array=1-2\n" in text
    assert "#SBATCH --job-name=memcore-a_job\n" in text
    for part in ("1", "2"):
        done = subprocess.run(
            ["bash", "-c", text], env={**os.environ, "SLURM_ARRAY_TASK_ID": part}, check=False
        )
        assert done.returncode == 0
        assert len(squares(place)) == 4 * int(part)
    assert squares(place) == RIGHT


def test_ray(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    told = run(tmp_path / "job", "--launcher", "ray", "--workers", "2", "--fail=13")
    assert told["foreign"] == []
    assert squares(tmp_path / "job") == {task: RIGHT[task] for task in TASKS if task != "from-0010"}
    assert read_manifest(LocalStorage(tmp_path / "job"), "from-0010")["reason"] == "error"


def test_a_fault_of_the_disk_at_every_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job says so, leaves no part of a file, and is resumed to the same files."""
    monkeypatch.setattr(scheduler, "CHECKPOINT_SECONDS", 0.0)
    disk = FaultyDisk()
    monkeypatch.setattr(atomic_files, "disk", disk)
    run_here(SquareJob(tmp_path / "whole", 2 * STEP, SquareWork()))
    right = squares(tmp_path / "whole")
    assert len(disk.calls) > 80
    for at, name in enumerate(disk.calls):
        place = tmp_path / f"{at}"
        monkeypatch.setattr(atomic_files, "disk", FaultyDisk(at))
        try:
            run_here(SquareJob(place, 2 * STEP, SquareWork()))
        except StoreError:
            pass
        else:
            assert name in ("remove", "close"), (
                name
            )  # of a temporary file that may be gone: nothing is lost by it
        monkeypatch.setattr(atomic_files, "disk", QuickDisk())
        assert squares(place).items() <= right.items()
        run_here(SquareJob(place, 2 * STEP, SquareWork()))
        assert squares(place) == right, f"call {at} ({name})"
        assert not list(place.rglob(f"{atomic_files.TEMPORARY}*"))


def test_every_launcher_is_in_the_table() -> None:
    assert {"local", "ray", "slurm"} <= set(names())
    files = {p.stem for p in (ROOT / "memcore/engine/launchers").glob("*.py")} - {"__init__", "base"}
    assert files == set(names())
    assert all(launcher.help for launcher in LAUNCHERS)
    for wrong in ("slurm", "smoke signals"):
        with pytest.raises(ConfigError, match=f"launcher must be local or .*, got '{wrong}'"):
            make_pool(wrong, SquareWork(), Resources())


def test_a_worker_of_another_identity_is_refused(tmp_path: Path) -> None:
    """As after an upgrade of some nodes: their results would be others."""
    from memcore.engine.launchers.base import Event
    from memcore.engine.scheduler import run_pool
    from memcore.engine.task import Identity

    class Pool:
        def __init__(self) -> None:
            self.closed = False

        def start(self) -> None:
            pass

        def assign(self, worker: int, folder: SquareFolder, task: str, checkpoint_seconds: float) -> None:
            pass

        def events(self) -> list[Event]:
            return [Event(n, "ready", Identity(f"squares-{n}", {"kind": f"squares {n}"})) for n in (0, 1)]

        def end(self, worker: int) -> None:
            pass

        def close(self) -> None:
            self.closed = True

    pool = Pool()
    with pytest.raises(ConfigError, match=r"other results.*squares 1.*squares 0"):
        run_pool(SquareJob(tmp_path / "job", COUNT, SquareWork()), pool, 2)
    assert pool.closed
