"""A run in which nothing succeeds ends soon, with the cause, and is resumed once that is removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from memcore.audit import audit
from memcore.engine import circuit_breaker
from memcore.errors import SamplerError, WorkerError
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder
from memcore.types import Images, Request
from tests.support.synthetic import SyntheticSampler

PROMPTS = [f"prompt {n}" for n in range(40)]
CONFIG = Config(source="custom", generations=4, batch_size=8, shard_prompts=2, min_clique=3)


class Broken(SyntheticSampler):
    """Ends its process at each call while HOW says so; counts its calls in a file."""

    def sample(self, requests: list[Request]) -> Images:  # type: ignore[override]
        if calls := os.environ.get("CALLS"):
            with open(calls, "a") as file:
                file.write(".")
        if os.environ.get("HOW") == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().sample(requests)


class Unshaped(SyntheticSampler):
    """Its fault lies outside sample(), so that the whole shard fails."""

    def check_prompt(self, prompt: str) -> str:
        raise RuntimeError("the model was never loaded")


class Refusing(SyntheticSampler):
    """Refuses the first ``count`` prompts."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def sample(self, requests: list[Request]) -> Images:  # type: ignore[override]
        if any(r.prompt_id < self.count for r in requests):
            raise SamplerError("HTTP 401")
        return super().sample(requests)


def untouched(run: Path) -> bool:
    folder = RunFolder.open(run)
    return len(folder.pending()) == len(folder.shards()) and not folder.quarantine()


def test_shards_that_all_raise(tmp_path: Path) -> None:
    with pytest.raises(
        WorkerError, match=r"not one of 3 shards could be done.*RuntimeError: the model was never"
    ):
        audit(tmp_path / "run", CONFIG, sampler=Unshaped(), prompts=PROMPTS, quiet=True)
    assert untouched(tmp_path / "run")
    done = audit(tmp_path / "run", CONFIG, sampler=SyntheticSampler(), prompts=PROMPTS, quiet=True)
    assert not done.pending()
    assert not done.given_up()


def test_a_sampler_that_refuses_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit_breaker, "REFUSED", 10)
    with pytest.raises(WorkerError, match=r"not one of 5 shards could be done.*HTTP 401"):
        audit(tmp_path / "run", CONFIG, sampler=Refusing(1000), prompts=PROMPTS, quiet=True)
    assert untouched(tmp_path / "run")
    done = audit(tmp_path / "run", CONFIG, sampler=SyntheticSampler(), prompts=PROMPTS, quiet=True)
    assert not done.quarantine()
    whole = audit(tmp_path / "whole", CONFIG, sampler=SyntheticSampler(), prompts=PROMPTS, quiet=True)
    assert done.findings() == whole.findings()


def test_a_run_of_which_something_succeeds_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit_breaker, "REFUSED", 10)
    prompts = [PROMPTS[-1], *PROMPTS]

    class Later(Refusing):
        def sample(self, requests: list[Request]) -> Images:  # type: ignore[override]
            if any(0 < r.prompt_id < self.count for r in requests):
                raise SamplerError("HTTP 429")
            return SyntheticSampler.sample(self, requests)

    folder = audit(tmp_path / "run", CONFIG, sampler=Later(30), prompts=prompts, quiet=True)
    assert not folder.pending()
    assert [r["prompt_id"] for r in folder.findings() if r["status"] == "failed"] == list(range(1, 30))


def test_few_refused_prompts_end_no_run(tmp_path: Path) -> None:
    folder = audit(tmp_path / "run", CONFIG, sampler=Refusing(20), prompts=PROMPTS, quiet=True)
    assert len(folder.quarantine()) == 20
    assert not folder.pending()


def main() -> int:
    """``memcore``, which ends after fewer tries: each starts a process."""
    from memcore.cli import main as memcore

    circuit_breaker.TRIES = 4
    return memcore()


@pytest.mark.parametrize("launcher", ["local", "ray"])
def test_workers_that_all_die(tmp_path: Path, launcher: str) -> None:
    """Through the command, on one machine (so does a task of a SLURM array) and on Ray: exit code 1 after few tries."""
    if launcher == "ray":
        pytest.importorskip("ray", reason="Ray is not installed")
    (tmp_path / "prompts.txt").write_text("".join(f"{p}\n" for p in PROMPTS))
    where = {"local": ["--part", "1/1"], "ray": ["--launcher", "ray"]}[launcher]
    program = "import sys; from tests.engine.test_circuit_breaker import main; sys.exit(main())"
    command = [
        sys.executable,
        "-c",
        program,
        "audit",
        str(tmp_path / "run"),
        "--workers",
        "2",
        "--quiet",
    ]
    command += [
        "--sampler",
        "tests.engine.test_circuit_breaker:Broken",
        "--prompts",
        str(tmp_path / "prompts.txt"),
    ]
    command += ["--generations", "4", "--min-clique", "3", "--shard-prompts", "2", "--threads", "1", *where]
    env = {**os.environ, "HOW": "killed", "CALLS": str(tmp_path / "calls")}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 1, done.stderr
    assert "shards could be done" in done.stderr
    assert "Fix it, and give the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    tries = len((tmp_path / "calls").read_text())
    assert 4 <= tries <= 6
    assert untouched(tmp_path / "run")
    if launcher == "local":
        repaired = subprocess.run(command, capture_output=True, text=True, check=False)
        assert repaired.returncode == 0, repaired.stderr
        assert not RunFolder.open(tmp_path / "run").pending()


class Dying(SyntheticSampler):
    """Answers ``good`` batches; then each call raises what is no fault of a prompt, as a GPU that was lost does."""

    def __init__(self, good: int) -> None:
        super().__init__()
        self.good = good

    def check_prompt(self, prompt: str) -> str:
        if len(self.batches) > self.good:
            raise RuntimeError("CUDA error: device lost")
        return ""


def test_shards_that_fail_one_after_the_other_end_a_run_after_a_good_start(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"10 shards failed one after the other.*device lost"):
        audit(tmp_path / "run", CONFIG, sampler=Dying(5), prompts=PROMPTS, quiet=True)
    run = RunFolder.open(tmp_path / "run")
    assert run.done()
    assert not run.given_up()
    done = audit(tmp_path / "run", CONFIG, sampler=SyntheticSampler(), prompts=PROMPTS, quiet=True)
    assert not done.pending()
    assert not [r for r in done.findings() if r["status"] == "failed"]
