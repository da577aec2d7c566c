"""SIGKILL of any process of a run at random moments: the resumed run ends in the same bytes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from memcore.audit import journal
from memcore.runs.folder import RunFolder
from memcore.runs.tables import rows_to_table
from memcore.sampling.diffusers.first_step import FirstStep
from memcore.sampling.seeds import derive_seeds
from memcore.system import atomic_files
from tests.support.run_files import content
from tests.support.synthetic import SyntheticSampler

PROMPTS = [f"{p} {n}" for n in range(4) for p in ("a red fox", "a green hill", "two boats", "a door")]
KILLS = 24
SPARING_KILLS = 6
GENERATIONS = 32


class SlowSampler(SyntheticSampler):
    """A sampler that is slow enough to be killed. Every fourth prompt is memorised, whatever its number."""

    def sample(self, requests):  # type: ignore[no-untyped-def]
        time.sleep(0.02)
        return super().sample(requests)

    def _one(self, request):  # type: ignore[no-untyped-def]
        return super()._one(type(request)(request.prompt_id, request.prompt[:-2], request.seed))

    def first_step(self, requests, *, guidance_scale):  # type: ignore[no-untyped-def]
        """Scores that would spare the green hills, and depend on the seeds."""
        time.sleep(0.02)
        scores = np.array([(1.0 if "hill" in r.prompt else 3.0) + r.seed % 97 / 1000 for r in requests])
        return FirstStep(scores, scores * guidance_scale)


def command(run: Path, prompts: Path, *flags: str) -> list[str]:
    """An audit with two workers, whose shards and checkpoints are short."""
    program = "import sys; from tests.engine.test_kill import main; sys.exit(main())"
    return [
        *(
            sys.executable,
            "-c",
            program,
            "audit",
            str(run),
            "--sampler",
            "tests.engine.test_kill:SlowSampler",
        ),
        *("--prompts", str(prompts), "--generations", str(GENERATIONS), "--batch-size", "8"),
        *("--shard-prompts", "2", "--workers", "2", "--threads", "1", "--quiet", *flags),
    ]


def main() -> int:
    """``memcore`` with a checkpoint after each prompt."""
    from memcore import cli
    from memcore.engine import scheduler

    scheduler.CHECKPOINT_SECONDS = 0.0
    return cli.main()


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kill") / "prompts.txt"
    path.write_text("".join(f"{p}\n" for p in PROMPTS))
    return path


@pytest.fixture(scope="module")
def undisturbed(prompts: Path) -> dict[str, str]:
    run = prompts.parent / "whole"
    subprocess.run(command(run, prompts), check=True, capture_output=True)
    assert sum(r["status"] == "finding" for r in RunFolder.open(run).findings()) == 8
    return content(run)


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes that do shards, not the one in which Python tracks resources."""
    try:
        children = psutil.Process(process.pid).children()
        return [c for c in children if "spawn_main" in " ".join(c.cmdline())]
    except psutil.Error:
        return []


def test_kills_at_random_moments(prompts: Path, undisturbed: dict[str, str]) -> None:
    """Kill launchers and workers until there were enough kills; each unfinished run is resumed."""
    kills = _kill_runs(prompts, undisturbed, KILLS)
    assert sum(kills.values()) == KILLS
    assert min(kills.values()) >= KILLS // 3, kills


@pytest.mark.parametrize(
    ("flags", "stop"),
    [
        (["--budget", "sequential", "--copy-rate", "0.3", "--miss-rate", "0.05"], "found"),
        (["--screen", "noise_magnitude", "--screen-threshold", "2", "--screen-seeds", "2"], "screened"),
    ],
    ids=["sequential", "screened"],
)
def test_kills_of_runs_that_spare_images(prompts: Path, tmp_path: Path, flags: list[str], stop: str) -> None:
    """What was decided before a kill is decided the same after it."""
    subprocess.run(command(tmp_path / "whole", prompts, *flags), check=True, capture_output=True)
    rows = RunFolder.open(tmp_path / "whole").findings()
    assert sum(row["stop"] == stop for row in rows) in range(1, len(rows))
    assert sum(row["generated"] for row in rows) < GENERATIONS * len(rows)
    kills = _kill_runs(prompts, content(tmp_path / "whole"), SPARING_KILLS, *flags)
    assert sum(kills.values()) >= SPARING_KILLS


class KeepingSampler(SlowSampler):
    """A sampler in whose process the images of prompts in flight are kept, however quickly they were made."""

    def __init__(self) -> None:
        super().__init__()
        journal.WORTH = 0.0


def test_kills_of_runs_that_keep_images_in_flight(prompts: Path, tmp_path: Path) -> None:
    """Each kill comes just after images were written, maybe while more are; none of them is left in the end."""
    flags = ["--generations", "64", "--shard-prompts", "8"]
    subprocess.run(command(tmp_path / "whole", prompts, *flags), check=True, capture_output=True)
    run, rng, kills = tmp_path / "run", random.Random(20230130), 0
    flags += ["--sampler", "tests.engine.test_kill:KeepingSampler", "--retry"]
    while kills < 4:
        known = set(run.glob("partial/*.journal"))
        process = subprocess.Popen(command(run, prompts, *flags), stderr=subprocess.DEVNULL)
        while set(run.glob("partial/*.journal")) <= known and process.poll() is None:
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, 0.05))
        workers = workers_of(process)
        if kills % 3 == 2 and workers:
            rng.choice(workers).kill()
            kills += 1
            time.sleep(rng.uniform(0.0, 0.05))
        kills += process.poll() is None
        process.kill()
        process.wait(timeout=60)
        if not RunFolder.open(run).pending():
            break
    assert kills >= 2
    subprocess.run(command(run, prompts, *flags), check=True, capture_output=True)
    assert content(run) == content(tmp_path / "whole")
    assert not list((run / "partial").glob("*"))


def images(found: dict[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in found.items() if name.startswith("images")}


def _kill_runs(prompts: Path, undisturbed: dict[str, str], wanted: int, *flags: str) -> dict[str, int]:
    rng = random.Random(20230130)
    kills = {"launcher": 0, "worker": 0}
    runs = 0
    while sum(kills.values()) < wanted:
        run = prompts.parent / f"run-{flags[0] if flags else ''}-{runs}"
        runs += 1
        while True:
            process = subprocess.Popen(command(run, prompts, "--retry", *flags), stderr=subprocess.DEVNULL)
            _kill_some(process, rng, kills, wanted)
            if not (run / "run.toml").exists():
                continue
            half = content(run)
            given_up = {f"findings/shard-{s.id}.parquet" for s in RunFolder.open(run).given_up()}
            for name in half.keys() - given_up - {n.replace("findings", "quarantine") for n in given_up}:
                assert half[name] == undisturbed[name], "a killed run left a file of other content"
            # a launcher that was killed after the last shard was done may leave its checkpoint to the next launcher
            if process.returncode == 0 and not RunFolder.open(run).pending():
                break
        assert content(run) == undisturbed
        assert not list((run / "partial").glob("*"))
        assert not list(run.rglob(f"{atomic_files.TEMPORARY}*"))
    return kills


def _kill_some(
    process: subprocess.Popen[bytes], rng: random.Random, kills: dict[str, int], wanted: int
) -> None:
    """Kills workers now and then, and at last maybe the launcher, until the run ends."""
    started = time.monotonic()
    while not workers_of(process) and process.poll() is None and time.monotonic() - started < 30:
        time.sleep(0.01)
    while process.poll() is None and sum(kills.values()) < wanted:
        time.sleep(rng.uniform(0.0, 1.2))
        workers = workers_of(process)
        if 2 * kills["launcher"] <= kills["worker"] and process.poll() is None:
            process.kill()
            kills["launcher"] += 1
        elif workers:
            rng.choice(workers).kill()
            kills["worker"] += 1
    process.wait(timeout=60)


def test_a_worker_that_always_dies_costs_its_shard_alone(tmp_path: Path) -> None:
    """Its shard is given up with the reason and all others are done; exit code and answer say so; --retry repairs it."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red fox 0\na door 0\ndeadly 0\na red fox 1\n")
    flags = ["--shard-prompts", "1", "--json", "--sampler", "tests.engine.test_kill:DeadlySampler"]
    env = {**os.environ, "DEADLY": "1"}
    run = tmp_path / "run"
    done = subprocess.run(command(run, prompts, *flags), capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 5, done.stderr  # done, and a prompt failed
    told = json.loads(done.stdout)
    assert (told["done"], told["failed"], told["shards_given_up"], told["candidates"]) == (4, 1, 1, 2)
    folder = RunFolder.open(run)
    (put_aside,) = folder.quarantine()
    assert (put_aside["reason"], "SIGKILL" in put_aside["detail"]) == ("crash", True)
    assert [r["reason"] for r in folder.findings()] == [None, None, "crash", None]
    from memcore.report.run import read_run

    assert [q.reason for q in read_run(run).quarantine] == ["crash"]
    again = subprocess.run(command(run, prompts, *flags), capture_output=True, text=True, check=False)
    assert again.returncode == 5  # nothing is done again unasked
    assert json.loads(again.stdout) == told
    retried = subprocess.run(
        command(run, prompts, *flags, "--retry"), capture_output=True, text=True, check=False
    )
    assert retried.returncode == 0, retried.stderr
    assert not RunFolder.open(run).quarantine()


class DeadlySampler(SlowSampler):
    """Ends its process at one prompt, as a crash in native code does, while DEADLY is set."""

    def sample(self, requests):  # type: ignore[no-untyped-def]
        if any(r.prompt.startswith("deadly") for r in requests) and os.environ.get("DEADLY"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().sample(requests)


class RaisingSampler(SlowSampler):
    """Finds no memory for one prompt, with a secret in what it says."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self.token = token

    def describe(self) -> dict[str, str]:
        return {"kind": "raising", "endpoint": f"https://me:{self.token}@host/"}

    def sample(self, requests):  # type: ignore[no-untyped-def]
        if any(r.prompt.startswith("deadly") for r in requests):
            raise RuntimeError(f"refused with Authorization: Bearer {self.token}")
        return super().sample(requests)


def test_secrets_are_nowhere(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red fox 0\ndeadly 0\n")
    flags = [
        "--sampler",
        "tests.engine.test_kill:RaisingSampler",
        "--sampler-options",
        '{"token": "env:HOSTED"}',
    ]
    env = {**os.environ, "HOSTED": "s3cr3t-value"}
    run = tmp_path / "run"
    done = subprocess.run(command(run, prompts, *flags), capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 5, done.stderr  # done, and a prompt failed
    assert "s3cr3t" not in done.stdout + done.stderr
    for path in run.rglob("*"):
        if path.is_file():
            assert b"s3cr3t" not in path.read_bytes(), path
    (quarantined,) = RunFolder.open(run).quarantine()  # parquet is compressed: look at its text as well
    assert "s3cr3t" not in json.dumps(quarantined)
    assert "***" in quarantined["detail"]
    clear = [*flags[:-1], '{"token": "s3cr3t-value"}']
    refused = subprocess.run(
        command(tmp_path / "b", prompts, *clear), capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "an environment variable" in refused.stderr
    unset = subprocess.run(
        command(tmp_path / "c", prompts, *flags), capture_output=True, text=True, check=False
    )
    assert unset.returncode == 2
    assert "needs the environment variable 'HOSTED'" in unset.stderr


def test_interrupting_writes_a_checkpoint(prompts: Path, undisturbed: dict[str, str], tmp_path: Path) -> None:
    """After Ctrl-C the next command resumes inside the shard, not at its start."""
    run = tmp_path / "run"
    flags = ["--shard-prompts", "16"]  # the last one given counts: one shard
    process = subprocess.Popen(command(run, prompts, *flags), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(run.glob("partial/*.checkpoint")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3, said
    assert "To resume: memcore audit" in said
    assert "Traceback" not in said
    assert not list(run.rglob(f"{atomic_files.TEMPORARY}*"))
    folder = RunFolder.open(run)
    kept = folder.read_partial(folder.shards()[0])
    assert 0 < len(kept.rows) < len(PROMPTS)
    assert derive_seeds(0, kept.rows[0]["prompt_id"], 1)[0] >= 0
    subprocess.run(command(run, prompts, *flags), check=True, capture_output=True)
    rows = RunFolder.open(run).findings()
    before = rows_to_table(kept.rows).to_pylist()
    assert rows[: len(kept.rows)] == sorted(before, key=lambda r: r["prompt_id"])
    assert images(content(run)) == images(undisturbed)
