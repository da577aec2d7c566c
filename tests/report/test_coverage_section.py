"""What the page rests on: of prompts, generations and training images, what was used and what was left out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from memcore.audit import audit
from memcore.cli import main
from memcore.report.run import read_run
from memcore.report.sections import coverage
from memcore.report.subject import make_subject
from memcore.runs.config import Config
from memcore.runs.pictures import png_bytes
from memcore.storage.digests import seal
from tests.support.report_page import render_page
from tests.support.report_runs import RunWriter, finding_row
from tests.support.synthetic import SHAPE, SyntheticSampler, training_image


def of(run: Path) -> coverage.CoverageSection:
    found = coverage.context(make_subject(read_run(run), []))
    assert found is not None
    for account in found["accounts"]:
        assert account.whole == account.used + account.lost + account.other
        ends = [begin + width for _, begin, width in account.bar]
        assert max(ends) <= 101
    return found


def test_a_run_with_failures_left_out_images_and_few_generations(tmp_path: Path) -> None:
    """Every number of the page that could be taken for an all-clear says what it lacks."""
    config = Config(source="custom", generations=30, batch_size=16)
    prompts = ["a red fox", "rain", "nothing but black", "a door"]
    run = audit(
        tmp_path / "run", config, sampler=SyntheticSampler(fail="a door"), prompts=prompts, quiet=True
    ).path
    training = tmp_path / "train"
    training.mkdir()
    for i in range(5):
        image = training_image(f"another {i}")
        (training / f"{i}.png").write_bytes(png_bytes(image if i < 2 else image[:-1]))
    (training / "README").write_text("words")
    (training / "._0.png").write_bytes(b"\0\5\26\7")
    assert main(["match", str(run), "--training", str(training)]) == 5
    text = render_page(run).text("coverage")
    assert (
        "Prompts 4 2 decided 2 : 1 of 4 prompts failed; 1 prompt had fewer than 10 usable generations none"
        in text
    )
    assert "Generations 90 60 compared none 30 black, constant or broken" in text
    assert (
        "Training images 7 2 compared 3 : other size than 16x16 1 file that is no image, 1 file of a system"
        in text
    )
    assert "wrong-size 3 another size than the run's 2.png: " in text
    assert [account.lost for account in of(run)["accounts"]] == [2, 0, 3]


def test_a_filter_says_what_became_of_each_file(tmp_path: Path) -> None:
    root = tmp_path / "images"
    (root / "a").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(14):
        image = rng.integers(0, 256, SHAPE, dtype=np.uint8)
        if i == 3:
            image[:] = 9
        (root / "a" / f"{i}.png").write_bytes(png_bytes(image) if i else b"\x89PNG damaged")
    (root / "a" / "notes.md").write_text("words")
    (root / "prompts.txt").write_text("a red fox\n")
    main(["filter", str(tmp_path / "run"), "--images", str(root), "--workers", "1", "--quiet"])
    text = render_page(tmp_path / "run").text("coverage")
    assert (
        "Generations 16 12 compared 1 : unreadable 1 text, 1 black or constant image, 1 file that is no image"
        in text
    )
    assert "The findings were not compared with a training set." in text
    of(tmp_path / "run")


def test_a_whole_run_has_full_bars(tmp_path: Path) -> None:
    config = Config(source="custom", generations=30, batch_size=16)
    run = audit(
        tmp_path / "run", config, sampler=SyntheticSampler(), prompts=["rain", "a door"], quiet=True
    ).path
    assert [(a.used, a.lost, a.other) for a in of(run)["accounts"]] == [(2, 0, 0), (60, 0, 0)]
    html = render_page(run).html
    section = html[html.index('id="coverage"') : html.index("</section>", html.index('id="coverage"'))]
    assert re.findall(r'<rect class="(\w+)" x="0.00" width="(\d+.\d+)"', section) == [("used", "100.00")] * 2
    assert '<rect class="lost"' not in section


def test_matches_of_earlier_versions(tmp_path: Path) -> None:
    """They say less: a list, or a mere number."""
    writer = RunWriter(tmp_path)
    writer.rows = [finding_row(0, "zero", [])]
    writer.write()
    about = json.loads((tmp_path / "match.json").read_text())
    about.pop("seal", None)
    for told, lost, said in (
        ({}, 0, "Training images 464 464 compared none none"),
        ({"unreadable": 3}, 3, "Training images 467 464 compared 3 : unreadable none"),
        (
            {"unreadable": [{"source": "x", "reason": "alpha", "detail": "d"}]},
            1,
            "Training images 465 464 compared 1 : transparent none",
        ),
    ):
        (tmp_path / "match.json").write_text(json.dumps(seal({**about, **told})))
        assert of(tmp_path)["accounts"][-1].lost == lost
        assert said in render_page(tmp_path).text("coverage")


def test_what_is_there_is_seen() -> None:
    """One of a million left out is no empty bar."""
    account = coverage.Account("x", 1_000_000, 999_999, "", 1, "", 0, "")
    assert [(kind, width) for kind, _, width in account.bar] == [
        ("used", pytest.approx(99.9999)),
        ("lost", 0.6),
        ("other", 0.0),
    ]


def test_nothing_is_said_before_anything_is_done(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path)
    writer.write(matched=False, count=3)
    assert 'id="coverage"' not in render_page(tmp_path).html
