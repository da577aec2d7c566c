"""No derived file is shown as current once something that it was made from has changed (N-W6, and every other such pair)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memcore.annotate.agreement import read_agreement
from memcore.annotate.gallery import Gallery
from memcore.audit import audit
from memcore.cli import main
from memcore.errors import RunError, StoreError
from memcore.evaluation.evaluate_run import evaluate_run
from memcore.matching.match_run import match_run
from memcore.report.run import read_run
from memcore.runs.annotations import Annotations
from memcore.runs.folder import RunFolder
from memcore.runs.status import status
from memcore.runs.summary import summary
from memcore.storage.local import LocalStorage
from tests.support.report_page import Page, render_page
from tests.support.run_files import config
from tests.support.synthetic import PROMPTS, SyntheticSampler, write_training_set

NEAR = 0.0001


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fresh")
    audit(
        folder / "run",
        config(generations=24),
        sampler=SyntheticSampler(fail="rain"),
        prompts=PROMPTS,
        quiet=True,
    )
    write_training_set(folder)
    return folder


@pytest.fixture
def folder(audited: Path, tmp_path: Path) -> Path:
    """A folder with the run, its training set and truth.json."""
    return Path(shutil.copytree(audited, tmp_path / "work"))


@pytest.fixture
def run(folder: Path) -> Path:
    return folder / "run"


def stale_files(run: Path) -> list[str]:
    """Return the files that are stale to the page and to the status alike."""
    read = [entry.as_dict() for entry in read_run(run).stale]
    assert read == status(RunFolder.open(run))["stale"] == summary(RunFolder.open(run))["stale"]
    return [entry["file"] for entry in read]


def label(run: Path, *labels: str) -> None:
    """Let one annotator label the first findings."""
    gallery = Gallery(run)
    order = [(shown.prompt_id, shown.clique) for shown in gallery.items]
    with Annotations.create(run, gallery.digest, order, gallery.shown_digest) as opened:
        before = len(opened.labels(1))
        for item, said in enumerate(labels):
            opened.append(f"{before}-{item}", 1, item, said)


def words(*commands: Sequence[str], capsys: Any) -> str:
    for command in commands:
        main(list(command))
    return str(capsys.readouterr().out)


def test_an_evaluation_of_other_matches(run: Path, folder: Path, capsys: Any) -> None:
    """N-W6: match, evaluate, match with another delta, report."""
    training = str(folder / "train.npy")
    main(["match", str(run), "--training", training])
    main(["evaluate", str(run), "--against", "matches"])
    main(["evaluate", str(run), "--truth", str(folder / "truth.json")])
    assert stale_files(run) == []
    assert "precision 1.000" in render_page(run).text()
    main(["match", str(run), "--training", training, "--delta", str(NEAR)])
    assert stale_files(run) == ["evaluation.json", "report/index.html"]
    page = render_page(run).text()
    assert "precision" not in page
    why = "evaluation.json was made from other matches than the run has now: give memcore evaluate --truth FILE again"
    assert f"Not used on this page, since the run has changed after it was made: {why}" in page
    assert f"stale: {why}\n" in words(["report", str(run)], capsys=capsys)
    said = words(["status", str(run), "--json"], capsys=capsys)
    assert json.loads(said)["stale"] == [{"file": "evaluation.json", "text": why}]
    main(["evaluate", str(run), "--truth", str(folder / "truth.json")])
    assert "precision unknown" in render_page(run).text()
    assert stale_files(run) == []


def test_the_same_match_again_changes_nothing(run: Path, folder: Path) -> None:
    for _ in range(2):
        match_run(run, folder / "train.npy")
        if not (run / "evaluation.json").exists():
            evaluate_run(run, against="matches")
    assert stale_files(run) == []


def test_an_evaluation_from_before_the_match(run: Path, folder: Path) -> None:
    evaluate_run(run, folder / "truth.json")
    assert stale_files(run) == []
    match_run(run, folder / "train.npy")
    (stale,) = read_run(run).stale
    assert stale.text == (
        "evaluation.json was made before the run was matched: give memcore evaluate --truth FILE again"
    )


def test_matches_of_other_findings(run: Path, folder: Path, capsys: Any) -> None:
    """Prompts that failed are sampled again after the match."""
    match_run(run, folder / "train.npy")
    evaluate_run(run, against="matches")
    label(run, "copy")
    again = audit(
        run,
        config(generations=24),
        sampler=SyntheticSampler(),
        prompts=PROMPTS,
        quiet=True,
        retry_failed=True,
    )
    assert not [row for row in again.findings() if row["status"] == "failed"]
    assert stale_files(run) == ["matches.parquet", "annotations.sqlite", "evaluation.json"]
    assert "extracted" not in summary(again)
    page = render_page(run).text()
    assert "They were not yet compared with a training set, so these are candidates and no proof." in page
    why = "matches.parquet was made from other findings than the run has now: give memcore match again"
    assert why in page
    for refused in (
        lambda: again.matches(),
        lambda: evaluate_run(run, against="matches"),
        lambda: evaluate_run(run, folder / "truth.json"),
        lambda: Gallery(run),
    ):
        with pytest.raises(RunError, match=why):
            refused()
    match_run(run, folder / "train.npy")
    # the pictures that were labelled are the same again, so the labels count
    assert stale_files(run) == ["evaluation.json", "report/index.html"]


def test_annotations_of_other_pictures(run: Path, folder: Path, capsys: Any) -> None:
    match_run(run, folder / "train.npy")
    label(run, "copy", "no")
    render_page(run)
    others = np.load(folder / "train.npy")
    np.save(folder / "other.npy", others[::-1])
    match_run(run, folder / "other.npy")
    assert stale_files(run) == ["annotations.sqlite", "report/index.html"]
    page = render_page(run)
    assert 'id="annotations"' not in page.html
    why = "annotations.sqlite was made with other pictures than the run shows now"
    assert why in page.text()
    with pytest.raises(RunError, match=why):
        read_agreement(run)
    with pytest.raises(RunError, match=why):
        evaluate_run(run, against="annotations")
    with pytest.raises(RunError, match=why):
        label(run, "copy")
    match_run(run, folder / "train.npy")
    assert read_agreement(run)["annotators"]["1"] == {"copy": 1, "no": 1, "unsure": 0}


def test_labels_count_after_a_match_that_shows_the_same_pictures(run: Path, folder: Path) -> None:
    match_run(run, folder / "train.npy")
    label(run, "copy", "no")
    match_run(run, folder / "train.npy", delta=NEAR)
    assert stale_files(run) == []
    assert evaluate_run(run, against="annotations")["stages"]["candidates"]["tp"] == 1


def test_an_evaluation_of_fewer_labels(run: Path, folder: Path) -> None:
    match_run(run, folder / "train.npy")
    label(run, "copy")
    evaluate_run(run, against="annotations")
    match_run(run, folder / "train.npy", delta=NEAR)  # of which such an evaluation says nothing
    assert stale_files(run) == []
    label(run, "no")
    (stale,) = read_run(run).stale
    assert stale.text == (
        "evaluation.json was made from other annotations than the run has now: give memcore evaluate "
        "--against annotations again"
    )


def test_a_report_that_is_older_than_what_it_shows(run: Path, folder: Path) -> None:
    render_page(run)
    changes = (
        (lambda: match_run(run, folder / "train.npy"), "matches"),
        (lambda: label(run, "copy"), "annotations"),
        (lambda: evaluate_run(run, against="annotations"), "evaluation"),
    )
    for change, name in changes:
        change()
        (stale,) = read_run(run).stale
        assert stale.text == (
            f"report/index.html was made from other {name} than the run has now: give memcore report again"
        )
        render_page(run)
        assert stale_files(run) == []


def test_the_truth_of_an_evaluation_is_named_with_its_digest(run: Path, folder: Path) -> None:
    truth = folder / "truth.json"
    first = evaluate_run(run, truth)["made_from"]["truth"]
    assert f"The truth is {truth}, sha256 {first['sha256'][:16]}." in render_page(run).text("evaluation")
    truth.write_text(truth.read_text() + " ")
    second = evaluate_run(run, truth)["made_from"]["truth"]
    assert (second["path"], second["bytes"]) == (first["path"], first["bytes"] + 1)
    assert second["sha256"] != first["sha256"]


@pytest.mark.parametrize("against", ["matches", "truth"])
def test_an_evaluation_of_an_earlier_version(run: Path, folder: Path, against: str) -> None:
    """It has no digests: what it says of each prompt is compared with the matches."""
    match_run(run, folder / "train.npy")
    evaluate_run(run, folder / "truth.json" if against == "truth" else None, against=against)
    old = json.loads((run / "evaluation.json").read_text())
    del old["seal"], old["made_from"]
    (run / "evaluation.json").write_text(json.dumps({**old, "format": 1}))
    assert stale_files(run) == []
    assert 'id="evaluation"' in render_page(run).html
    match_run(run, folder / "train.npy", delta=NEAR)
    assert stale_files(run)[0] == "evaluation.json"
    assert 'id="evaluation"' not in render_page(run).html


def test_a_match_that_is_killed_leaves_an_unmatched_run(
    run: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    match_run(run, folder / "train.npy")
    write = LocalStorage.write

    def full(storage: LocalStorage, name: str, data: bytes) -> None:
        if name == "match.json":
            raise StoreError("no space left on device")
        write(storage, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "write", full)
        with pytest.raises(StoreError):
            match_run(run, folder / "train.npy", delta=NEAR)
    assert RunFolder.open(run).matches() is None
    assert read_run(run).matches is None
    assert "not yet compared with a training set" in render_page(run).text()
    with pytest.raises(RunError, match="was not matched: give memcore match first"):
        evaluate_run(run, against="matches")


def test_runs_beside_are_recorded_too(run: Path, folder: Path) -> None:
    other = audit(
        folder / "other", config(generations=12), sampler=SyntheticSampler(), prompts=PROMPTS[:2], quiet=True
    )
    assert isinstance(render_page(run, other.path), Page)
    record = json.loads((run / "report" / "report.json").read_text())
    assert len(record["made_from"]["compared"]) == 1
