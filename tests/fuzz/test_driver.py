"""The driver: a crash, a hang, a raised error and too much memory are failures with a case that can be run again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz import driver, worker
from fuzz.driver import ROOT, Job, Run, record, run_all
from tests.support.peak import has_peak
from tests.support.toy_fuzzer import Raising, Toy

TOY = "tests.support.toy_fuzzer"
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}


def found(job: Job, records: Path) -> list[dict[str, object]]:
    results: list[dict[str, object]] = []
    run_all([job], 1, lambda run: results.append(record(run, records)))
    return results


def test_a_crash_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    (result,) = found(Job(f"{TOY}:Crashing", 5, 60, 6), tmp_path)
    (failure,) = result["failures"]
    assert failure["case"] == f"{TOY}:Crashing:5:2"
    assert failure["kind"] == "crash, signal SIGSEGV"
    assert "Segmentation fault" in failure["text"]
    assert Path(failure["input"]).read_bytes() == b"\0"
    assert result["cases"] == 6


def test_a_hang_is_ended_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "HUNG_SECONDS", 2.0)
    (result,) = found(Job(f"{TOY}:Hanging", 5, 60, 4), tmp_path)
    (failure,) = result["failures"]
    assert (failure["case"], failure["kind"]) == (f"{TOY}:Hanging:5:2", "hang")
    assert result["cases"] == 4


@pytest.mark.skipif(not has_peak(), reason="this system does not tell the peak memory of a process")
def test_memory_beyond_the_bound_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "GROWN_BYTES", 16 << 20)
    assert worker.try_case(Toy(tmp_path), b"\x04") == ("even", None)
    outcome, failure = worker.try_case(Toy(tmp_path), b"\x03")
    assert outcome == "failed"
    assert failure is not None
    assert failure[0] == "memory"


def test_a_slow_case_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "SLOW_SECONDS", -1.0)
    assert worker.try_case(Toy(tmp_path), b"\x04")[1] is not None


def test_failures_of_one_kind_are_told_twice(tmp_path: Path) -> None:
    result = worker.hunt("raising", Raising(tmp_path), 5, iter(range(9)))
    assert [failure.case for failure in result.failures] == ["raising:5:0", "raising:5:1"]
    assert result.outcomes == {"failed": 9}


def test_the_command_ends_with_1_and_prints_what_runs_the_case_again(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fuzz", f"{TOY}:Raising", "--seed", "5", "--cases", "3"]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "seed 5" in done.stdout
    assert f"again: python -m fuzz --case {TOY}:Raising:5:0" in done.stdout
    assert "KeyError" in done.stdout
    again = [sys.executable, "-m", "fuzz", "--case", f"{TOY}:Raising:5:0", "--keep", str(tmp_path / "input")]
    once_more = subprocess.run(again, capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT, timeout=120)
    assert once_more.returncode == 1
    assert "KeyError" in once_more.stdout
    assert (tmp_path / "input").read_bytes() == b"\x02"
    from_file = [sys.executable, "-m", "fuzz", f"{TOY}:Raising", "--input", str(tmp_path / "input")]
    assert (
        subprocess.run(from_file, capture_output=True, env=ENVIRONMENT, cwd=ROOT, timeout=120).returncode == 1
    )


def test_seeds_are_recorded(tmp_path: Path) -> None:
    found(Job(f"{TOY}:Crashing", 5, 60, 2), tmp_path)
    (line,) = (tmp_path / "runs.jsonl").read_text().splitlines()
    told = json.loads(line)
    assert (told["seed"], told["cases"], told["failures"]) == (5, 2, [])


def test_no_more_than_so_many_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: set[int] = set()
    most: list[int] = []
    start = Run.__init__

    def counted(self: Run, job: Job) -> None:
        start(self, job)
        alive.add(id(self))
        most.append(len(alive))

    monkeypatch.setattr(Run, "__init__", counted)
    jobs = [Job(f"{TOY}:Toy", seed, 60, 0) for seed in range(4)]
    run_all(jobs, 2, lambda run: alive.discard(id(run)))
    assert max(most) == 2
    assert len(most) == 4
