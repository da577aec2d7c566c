"""The command: one clear line and code 2 for a user's mistake, JSON where a program reads it."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from memcore.cli import main
from memcore.commands._answer import INCOMPLETE
from memcore.errors import OutageError, TransientError
from tests.support.synthetic import MEMORISED, write_stored, write_training_set

# The stored set has a prompt of which every image is black: it has no usable generation, so nothing is decided of it.


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stored(tmp_path_factory.mktemp("cli") / "stored", 30)


@pytest.fixture(scope="module")
def finished(stored: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("cli-run") / "run"
    assert main(["filter", str(run), "--images", str(stored), "--workers", "1", "--quiet"]) == INCOMPLETE
    return run


WRONG: list[tuple[list[str], str]] = [
    ([], "the following arguments are required: COMMAND"),
    (["fly"], "invalid choice: 'fly'"),
    (["audit"], "the following arguments are required: RUN"),
    (["audit", "{tmp}/new"], "model is missing"),
    (["audit", "{tmp}/new", "--model", "m"], "steps is missing"),
    (["audit", "{tmp}/new", "--steps", "many"], "argument --steps: invalid int value: 'many'"),
    (["audit", "{tmp}/new", "--config", "{tmp}/none.toml"], "none.toml does not exist"),
    (["filter", "{tmp}/new"], "images is missing"),
    (
        ["filter", "{tmp}/new", "--images", "{tmp}/none"],
        "images must be a folder, or an .npy, .tar or .parquet file",
    ),
    (["filter", "{run}", "--images", "{stored}", "--threshold", "0.2"], "threshold: 0.15 -> 0.2"),
    (
        ["filter", "{run}", "--images", "{stored}", "--threshold", "7"],
        "threshold must be a number in [0, 1], got 7.0",
    ),
    (["filter", "{run}", "--images", "{stored}", "--workers", "0"], "workers must be at least 1, got 0"),
    (["filter", "{run}", "--images", "{stored}", "--part", "3/2"], "part must look like 1/2"),
    (
        ["filter", "{tmp}/new", "--images", "{stored}", "--grid", "3", "3"],
        "grid=(3, 3) does not divide the images",
    ),
    (["match", "{tmp}/none", "--training", "x"], "is not a run folder"),
    (["match", "{run}", "--training", "{tmp}/none"], "training must be a folder of images"),
    (
        ["match", "{run}", "--training", "{tmp}/large.npy"],
        "training must hold images of the generations' shape",
    ),
    (["match", "{run}", "--training", "{tmp}/floats.npy"], "must hold uint8 (N, H, W, C), got float64"),
    (["evaluate", "{run}", "--truth", "{tmp}/none.json"], "cannot be read"),
    (["evaluate", "{run}", "--truth", "{tmp}/empty.json"], 'truth must be JSON with "format": 1'),
    (["evaluate", "{run}", "--truth", "{tmp}/few.json"], "truth lacks 7 of the run's prompts"),
    (["report", "{tmp}/none"], "is not a run folder"),
]


@pytest.mark.parametrize(("arguments", "text"), WRONG)
def test_wrong_usage(
    arguments: list[str],
    text: str,
    finished: Path,
    stored: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    np.save(tmp_path / "large.npy", np.zeros((2, 64, 64, 3), np.uint8))
    np.save(tmp_path / "floats.npy", np.zeros((2, 16, 16, 3)))
    (tmp_path / "empty.json").write_text("{}")
    (tmp_path / "few.json").write_text('{"format": 1, "prompts": []}')
    filled = [a.format(tmp=tmp_path, run=finished, stored=stored) for a in arguments]
    assert main(filled) == 2
    said = capsys.readouterr()
    assert text in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_filter_match_evaluate_report(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = write_training_set(tmp_path)
    capsys.readouterr()
    assert main(["match", str(finished), "--training", str(training), "--json"]) == INCOMPLETE
    assert json.loads(capsys.readouterr().out)["extracted"] == len(MEMORISED)
    assert main(["evaluate", str(finished), "--truth", str(tmp_path / "truth.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stages"]["extracted"]["recall"]["value"] == 1.0
    assert main(["evaluate", str(finished), "--truth", str(tmp_path / "truth.json")]) == 0
    assert "extracted: precision 1.000 [0.158, 1.000]" in capsys.readouterr().out
    assert main(["report", str(finished)]) == INCOMPLETE
    path, not_decided = capsys.readouterr().out.splitlines()
    assert not_decided == "not decided: 1 prompt had fewer than 10 usable generations"
    page = Path(path)
    assert page == finished / "report" / "index.html"
    assert "a red fox" in page.read_text("utf-8")


def test_toml_has_the_names_of_the_flags(
    stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.toml"
    file.write_text(f'images = "{stored}"\nmin-clique = 5\ngrid = [2, 2]\nthreshold = 0.1\n')
    run = tmp_path / "run"
    arguments = [
        "filter",
        str(run),
        "--config",
        str(file),
        "--threshold",
        "0.12",
        "--workers",
        "1",
        "--quiet",
        "--json",
    ]
    assert main(arguments) == INCOMPLETE
    from memcore.runs.folder import RunFolder

    config = RunFolder.open(run).config
    assert (config.min_clique, config.grid, config.threshold) == (5, (2, 2), 0.12)
    assert json.loads(capsys.readouterr().out)["candidates"] == 2
    # a run that exists needs no flags but one: whoever trusts it
    assert main(["filter", str(run), "--quiet", "--allow-incomplete", "--trust-paths"]) == 0


def test_plain_lines_in_a_log(stored: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "memcore.cli", "filter", str(tmp_path / "run"), "--images", str(stored)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == INCOMPLETE, done.stderr
    assert "filter run: 210 of 210 images" in done.stderr
    assert "\r" not in done.stderr
    assert "2 prompts with a clique" in done.stdout


def test_help_names_units_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--help"]) == 0
    text = capsys.readouterr().out
    assert "tiled l2 of an edge, in [0, 1] (default: 0.15)" in " ".join(text.split())


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    import memcore

    assert main(["info", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["isa"]["available"] == list(memcore.isa.available())
    assert result["cuda_library"]["built"] is False
    assert main(["info"]) == 0
    lines = capsys.readouterr().out
    assert f"{memcore.isa.active()} runs" in lines
    assert "GPU, Triton kernels:" in lines
    assert f"torch {importlib.metadata.version('torch')}" in lines
    assert "no run on a GPU is on record" in lines


@pytest.mark.parametrize("error", [OutageError("the sampler does not answer"), TransientError("HTTP 503")])
def test_an_outage_is_resumable(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It could be done, later: 3, as after an interrupt, and not 1."""

    def stop(arguments: object) -> None:
        raise error

    monkeypatch.setattr("memcore.commands.info.run", stop)
    assert main(["info"]) == 3
    assert str(error) in capsys.readouterr().err
