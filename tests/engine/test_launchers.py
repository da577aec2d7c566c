"""Ray, a SLURM array and an object store give the findings of a local run, byte for byte."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from memcore.audit import audit
from memcore.cli import main
from memcore.commands._submit import without_launcher
from memcore.errors import StoreError
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder
from memcore.runs.status import status
from tests.support.run_files import content
from tests.support.slurm_cluster import output, wait_for
from tests.support.synthetic import PROMPTS

ROOT = Path(__file__).parents[2]
FLAGS = [
    "--sampler",
    "tests.support.synthetic:SyntheticSampler",
    "--generations",
    "24",
    "--shard-prompts",
    "2",
    "--quiet",
]


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("launch") / "prompts.txt"
    path.write_text("".join(f"{p}\n" for p in PROMPTS))
    return path


@pytest.fixture(scope="module")
def local(prompts: Path) -> Path:
    run = prompts.parent / "local"
    config = Config(
        source="custom", sampler="tests.support.synthetic:SyntheticSampler", generations=24, shard_prompts=2
    )
    audit(run, config, prompts=PROMPTS, workers=2, quiet=True)
    return run


def command(run: Path | str, prompts: Path, *more: str) -> list[str]:
    # every image of one prompt is black, so that nothing is decided of it: exit code 5 unless that is allowed
    return ["audit", str(run), "--prompts", str(prompts), *FLAGS, "--allow-incomplete", *more]


def test_ray(local: Path, prompts: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    run = tmp_path / "run"
    assert main(command(run, prompts, "--launcher", "ray", "--workers", "2", "--threads", "1")) == 0
    assert content(run) == content(local)
    told = [json.loads(p.read_text()) for p in sorted(run.glob("manifest/*"))]
    assert f"{socket.gethostname()}:{os.getpid()}" not in {m["writer"] for m in told}


@pytest.fixture(scope="module")
def bucket(s3_server: str) -> Iterator[str]:
    """A bucket of an S3 server on this machine."""
    import fsspec

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", s3_server)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        for name in ("runs", "bucket"):  # the second is that of docs/running.md
            fsspec.filesystem("s3").mkdir(name)
        yield "s3://runs"


def test_object_store(
    local: Path, prompts: Path, bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run in two parts is resumed, followed, refused with a change, and fetched."""
    url = f"{bucket}/first/run"
    assert main(command(url, prompts, "--part", "1/2", "--workers", "1")) == 0
    told = status(RunFolder.open(url))
    assert (told["complete"], told["shards_done"], told["shards"]) == (False, 2, 4)
    assert main(command(url, prompts, "--workers", "2")) == 0
    assert main(command(url, prompts, "--workers", "1", "--threshold", "0.1")) == 2
    assert "threshold: 0.15 -> 0.1" in capsys.readouterr().err
    assert main(["status", url, "--json"]) == 5  # one prompt is black throughout
    assert json.loads(capsys.readouterr().out)["complete"] is True
    assert main(["fetch", url, str(tmp_path / "copy")]) == 0
    assert content(tmp_path / "copy") == content(local)
    assert not RunFolder.open(tmp_path / "copy").pending()
    assert main(["report", str(tmp_path / "copy")]) == 5


def test_object_store_that_is_gone(prompts: Path, bucket: str) -> None:
    with pytest.raises(StoreError, match="cannot be"):
        audit(
            "s3://no-such-bucket/run",
            Config(source="custom", generations=24),
            sampler=__import__("tests.support.synthetic", fromlist=["x"]).SyntheticSampler(),
            prompts=PROMPTS,
            quiet=True,
        )


def test_slurm(
    slurm: None,
    local: Path,
    prompts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'kernels'}")
    run = tmp_path / "run"
    more = ["--launcher", "slurm", "--tasks", "2", "--sbatch=--time=10", "--workers", "1", "--json"]
    assert main(command(run, prompts, *more)) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["job"].isdecimal()
    wait_for(lambda: not output("squeue", "-h", "-j", told["job"]).strip(), "the array's end")
    logs = "\n".join(p.read_text() for p in run.glob("slurm/*.log"))
    assert not RunFolder.open(run).pending(), logs
    assert content(run) == content(local)
    assert len(list(run.glob("slurm/*_*.log"))) == 2


def run_guide(heading: str, folder: Path) -> None:
    """Does in ``folder`` what docs/running.md says under a heading, but for installing and for the keys of a real store."""
    text = (ROOT / "docs" / "running.md").read_text("utf-8")
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    assert blocks, heading
    lines = [x for x in "".join(blocks).splitlines() if not x.startswith(("pip install", "export AWS_"))]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}"}
    words = ["bash", "-euo", "pipefail", "-c", "\n".join(lines)]
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def guided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the guide was followed up to the report of a run on one machine."""
    folder = tmp_path_factory.mktemp("guide")
    for heading in ("Prompts", "A plan", "One machine", "What was found"):
        run_guide(heading, folder)
    return folder


def test_the_guide_on_one_machine(guided: Path) -> None:
    rows = RunFolder.open(guided / "run").findings()
    assert len(rows) == 1000
    assert sum(row["status"] == "finding" for row in rows) == 10
    assert (guided / "run" / "report" / "index.html").stat().st_size > 10_000


@pytest.mark.parametrize("heading", ["Ray", "SLURM", "An object store"])
def test_the_guide(heading: str, guided: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The other places of docs/running.md, with its own commands: the same findings as on one machine."""
    if heading == "Ray":
        pytest.importorskip("ray", reason="the extra ray is not installed")
    else:
        request.getfixturevalue("slurm" if heading == "SLURM" else "bucket")
    shutil.copy(guided / "prompts.txt", tmp_path)
    run_guide(heading, tmp_path)
    if heading == "SLURM":
        wait_for(lambda: not output("squeue", "-h").strip(), "the array's end")
    assert content(tmp_path / "run") == content(guided / "run")


def test_the_script_of_an_array(
    prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local: Path
) -> None:
    """Without a SLURM: each task's step, run by bash."""
    from memcore.engine.launchers.slurm import script

    monkeypatch.chdir(ROOT)
    run = tmp_path / "a run"
    text = script(
        run, without_launcher(command(run, prompts, "--workers", "1")), 2, ["--time=10"], run / "slurm"
    )
    for task in ("1", "2"):
        env = {**os.environ, "SLURM_ARRAY_TASK_ID": task, "PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}"}
        done = subprocess.run(["bash", "-c", text], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert content(run) == content(local)


def test_status_before_the_first_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run" / "slurm").mkdir(parents=True)
    (tmp_path / "run" / "slurm" / "array.sh").write_text("#!/bin/bash\n")
    assert main(["status", str(tmp_path / "run")]) == 0
    assert "no task has begun" in capsys.readouterr().out
    assert main(["status", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["waiting"] is True
    assert main(["status", str(tmp_path)]) == 2


def test_status_of_an_object_store_before_the_first_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The script is not in the bucket but where it was submitted, and there alone the run is known."""
    monkeypatch.chdir(tmp_path)
    assert main(["status", "memory://bucket/waiting"]) == 2
    assert "run.toml" in capsys.readouterr().err
    (tmp_path / "slurm-waiting" / "slurm").mkdir(parents=True)
    (tmp_path / "slurm-waiting" / "slurm" / "array.sh").write_text("#!/bin/bash\n")
    assert main(["status", "memory://bucket/waiting"]) == 0
    assert "no task has begun" in capsys.readouterr().out


def test_wrong_launch_flags(prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, text in (
        (["--tasks", "2"], "tasks and sbatch need --launcher slurm"),
        (["--launcher", "slurm"], "needs --tasks"),
        (["--ray-address", "auto"], "ray-address needs --launcher ray"),
        (["--launcher", "slurm", "--tasks", "2", "--sbatch=time"], "must be an option of sbatch"),
    ):
        assert main(command(tmp_path / "run", prompts, *more)) == 2
        assert text in capsys.readouterr().err
    assert sys.version_info >= (3, 11)


def test_two_launchers_at_once_do_no_harm(
    local: Path, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no lock is heard, as between two machines: both do all, at the same time, and the run is right."""
    program = "import fcntl, sys; fcntl.flock = lambda *a: None; "
    program += "from memcore.cli import main; sys.exit(main())"
    run = tmp_path / "run"
    words = [sys.executable, "-c", program, *command(run, prompts, "--workers", "1")]
    both = [subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert content(run) == content(local)
    from memcore.report.run import read_run

    assert read_run(run).done == len(PROMPTS)
