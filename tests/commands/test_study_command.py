"""``memcore study``: its actions, and the old form that named a folder alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memcore.cli import main
from memcore.commands.study import with_action
from tests.support.study_sets import write_tiny


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["study", "out"], ["study", "train", "out"]),
        (["study", "out", "--steps", "3"], ["study", "train", "out", "--steps", "3"]),
        (["study", "--steps", "3", "out"], ["study", "train", "--steps", "3", "out"]),
        (["study", "--json", "out"], ["study", "train", "--json", "out"]),
        (["study", "train", "out"], ["study", "train", "out"]),
        (["study", "--json", "status", "out"], ["study", "--json", "status", "out"]),
        (["study", "run", "quick", "out"], ["study", "run", "quick", "out"]),
        (["study"], ["study"]),
        (["study", "--help"], ["study", "--help"]),
        (["audit", "study"], ["audit", "study"]),
    ],
)
def test_a_folder_alone_means_train(words: list[str], wanted: list[str]) -> None:
    assert with_action(words) == wanted


def test_both_forms_train_the_demos_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from memcore.study import tiny_sd

    told: list[tuple[Path, object]] = []
    monkeypatch.setattr(tiny_sd, "build", lambda out, progress, steps=None: told.append((out, steps)))
    assert main(["study", str(tmp_path / "a"), "--steps", "3"]) == 0
    assert main(["study", "train", str(tmp_path / "run")]) == 0
    assert told == [(tmp_path / "a", 3), (tmp_path / "run", None)]


def test_a_study_is_planned_run_and_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """
name = "one"
about = "one model"
[data.images]
kind = "stored"
path = "{path}"
side = 8
grey = true
block = 0
[extraction]
samples = 64
steps = 2
[[groups]]
name = "sets"
findings = ["b"]
fixed = {{ n = 12, steps = 2, width = 8, batch = 4 }}
"""
    protocol, study = str(write_tiny(tmp_path, text)), str(tmp_path / "study")
    assert main(["study", "plan", protocol, "--seconds", "0.01", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"] == 1
    assert main(["study", "status", study]) == 2
    assert "holds no study" in capsys.readouterr().err
    assert main(["study", "run", protocol, study, "--workers", "1", "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models_done"] == 1
    assert main(["study", "status", study]) == 0
    assert "1 of 1 model of the protocol one (100.0 % of the work)" in capsys.readouterr().out
    assert main(["study", "report", study]) == 0
    assert (tmp_path / "study" / "report" / "index.html").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "laptpo", "s"], "did you mean 'laptop'"),
        (["run", "laptop", "s", "--data", "fashion"], "data must look like NAME=PATH, got 'fashion'"),
        (["plan", "laptop", "--data", "fashon=x"], "did you mean 'fashion'"),
        (["plan", "laptop", "--seconds", "0"], "seconds must be more than 0"),
        (["plan", "laptop", "--data", "fashion=/nowhere"], "apt-get install dataset-fashion-mnist"),
        (["run", "laptop", "s", "--retry-failed"], "unknown flag --retry-failed"),
        (["run", "laptop", "s", "--part", "3"], "part must look like 1/2"),
    ],
)
def test_wrong_use_is_named(
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["study", *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
