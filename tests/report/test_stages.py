"""The page works at every stage of a run, however little of it is there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from memcore.audit import audit
from memcore.errors import DamagedFileError
from memcore.matching.match_run import match_run
from memcore.runs import schema
from memcore.runs.config import Config
from memcore.runs.folder import ShardRecord
from memcore.runs.start import RunStart
from tests.support import report_runs
from tests.support.drawn import near_copies, picture
from tests.support.report_page import assert_inert, copy_run, empty_run, render_page
from tests.support.report_runs import RunWriter, finding_row
from tests.support.sealing import write_evaluation
from tests.support.synthetic import MEMORISED, PROMPTS, SyntheticSampler


def test_before_matching(run: Path, tmp_path: Path) -> None:
    evaluation = json.loads((run / "evaluation.json").read_text())
    del evaluation["stages"]["extracted"]
    copy_run(run, tmp_path, "matches.parquet", "match.json", "evaluation.json")
    write_evaluation(tmp_path, evaluation)
    page = render_page(tmp_path)
    assert "18 of 50 prompts repeat one picture again and again" in page.text()
    assert "not yet compared with a training set" in page.text()
    assert "Candidate" in page.text("finding-1")
    assert "training image" not in page.text("finding-1").lower()
    assert "precision 0.938" in page.text(), "the candidates' precision"
    assert_inert(page)


def test_before_evaluation(run: Path, tmp_path: Path) -> None:
    page = render_page(copy_run(run, tmp_path, "evaluation.json"))
    assert "17 of 50 prompts reproduce training images" in page.text()
    assert "Against what was planted" not in page.text()
    assert [a["aria-labelledby"] for a in page.all("svg") if "aria-labelledby" in a] == ["plot-distances"]


def test_without_findings(tmp_path: Path) -> None:
    empty_run(tmp_path).write(count=5)
    page = render_page(tmp_path)
    # an unfinished run gives no all-clear, nor the part of it that is done
    assert "Not decided: 2 of 5 prompts are not done" in page.text()
    assert "For none of the 3 prompts that were decided, at least 10 of these are nearly" in page.text()
    assert "None of" not in page.text()
    assert "Unfinished: 3 of 5 prompts are done" in page.text()
    assert "Nothing was quarantined" in page.text()
    assert not page.all("img")


def test_with_candidates_but_no_extraction(tmp_path: Path) -> None:
    writer = empty_run(tmp_path)
    pictures = near_copies(picture(1), 10, 0.03, 1)
    clique = writer.add_clique(9, pictures)
    writer.rows.append(finding_row(9, "nine", [clique]))
    writer.add_match(9, clique, pictures, 2, picture(2), 1)
    writer.write()
    text = render_page(tmp_path).text()
    assert "None of 4 prompts reproduces a training image" in text
    assert "but none lies within a tiled l2 of 0.15 of one of the 464 training images" in text


def test_before_the_first_shard(tmp_path: Path) -> None:
    RunWriter(tmp_path).write(count=8, matched=False)
    text = render_page(tmp_path).text()
    assert "No prompt is finished yet" in text
    assert "0 of 8 prompts are done" in text


def test_a_shard_without_manifest_does_not_count(run: Path, tmp_path: Path) -> None:
    copy_run(run, tmp_path, "matches.parquet", "match.json", "evaluation.json")
    sorted((tmp_path / "manifest").iterdir())[1].unlink()
    assert "of 25 prompts" in render_page(tmp_path).text()


def test_missing_pictures(run: Path, tmp_path: Path) -> None:
    copy_run(run, tmp_path, "training/00000000.png")
    shutil.rmtree(tmp_path / "images" / "000001")
    page = render_page(tmp_path)
    assert len(page.cards()) == 18
    absent = [a for a in page.all("span") if a.get("class") == "absent"]
    assert len(absent) == 13


@pytest.mark.parametrize("folder", ["training", "images"])
def test_a_picture_that_is_not_the_recorded_one(run: Path, tmp_path: Path, folder: str) -> None:
    """Nobody is shown a picture that the run does not vouch for."""
    copy_run(run, tmp_path)
    shown = sorted((tmp_path / folder).rglob("*.png"))[0]
    other = sorted((tmp_path / folder).rglob("*.png"))[1].read_bytes()
    shown.unlink()
    shown.write_bytes(other)
    with pytest.raises(DamagedFileError, match=f"{shown} is damaged"):
        render_page(tmp_path)


def test_several_cliques_of_a_prompt(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path)
    large, small = near_copies(picture(1), 14, 0.03, 1), near_copies(picture(2), 11, 0.05, 2)
    first, second = writer.add_clique(0, large), writer.add_clique(0, small)
    second["seeds"] = [s + 1 for s in second["seeds"]]
    second["medoid_seed"] += 1
    for seed, image in zip(second["seeds"], small, strict=True):
        writer.save_image(0, seed, image)
    writer.rows.append(finding_row(0, "two pictures", [first, second]))
    writer.add_match(0, first, large, 5, picture(5), 1)
    writer.add_match(0, second, small, 2, picture(2), 3)
    writer.matches[-1]["clique"] = 1
    writer.write()
    page = render_page(tmp_path)
    text = page.text("finding-1")
    assert "1 of 1 prompt reproduces training images" in page.text()
    assert "Clique 2 of 2 of this prompt" in text
    assert f"Ranked by the largest, whose mean distance is {first['mean_distance']:.4f}" in text
    assert "Clique 11 of 64" in text
    assert "Eidetic k = 3" in text
    assert "train/00005.png" in text, "the other clique's match"


def test_small_pictures_keep_their_pixels(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path)
    for i, side in enumerate((16, 32, 40)):
        clique = writer.add_clique(i, near_copies(picture(i, side), 10, 0.03, i))
        writer.rows.append(finding_row(i, "small", [clique]))
    writer.write(matched=False)
    pixelated = {a["width"]: "pixelated" in a.get("class", "") for a in render_page(tmp_path).all("img")}
    assert pixelated == {"16": True, "32": True, "40": False}


def test_a_run_written_by_the_store(tmp_path: Path) -> None:
    run = RunStart(
        tmp_path / "run", Config(source="custom", generations=64, shard_prompts=4), ["one", "two"]
    ).create("print", {"kind": "callable"})
    pictures = near_copies(picture(1), 10, 0.03, 1)
    clique = report_runs.described(pictures, range(10))
    for seed, image in enumerate(pictures):
        run.write_image(0, seed, image)
    rows = [finding_row(0, "one", [clique]), finding_row(1, "two", [])]
    run.write_shard(run.shards()[0], ShardRecord(rows, [], {"sample": 1.0}))
    page = render_page(run.path)
    assert "1 of 2 prompts repeats one picture" in page.text()
    assert len(page.all("img")) == 10


def test_a_run_of_the_audit(audited: Path) -> None:
    page = render_page(audited)
    assert_inert(page)
    text = page.text()
    assert f"{len(MEMORISED)} of {len(PROMPTS)} prompts reproduce training images" in text
    assert "generations 280 40 a prompt" in text
    assert "40 black or constant images of 1 prompt were counted and never compared" in text
    assert "2 prompts must be found, 5 must not, and 0 in between" in text
    assert sorted(page.text(f"{card}-title") for card in page.cards()) == sorted(MEMORISED)
    assert len([a for a in page.all("svg") if "aria-labelledby" in a]) == 3
    assert "Extracted" in page.text("finding-1")


def test_an_unfinished_audit(tmp_path: Path) -> None:
    config = Config(source="custom", generations=12, shard_prompts=1)
    prompts = ["a green hill", "rain", "a door"]
    sampler = SyntheticSampler(fail="a green hill")
    done = audit(tmp_path / "run", config, sampler=sampler, prompts=prompts, part=(1, 2), quiet=True)
    page = render_page(done.path)
    assert "Unfinished: 2 of 3 prompts are done" in page.text()
    assert "Not decided: 1 of 3 prompts is not done; 1 of 3 prompts failed" in page.text()
    assert "For none of the 1 prompt that was decided" in page.text()
    assert "None of" not in page.text()
    assert "0 a green hill sampler" in page.text("excluded")
    assert "sampler 1 the sampler raised for this prompt" in page.text("excluded")


def test_another_audit_beside(audited: Path, tmp_path: Path) -> None:
    config = Config(source="custom", generations=40, threshold=0.2)
    other = audit(tmp_path / "other", config, sampler=SyntheticSampler(), prompts=PROMPTS[:1], quiet=True)
    np.save(tmp_path / "far.npy", np.zeros((3, 16, 16, 3), np.uint8))
    match_run(other.path, tmp_path / "far.npy")
    text = render_page(audited, other.path).text("compared")
    assert "threshold 0.2 instead of 0.15: of 1 prompt, 1 has a clique" in text
    assert "For 1 of them no training image lies within" in text


@pytest.mark.parametrize("name", ["FINDINGS", "QUARANTINE", "MATCHES"])
def test_the_fixture_has_the_formats_of_the_store(name: str) -> None:
    assert getattr(report_runs, name).equals(getattr(schema, name))


def test_an_evaluation_against_matches_claims_nothing_planted(run: Path, tmp_path: Path) -> None:
    evaluation = json.loads((run / "evaluation.json").read_text())
    for entry in evaluation["prompts"]:
        entry |= {"copies": 0, "expected": False}
    copy_run(run, tmp_path, "evaluation.json")
    write_evaluation(tmp_path, {**evaluation, "against": "matches"})
    page = render_page(tmp_path)
    assert "Evaluation against the extractions" in page.text("evaluation")
    assert "planted" not in " ".join(page.text(card) for card in page.cards()).lower()
