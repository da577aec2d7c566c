"""Finished runs of format 2 are read as they were written; unfinished ones are refused in words, and nothing is changed.

``data/format-2/finished`` and ``data/format-2/stopped`` are one run, whole and interrupted in its second shard.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from memcore.audit import audit
from memcore.cli import main
from memcore.errors import RunError
from memcore.evaluation.evaluate_run import evaluate_run
from memcore.matching.match_run import match_run
from memcore.report.run import read_run
from memcore.runs.folder import RunFolder
from memcore.runs.status import status
from memcore.runs.summary import summary
from tests.support.stored_runs import CONFIG
from tests.support.synthetic import PROMPTS, SyntheticSampler, write_training_set

DATA = Path(__file__).parents[1] / "data" / "format-2"


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / "finished", tmp_path / "run"))


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / "stopped", tmp_path / "run"))


def files(run: Path) -> dict[str, bytes]:
    """Return the content of every file but locks."""
    found = (p for p in sorted(run.rglob("*")) if p.is_file() and not p.name.startswith(".lock"))
    return {str(p.relative_to(run)): p.read_bytes() for p in found}


def test_a_finished_one_is_read(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the run folder, the status, the summary, the report's reader and the commands."""
    folder = RunFolder.open(finished)
    assert not folder.pending()
    assert list(folder.prompts) == PROMPTS
    assert folder.config == CONFIG
    prompts = sum(m["prompts"] for m in folder.manifests())
    told, counted, read = status(folder), summary(folder), read_run(finished)
    assert told["complete"]
    assert prompts == told["prompts_done"] == counted["done"] == read.done == len(folder.findings())
    found = sum(row["status"] == "finding" for row in folder.findings())
    assert found == told["findings"] == counted["candidates"] == len(read.findings) == 2
    failed = sum(row["status"] == "failed" for row in folder.findings())
    assert (failed, len(folder.quarantine())) == (1, 1)
    for row in folder.findings():
        assert row["images"] is None
        assert all(folder.image_path(row["prompt_id"], seed).exists() for seed in row["seeds"])
    assert main(["status", str(finished), "--json"]) == 5  # a prompt failed
    assert json.loads(capsys.readouterr().out)["prompts_done"] == prompts
    assert main(["report", str(finished)]) == 5


def test_a_finished_one_is_matched_evaluated_and_reported(finished: Path, tmp_path: Path) -> None:
    training = write_training_set(tmp_path)
    assert sum(row["extracted"] for row in match_run(finished, training)) == 2
    assert evaluate_run(finished, tmp_path / "truth.json")["stages"]["extracted"]["tp"] == 2
    assert not read_run(finished).stale
    match_run(finished, training, delta=0.0001)
    (stale,) = read_run(finished).stale
    assert stale.text.startswith("evaluation.json was made from other matches")


def test_nothing_is_added_to_a_finished_one(finished: Path) -> None:
    before = files(finished)
    for options in ({}, {"retry": True}, {"retry_failed": True}):
        with pytest.raises(
            RunError, match=r"was made by memcore 0\.1\.0 \(run format 2\); it can be read, but nothing"
        ):
            audit(
                finished,
                CONFIG,
                sampler=SyntheticSampler(fail="rain"),
                prompts=PROMPTS,
                quiet=True,
                **options,  # type: ignore[arg-type]
            )
    assert files(finished) == before


def test_an_unfinished_one_is_refused_by_every_command(stopped: Path, tmp_path: Path, capsys: Any) -> None:
    before = files(stopped)
    (tmp_path / "prompts.txt").write_text("".join(f"{p}\n" for p in PROMPTS))
    commands = (
        ["status"],
        ["report"],
        ["evaluate", "--against", "matches"],
        ["annotate"],
        ["annotate", "--agreement"],
        ["match", "--training", str(write_training_set(tmp_path))],
        [
            *("audit", "--sampler", "tests.support.synthetic:SyntheticSampler"),
            *("--prompts", str(tmp_path / "prompts.txt")),
        ],
    )
    for name, *rest in commands:
        assert main([name, str(stopped), *rest]) == 2, name
        said = capsys.readouterr().err
        assert (
            f"{stopped} is an unfinished run of format 2, which has no digests of its files: 4 of 7" in said
        ), name
        assert (
            "Finish it with the version that made it, memcore 0.1.0, or start it again in another folder"
            in said
        )
    with pytest.raises(RunError, match="unfinished run of format 2"):
        audit(stopped, CONFIG, sampler=SyntheticSampler(fail="rain"), prompts=PROMPTS, quiet=True)
    assert files(stopped) == before
