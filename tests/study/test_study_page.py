"""The page of a study: one inert file that says what was shown, what was not, and what it rests on."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from memcore.study.findings import judge_study
from memcore.study.findings.plot import Plot, Point, Series
from memcore.study.findings.reading import Study
from memcore.study.protocols.protocol import Group
from memcore.study.report import as_json, write_study_report
from memcore.study.report.draw import draw
from memcore.study.statistics import auc
from tests.support.planted_study import LETTERS, files_of, study_of, with_states
from tests.support.report_page import Page, assert_inert


def _page(study: Study, folder: Path) -> Page:
    return Page(write_study_report(folder, study).read_text("utf-8"))


@pytest.fixture(scope="module")
def study() -> Study:
    return study_of()


@pytest.fixture(scope="module")
def page(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return _page(study, tmp_path_factory.mktemp("study"))


def test_nothing_runs_and_nothing_is_loaded(page: Page) -> None:
    assert_inert(page)
    assert re.findall(r"https?://[^\s\"<]+", page.html) == []
    assert "prefers-color-scheme: dark" in page.html


def test_every_finding_has_its_sentence_plot_figures_and_control(page: Page) -> None:
    assert page.cards() == [f"finding-{letter}" for letter in LETTERS]
    for letter in LETTERS:
        text = page.text(f"finding-{letter}")
        assert "5 of 5" in text
        assert re.search(r"[+−]\d\.\d{3} \([+−]\d\.\d{3} to [+−]\d\.\d{3}\)", text), "estimate and interval"
        assert "Control: " in text
        assert "Rests on" in text
        assert any(t == "title" and a.get("id") == f"plot-{letter}" for t, a in page.tags)
    assert page.text().count("Shown: the interval") == 9
    assert "9 of 9 findings shown" in page.text()


def test_ids_are_unique_and_links_lead_somewhere(page: Page) -> None:
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.all("a")} <= set(ids)


def test_pictures_stand_beside_their_training_image(page: Page) -> None:
    names = [a["alt"] for a in page.all("img")]
    assert len(names) == 24, "six settings, the strongest and the median hit, two pictures each"
    assert names[:2] == ["Training image 3", "Generation with seed 7"]
    assert "ratio 0.050" in page.text("pictures")
    assert "ratio 0.200" in page.text("pictures")


def test_a_partial_study_says_what_is_missing(study: Study, tmp_path: Path) -> None:
    part = with_states(
        study, why="loss is not finite", d1_s2="failed", a0_s4="unfinished", b1_s3="unfinished"
    )
    page = _page(part, tmp_path)
    assert "6 of 9 findings shown, 3 still open" in page.text()
    assert "4 of 5 seeds so far: not shown yet." in page.text("finding-a")
    assert "4 of 5 seeds so far (1 of the missing models failed): not shown yet." in page.text("finding-d")
    assert "d1-s2 (failed)" in page.text("finding-d")
    assert "Unfinished: 2 models not done yet" in page.text()
    assert "1 model failed. A seed with a failed model does not count" in page.text()
    assert "147 are done, 2 unfinished and 1 failed. 6 models of those done are in no figure" in page.text(
        "left-out"
    )
    assert "d1-s2: loss is not finite" in page.text("left-out")


def test_a_study_that_has_not_begun_has_a_page(study: Study, tmp_path: Path) -> None:
    page = _page(dataclasses.replace(study, states={}), tmp_path)
    assert_inert(page)
    assert "0 of 9 findings shown, 9 still open" in page.text()
    assert "0 of 5 seeds so far: not shown yet." in page.text("finding-i")
    assert "No model that is done has a picture of a hit." in page.text("pictures")


def test_opposite_and_unclear_findings_are_not_called_shown(tmp_path: Path) -> None:
    page = _page(study_of("d", effect=-1), tmp_path / "opposite")
    assert "0 of 9 findings shown, 1 opposite" in page.text()
    assert "Opposite: an interval lies below 0" in page.text("finding-d")
    assert "−0.180" in page.text("finding-d")
    assert "Not measured: no group of this protocol is for this finding." in page.text("finding-a")
    page = _page(study_of("f", effect=0), tmp_path / "unclear")
    assert "Not shown: the interval includes 0." in page.text("finding-f")
    assert "0 of 9 findings shown" in page.text()


def test_a_study_of_one_seed_is_not_called_unfinished(tmp_path: Path) -> None:
    page = _page(study_of("bd", seeds=(0,)), tmp_path)
    assert "0 of 9 findings shown" in page.text()
    assert "open" not in page.text().partition("The findings")[0]
    assert "1 of 1 seeds: not shown, since an interval needs at least two." in page.text("finding-d")
    assert "Not shown yet" not in page.text()
    assert (
        "At step 2,000 the memorised fraction beyond the control is 52\u00a0% for 32 images and 36\u00a0% for 128"
        in page.html
    )


HOSTILE = '</title></style><script>alert(1)</script>"><img src=x onerror=alert(1)>{{ 7*7 }}\u202e\x00'


def test_texts_of_a_study_are_never_markup(tmp_path: Path) -> None:
    study = study_of("d")
    protocol = dataclasses.replace(
        study.protocol,
        name=HOSTILE,
        about=HOSTILE,
        groups=(dataclasses.replace(study.protocol.groups[0], name=HOSTILE), Group("other")),
    )
    specs = [dataclasses.replace(spec, groups=(HOSTILE,)) for spec in study.specs]
    hostile = with_states(
        dataclasses.replace(study, protocol=protocol, specs=specs), why=HOSTILE, d0_s1="failed"
    )
    page = _page(hostile, tmp_path)
    assert_inert(page)
    assert "<script>alert(1)</script>" in page.text(), "shown as it is"
    assert "\x00" not in page.html
    assert "\u202e" not in page.html


def test_a_picture_that_cannot_be_read_is_counted(tmp_path: Path) -> None:
    study = study_of("d")
    for spec in study.specs:
        rows = [{**row, "sample": b"no picture"} for row in study.rows(spec, "pictures")]
        files_of(study).put(spec.id, "pictures", rows)
    page = _page(study, tmp_path)
    assert "4 pictures did not fit or could not be read." in page.text("pictures")
    assert len(page.all("img")) == 4


def test_the_same_tables_give_the_same_bytes(study: Study, tmp_path: Path) -> None:
    first = write_study_report(tmp_path / "a", study)
    second = write_study_report(tmp_path / "b", study_of())
    assert first.read_bytes() == second.read_bytes()


def test_the_figures_are_beside_the_page(study: Study, tmp_path: Path) -> None:
    page = write_study_report(tmp_path, study)
    told = json.loads(page.with_name("findings.json").read_text())
    assert told == json.loads(json.dumps(as_json(study, judge_study(study))))
    assert told["models"] == {"planned": 150, "done": 150, "unfinished": 0, "failed": 0}
    assert [f["verdict"] for f in told["findings"]] == ["shown"] * 9
    assert len(told["findings"][3]["parts"][0]["values"]) == 5


def test_seeds_that_share_images_are_told_apart_from_independent_ones(study: Study, tmp_path: Path) -> None:
    assert "The models of two seeds share no image." in _page(study, tmp_path / "own").text("rule")
    data = {name: dataclasses.replace(spec, block=0) for name, spec in study.protocol.data.items()}
    shared = dataclasses.replace(study, protocol=dataclasses.replace(study.protocol, data=data))
    assert "may share images of images" in _page(shared, tmp_path / "shared").text("rule")


def test_a_plot_keeps_its_marks_inside_its_frame() -> None:
    points = [Point(0.01, 0.0, -0.3, 0.4), Point(1.0, 0.98, 0.7, 1.3)]
    for x_scale, y_scale in (("log", "linear"), ("log", "log"), ("linear", "linear")):
        plot = Plot(
            "t",
            "s",
            "x",
            "y",
            [Series("one", points)],
            x_scale=x_scale,
            y_scale=y_scale,
            y=(0.001, 1.0) if y_scale == "log" else (0.0, 1.0),
        )  # type: ignore[arg-type]
        svg = draw(plot, "p")
        rows = [float(y) for y in re.findall(r'cy="([-\d.]+)"', svg)]
        whiskers = [
            float(y)
            for path in re.findall(r'class="whisker[^"]*" d="M([^"]+)"', svg)
            for y in re.findall(r" ([-\d.]+)", path)
        ]
        assert len(rows) == 2
        assert all(26 <= y <= 222 + 1e-6 for y in [*rows, *whiskers]), (x_scale, y_scale)


def test_the_scores_of_the_membership_attacks_are_beside_the_page(study: Study, tmp_path: Path) -> None:
    page = write_study_report(tmp_path, study)
    scores = pq.read_table(page.with_name("membership_scores.parquet")).to_pylist()
    curves = pq.read_table(page.with_name("membership_roc.parquet")).to_pylist()
    assert len(scores) == 5 * 8 * 60
    told = json.loads(page.with_name("findings.json").read_text())["findings"][6]
    for seed in range(5):
        own = [row for row in scores if row["seed"] == seed]
        areas = [
            auc([row[name] for row in own], [row["member"] for row in own])
            for name in ("threshold", "lira", "strong")
        ]
        assert areas[1] - areas[0] == pytest.approx(told["parts"][1]["values"][str(seed)])
        assert areas[2] - areas[1] == pytest.approx(told["parts"][2]["values"][str(seed)])
        for attack, area in zip(("loss threshold", "LiRA", "strong LiRA"), areas, strict=True):
            points = [
                (row["fpr"], row["tpr"]) for row in curves if (row["seed"], row["attack"]) == (seed, attack)
            ]
            assert sum(
                (b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points)
            ) == pytest.approx(area)
