"""A hosted sampler that fails in the middle of 1,500 prompts: afterwards the same command ends with nothing failed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memcore.audit import audit
from memcore.errors import OutageError, SamplerError
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder
from memcore.sampling import transient
from memcore.system import atomic_files
from memcore.types import Images
from tests.support.faulty_disk import QuickDisk
from tests.support.run_files import content
from tests.support.synthetic import SyntheticSampler
from tests.support.toy_server import BRIEF, ToyServer, hosted_sampler

PROMPTS = [f"{p} {n}" for n in range(500) for p in ("rain", "a door", "a red fox")]
CONFIG = Config(source="custom", generations=4, batch_size=200, min_clique=3)


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_files, "disk", QuickDisk())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyServer]:
    for name, seconds in zip(("FIRST_WAIT", "PATIENCE"), BRIEF, strict=True):
        monkeypatch.setattr(transient, name, seconds)
    toy = ToyServer()
    toy.start()
    yield toy
    toy.stop()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Makes in this process the images that the server makes."""
    sampler = SyntheticSampler(fingerprint=hosted_sampler("http://127.0.0.1/").fingerprint)
    folder = audit(
        tmp_path_factory.mktemp("whole") / "run", CONFIG, sampler=sampler, prompts=PROMPTS, quiet=True
    )
    return content(folder.path)


def hosted(path: Path, server: ToyServer) -> RunFolder:
    return audit(path, CONFIG, sampler=hosted_sampler(server.address), prompts=PROMPTS, quiet=True)


@pytest.mark.parametrize("how", ["dies", "503", "cut", "401"])
def test_an_outage_in_the_middle(
    tmp_path: Path, server: ToyServer, undisturbed: dict[str, str], how: str
) -> None:
    """N-D1: 924 of 1,500 prompts failed within a second, and no command did them again.

    A token that expires (401) is no error of the moment: it is told from refused prompts by an image made before.
    """
    server.start(good=13, how=how)
    with pytest.raises(OutageError, match=r"does not answer: (.|\n)*give the same command again: it resumes"):
        hosted(tmp_path / "run", server)
    half = RunFolder.open(tmp_path / "run")
    assert half.done()
    assert half.pending()
    assert not half.quarantine()
    server.start()
    before = server.images
    folder = hosted(tmp_path / "run", server)
    assert not [row for row in folder.findings() if row["status"] == "failed"]
    assert content(folder.path) == undisturbed
    assert server.images - before < CONFIG.generations * len(PROMPTS), "what was finished was paid again"


@pytest.mark.parametrize("how", ["dies", "401"])
def test_by_the_command_with_two_workers(
    tmp_path: Path, server: ToyServer, undisturbed: dict[str, str], how: str
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"{p}\n" for p in PROMPTS))
    command = [sys.executable, "-m", "memcore.cli", "audit", str(tmp_path / "run"), "--prompts", str(prompts)]
    command += ["--sampler", "tests.support.toy_server:brief_sampler", "--workers", "2", "--threads", "1"]
    command += ["--generations", "4", "--batch-size", "200", "--min-clique", "3", "--json", "--quiet"]
    env = {**os.environ, "TOY_SERVER": server.address}
    codes = []
    for good in (13, 10**9):
        server.start(good, how)
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
        codes.append(done.returncode)
    assert codes == [3, 0], done.stderr
    told = json.loads(done.stdout)
    assert (told["done"], told["failed"], told["first_failure"]) == (len(PROMPTS), 0, None)
    assert content(tmp_path / "run") == undisturbed


class Refusing(SyntheticSampler):
    """Refuses the prompts ``refused``, and from the prompt ``broken`` on everything, in words of its own."""

    def __init__(self, refused: range, broken: int = 10**9) -> None:
        super().__init__()
        self.refused, self.broken = refused, broken
        self.down = False

    def sample(self, requests: Any) -> Images:
        self.down = self.down or any(r.prompt_id >= self.broken for r in requests)
        if self.down or any(r.prompt_id in self.refused for r in requests):
            raise SamplerError("quota exceeded" if self.down else "content policy")
        return super().sample(requests)


SMALL = Config(source="custom", generations=4, batch_size=8, shard_prompts=6, min_clique=3)


def test_many_refused_prompts_side_by_side_are_no_outage(tmp_path: Path) -> None:
    """The sampler still makes what it made before: the prompts have failed, and the run is done."""
    folder = audit(tmp_path / "run", SMALL, sampler=Refusing(range(10, 50)), prompts=PROMPTS[:60], quiet=True)
    failed = [row["prompt_id"] for row in folder.findings() if row["status"] == "failed"]
    assert failed == list(range(10, 50))


@pytest.mark.parametrize("broken", [7, 12, 14, 17])
def test_no_prompt_of_an_outage_is_recorded_as_failed(tmp_path: Path, broken: int) -> None:
    """Wherever in a shard it begins; prompts that were refused before it stay so."""
    refused = Refusing(range(3, 5), broken)
    with pytest.raises(
        OutageError, match=r"failed.*and so did one that it had sampled before: quota exceeded"
    ):
        audit(tmp_path / "run", SMALL, sampler=refused, prompts=PROMPTS[:40], quiet=True)
    whole = Refusing(range(3, 5))
    folder = audit(tmp_path / "run", SMALL, sampler=whole, prompts=PROMPTS[:40], quiet=True)
    assert {q["prompt_id"] for q in folder.quarantine()} == {3, 4}
    never = audit(tmp_path / "never", SMALL, sampler=Refusing(range(3, 5)), prompts=PROMPTS[:40], quiet=True)
    assert content(folder.path) == content(never.path)


def test_a_sampler_that_never_answered_is_no_outage(tmp_path: Path) -> None:
    """Nothing was made before, so that the first rule of the circuit breaker decides: here, few prompts fail."""
    folder = audit(tmp_path / "run", SMALL, sampler=Refusing(range(100)), prompts=PROMPTS[:12], quiet=True)
    assert len(folder.quarantine()) == 12


def test_a_worker_that_had_just_begun_records_no_failures(tmp_path: Path) -> None:
    """Its shard of nothing but failures is done again, although another worker finds out that it is an outage."""
    from memcore.audit.task import AuditJob
    from memcore.engine.circuit_breaker import CircuitBreaker
    from memcore.engine.scheduler import run_here
    from memcore.engine.task import Counts

    job = AuditJob(tmp_path / "run", SMALL, PROMPTS[:12], source=Refusing(range(100)), quiet=True)
    folder = run_here(job)
    assert len(folder.quarantine()) == 12
    breaker = CircuitBreaker(job, folder)
    breaker.on_done("shard-of-another-worker", Counts(6))
    breaker.on_done(folder.shards()[1].task, Counts(6, 6, "HTTP 401"))
    breaker.on_outage()
    assert folder.pending() == folder.shards()[1:]
