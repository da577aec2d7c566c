"""Names that are not UTF-8, consoles that lack letters, file systems without locks, and names that SLURM would cut."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from memcore.cli import main
from memcore.engine.launchers import slurm
from memcore.errors import RunError
from memcore.index import build_index, open_source
from tests.support.odd_sets import picture


def generations(folder: Path, prompt: str = "a fox") -> Path:
    (folder / prompt).mkdir(parents=True)
    for i in range(3):
        (folder / prompt / f"{i}.png").write_bytes(picture(np.random.default_rng(i)))
    return folder


def memcore(*words: str | bytes | Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "memcore.cli", *words]
    return subprocess.run(command, capture_output=True, env={**os.environ, **environment}, timeout=120)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_console_that_lacks_a_letter_shows_its_escape(tmp_path: Path, encoding: str) -> None:
    run = tmp_path / "прогон"
    done = memcore(
        "filter",
        run,
        "--images",
        generations(tmp_path / "狐"),
        "--quiet",
        "--workers",
        "1",
        PYTHONIOENCODING=encoding,
    )
    assert done.returncode == 5, done.stderr  # three images are too few for a clique
    told = memcore("status", run, PYTHONIOENCODING=encoding)
    assert told.returncode == 5, told.stderr
    assert b"\\u043f\\u0440" in told.stdout
    wrong = memcore("status", tmp_path / "нет", PYTHONIOENCODING=encoding)
    assert wrong.returncode == 2
    assert b"Traceback" not in wrong.stderr


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are UTF-8 there")
def test_paths_that_are_not_utf_8_are_read(tmp_path: Path) -> None:
    images = generations(Path(os.fsdecode(os.fsencode(tmp_path) + b"/g\xe9n")))
    run, index = str(tmp_path / "run"), str(tmp_path / "index")
    assert main(["filter", run, "--images", str(images), "--quiet", "--workers", "1"]) == 5
    assert main(["filter", run, "--images", str(images), "--quiet", "--workers", "1"]) == 5
    assert main(["report", run]) == 5
    assert main(["index", index, "--source", str(images), "--quiet"]) == 0
    for against in (["--index", index, "--source", str(images)], ["--training", str(images)]):
        assert main(["match", run, *against]) == 5


def test_a_dot_is_the_folder_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images, run = generations(tmp_path / "gens"), str(tmp_path / "run")
    words = ["filter", run, "--quiet", "--workers", "1", "--images"]
    assert main([*words, str(images)]) == 5  # three images are too few for a clique
    monkeypatch.chdir(images)
    assert main([*words, "."]) == 5
    assert main([*words, "../gens"]) == 5


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_an_index_is_built_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert (
        build_index(tmp_path / "index", open_source(generations(tmp_path / "set"))).sources[0]["images"] == 3
    )


def test_an_index_that_is_at_work_is_left_alone(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / "index").mkdir()
    with (tmp_path / "index" / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="another memcore process"):
            build_index(tmp_path / "index", open_source(generations(tmp_path / "set")))


@pytest.mark.parametrize("name", ["run", "my run", "o'run", 'a "b"', "a#b", "a $HOME `x`"])
def test_sbatch_reads_the_name_of_the_logs_as_it_is(name: str) -> None:
    lines = slurm.script(name, ["filter", name], 2, [], Path("/data") / name).splitlines()
    (output,) = (line for line in lines if line.startswith("#SBATCH --output="))
    assert shlex.split(output.removeprefix("#SBATCH ")) == [f"--output=/data/{name}/%A_%a.log"]
    assert ('"' in output) == (name != "run")


def test_percent_signs_are_no_patterns_and_a_job_opens_its_log_where_sbatch_cannot() -> None:
    assert "--output=/data/100%%done/%A_%a.log" in slurm.script(
        "x", ["filter", "x"], 2, [], Path("/data/100%done")
    )
    lines = slurm.script("x", ["filter", "x"], 2, [], Path("/data/a\nb"))
    assert "#SBATCH --output=/dev/null\n" in lines
    assert """exec >>'/data/a\nb'/"${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}.log" 2>&1\n""" in lines


def test_filter_is_submitted_as_an_audit_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "sbatch").write_text("#!/bin/sh\necho '77;cluster'\n")
    (tools / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    images, run = generations(tmp_path / "gens"), tmp_path / "run"
    words = ["filter", str(run), "--images", str(images), "--launcher", "slurm", "--tasks", "2"]
    assert main(words) == 0
    script = (run / "slurm" / "array.sh").read_text()
    assert f"memcore.cli filter {run} --images {images} --part" in script
