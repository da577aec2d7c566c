"""Runs of older versions are read as they were written, or refused with what to do; those of newer ones are refused.

``data/format-1-early`` and ``data/format-1-late`` were made by memcore itself when format 1 was young (no stored pairs, no
reasons for stopping) and when it was last current; the JSON beside each is what that version read back.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from memcore.audit import audit
from memcore.cli import main
from memcore.errors import RunError
from memcore.evaluation.evaluate_run import evaluate_run
from memcore.report.run import read_run
from memcore.runs.folder import RunFolder
from memcore.runs.reading import FORMAT
from memcore.runs.status import status
from memcore.runs.summary import summary
from tests.support.synthetic import SyntheticSampler

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(params=["format-1-early", "format-1-late"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A copy of the old run, and what the memcore that made it read of it."""
    shutil.copytree(DATA / request.param, tmp_path / "run")
    return tmp_path / "run", json.loads((DATA / f"{request.param}.json").read_text("utf-8"))


def without_added(rows: list[dict[str, Any]], then: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the columns of that time; what was added since must be null."""
    known = set(then[0]) if then else set()
    assert all(value is None for row in rows for name, value in row.items() if name not in known)
    return [{name: value for name, value in row.items() if name in known} for row in rows]


def test_it_holds_what_it_held(old: tuple[Path, dict[str, Any]]) -> None:
    path, then = old
    folder = RunFolder.open(path)
    assert folder.meta["run"]["format"] == 1 < FORMAT
    assert list(folder.prompts) == then["prompts"]
    assert not folder.pending()
    assert without_added(folder.findings(), then["findings"]) == then["findings"]
    assert without_added(folder.quarantine(), then["quarantine"]) == then["quarantine"]
    assert without_added(folder.matches() or [], then["matches"]) == then["matches"]


def test_every_count_of_it_is_right(old: tuple[Path, dict[str, Any]]) -> None:
    """Its manifests do not count findings and failures, as later ones do."""
    path, then = old
    folder = RunFolder.open(path)
    found = sum(row["status"] == "finding" for row in then["findings"])
    failed = sum(row["status"] == "failed" for row in then["findings"])
    told = status(folder)
    assert (told["complete"], told["findings"], told["failed"]) == (True, found, failed) == (True, 1, 1)
    counted = summary(folder)
    assert (counted["candidates"], counted["failed"], counted["extracted"]) == (1, 1, 1)
    read = read_run(path)
    assert (len(read.findings), len(read.failures), read.done) == (1, 1, len(then["prompts"]))


@pytest.mark.parametrize(
    "command", [["status"], ["evaluate", "--against", "matches"], ["report"]], ids=lambda c: c[0]
)
def test_commands_read_it(old: tuple[Path, dict[str, Any]], command: list[str], capsys: Any) -> None:
    # one of its prompts failed: what says its verdict ends with 5
    code = 0 if command[0] == "evaluate" else 5
    assert main([command[0], str(old[0]), *command[1:]]) == code, capsys.readouterr().err


def test_its_evaluation(old: tuple[Path, dict[str, Any]]) -> None:
    stage = evaluate_run(old[0], against="matches")["stages"]["candidates"]
    assert (stage["tp"], stage["fp"], stage["fn"]) == (1, 0, 0)


def test_it_is_not_gone_on_with(old: tuple[Path, dict[str, Any]]) -> None:
    path, then = old
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    config = RunFolder.open(path).config
    with pytest.raises(RunError, match=r"was made by memcore 0\.1\.0 \(run format 1\); it can be read"):
        audit(path, config, sampler=SyntheticSampler(fail="rain"), prompts=then["prompts"], quiet=True)
    after = {p: p.read_bytes() for p in path.rglob("*") if p.is_file() and p.name != ".lock"}
    assert after == before


@pytest.mark.parametrize("number", [FORMAT + 1, 99])
def test_a_newer_one_is_refused_by_every_command(tmp_path: Path, number: int, capsys: Any) -> None:
    run = tmp_path / "run"
    shutil.copytree(DATA / "format-1-late", run)
    toml = run / "run.toml"
    toml.write_text(re.sub("format = 1", f"format = {number}", toml.read_text("utf-8")), "utf-8")
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    truth = tmp_path / "truth.json"
    truth.write_text("{}")
    commands = (
        ["status"],
        ["evaluate", "--truth", str(truth)],
        ["report"],
        ["annotate", "--agreement"],
        ["match", "--training", str(truth)],
        ["audit", "--sampler", "tests.support.synthetic:SyntheticSampler", "--prompts", str(truth)],
    )
    for name, *rest in commands:
        assert main([name, str(run), *rest]) == 2, name
        said = capsys.readouterr().err
        assert f"run format {number}, which a newer memcore made" in said, (name, said)
        assert f"up to format {FORMAT}" in said
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("number", ["0", "-1", '"1"', "1.0", "true"])
def test_no_format_of_memcore(tmp_path: Path, number: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(DATA / "format-1-late", run)
    toml = run / "run.toml"
    toml.write_text(toml.read_text("utf-8").replace("format = 1", f"format = {number}"), "utf-8")
    with pytest.raises(RunError, match="has the run format"):
        RunFolder.open(run)


@pytest.mark.parametrize(
    "rest",
    [["evaluate", "--against", "matches"], ["report"], ["match", "--training", "x.npy"], ["annotate"]],
    ids=lambda r: r[0],
)
def test_commands_that_need_a_folder_say_how_to_get_one(rest: list[str], capsys: Any) -> None:
    assert main([rest[0], "s3://bucket/run", *rest[1:]]) == 2
    assert "memcore fetch s3://bucket/run FOLDER" in capsys.readouterr().err
