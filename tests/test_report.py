"""The page holds what it claims, shows it safely, and works at every stage of a run."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from memcore.errors import MissingExtraError, RunError
from memcore.jobs import store
from memcore.jobs.audit import audit, evaluate_run, match_run
from memcore.jobs.config import Config
from memcore.report import plots, write_report
from memcore.report.axes import Axes
from memcore.report.pictures import Album
from memcore.report.reader import read_run
from tests import report_fixture
from tests.report_fixture import RunWriter, finding_row, near_copies, picture, write_guidance_run, write_run
from tests.synthetic import MEMORISED, PROMPTS, SyntheticSampler, write_training_set

VOID = {"meta", "link", "img", "br", "hr", "input"}
PAPER = "https://arxiv.org/abs/2301.13188"


class Page(HTMLParser):
    """The parsed file: tags with their attributes, texts by the id of the innermost element that has one."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[tuple[str, str | None]] = []
        self.feed(html)
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append((tag, dict(attrs).get("id")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1][0] == tag, f"</{tag}> closes <{self._open[-1][0]}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if any(tag == "style" for tag, _ in self._open):
            return
        for name in ["", *(name for _, name in self._open if name)]:
            self.texts.setdefault(name, []).append(data)

    def text(self, name: str = "") -> str:
        """All text, or that inside the element with this id."""
        return " ".join(" ".join(self.texts.get(name, [])).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def cards(self, prefix: str = "finding-") -> list[str]:
        return [a["id"] for a in self.all("article") if a["id"].startswith(prefix)]


def page_of(run: Path, *compare: Path) -> Page:
    return Page(write_report(run, compare=compare).read_text("utf-8"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("report") / "run")


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_guidance_run(tmp_path_factory.mktemp("trap") / "guidance")


@pytest.fixture(scope="module")
def page(run: Path, trap: Path) -> Page:
    return page_of(run, trap)


def copy_of(run: Path, to: Path, *without: str) -> Path:
    """The run again, its pictures as links, without some of its files."""
    shutil.copytree(run, to, dirs_exist_ok=True, copy_function=os.link)
    for name in without:
        (to / name).unlink()
    return to


def empty_run(path: Path, prompts: int = 3) -> RunWriter:
    writer = RunWriter(path)
    writer.rows = [finding_row(i, f"prompt {i}", []) for i in range(prompts)]
    return writer


# --- what the page says -------------------------------------------------------------------------------------------------


def test_headline_and_verdict(page: Page) -> None:
    text = page.text()
    assert "17 of 50 prompts reproduce training images" in text
    assert "For 18 prompts, at least 10 of these are nearly the same picture" in text
    assert (
        "for 17 of them that picture lies within a tiled l2 of 0.15 of one of the 464 training images" in text
    )
    assert "“lighthouse”: 52 of its 64 images are copies of one training image" in text
    assert "One more repeats a picture that is not that close to any training image" in text
    assert "precision is 1.000 (95 % interval 0.782 to 1.000) and recall 0.938 (0.698 to 1.000)" not in text
    assert "precision is 1.000 (95 % interval 0.782 to 1.000) and recall 0.938 (0.698 to 0.998)" in text


def test_key_figures(page: Page) -> None:
    for figure in (
        "prompts 50 1 failed",
        "generations 3,136 64 a prompt",
        "candidates 18 prompts with a clique of 10 or more",
        "extracted 17 tiled l2 to a training image ≤ 0.15",
        "precision 1.000 95 % interval 0.782 to 1.000",
        "recall 0.938 95 % interval 0.698 to 0.998",
    ):
        assert figure in page.text()


def test_findings_stand_in_rank_order(run: Path, page: Page) -> None:
    rows = [row for f in sorted((run / "findings").iterdir()) for row in pq.read_table(f).to_pylist()]
    ranked = sorted((r for r in rows if r["cliques"]), key=lambda r: (r["mean_distance"], r["prompt_id"]))
    assert len(page.cards()) == len(ranked) == 18
    for rank, (card, row) in enumerate(zip(page.cards(), ranked, strict=True), 1):
        text = page.text(card)
        assert card == f"finding-{rank}"
        assert page.text(f"{card}-title") == row["prompt"]
        assert f"Mean distance {row['mean_distance']:.4f}" in text
        assert f"{row['size']} " in text
        assert " ".join(map(str, row["seeds"])) in text


def test_a_finding_shows_its_evidence(run: Path, page: Page) -> None:
    first = next(m for m in pq.read_table(run / "matches.parquet").to_pylist() if m["prompt_id"] == 0)
    text = page.text("finding-1")
    assert "Extracted" in text
    assert "12 of 52 near-identical generations" in text
    assert "Clique 52 of 64" in text
    assert f"Tiled l2 to training {first['tiled_l2']:.4f} ≤ 0.15" in text
    assert f"l2 to training {first['l2']:.4f}" in text
    assert "Copies 52 (81 %)" in text
    assert "Eidetic k = 200" in text
    assert "Planted 200 copies" in text
    assert "train/00040.png" in text, "a neighbour"


def test_a_clique_without_a_match_is_not_extracted(page: Page) -> None:
    text = page.text("finding-18")
    assert "Not extracted" in text
    assert "Nearest training image" in text
    assert "> 0.15" in text
    assert "Copies" not in text


def test_an_unproven_clique_states_its_bound(page: Page) -> None:
    card = next(c for c in page.cards() if page.text(f"{c}-title") == "teacup")
    assert "Clique 34 (at most 37) of 64" in page.text(card)


def test_plots(page: Page) -> None:
    svgs = [a["aria-labelledby"] for a in page.all("svg") if "aria-labelledby" in a]
    assert svgs == ["plot-precision", "plot-share", "plot-distances", "plot-compared-0"]
    assert "ends at precision 1.000 and recall 0.938 of 16 planted prompts" in page.text("plot-precision")
    assert "1: 0 %; 10: 5.7 %; 50: 34 %; 200: 65 %" in page.text("plot-share")
    assert "18 cliques: median 0.0" in page.text("plot-distances")
    assert "22 cliques; 4 lie farther than delta 0.15 from every training image" in page.text(
        "plot-compared-0"
    )


def test_evaluation(page: Page) -> None:
    text = page.text("evaluation")
    assert "16 prompts must be found, 28 must not, and 6 in between" in text
    assert "candidates 15 1 1 0.938 0.698–0.998 0.938 0.698–0.998" in text
    assert "extracted 15 0 1 1.000 0.782–1.000 0.938 0.698–0.998" in text
    assert "200 8 8 65 %" in text
    assert "Missed: canyon (planted 50 times)" in text


def test_cliques_that_are_not_extractions(page: Page) -> None:
    text = page.text("compared")
    assert "guidance scale 7.5 instead of 1.0: of 6 prompts, 4 have a clique of 10 or more" in text
    assert "For 3 of them no training image lies within tiled l2 0.15" in text
    assert len(page.cards("compared-")) == 3
    assert all("Not extracted" in page.text(card) for card in page.cards("compared-"))


def test_what_was_left_out(page: Page) -> None:
    text = page.text("excluded")
    assert "6 black or constant images of 2 prompts" in text
    assert "unreadable 2 damaged, truncated or no image 12/a.png : image file is truncated" in text
    assert "sampler 1 the sampler raised for this prompt" in text
    assert "45 canyon at night sampler" in text


def test_cost(page: Page) -> None:
    text = page.text("cost")
    assert "3,136 generations in 2.2 min of work" in text
    assert "Sampling alone makes 25.5 images a second and worker, all stages together 24.1" in text
    assert "distances and graph 2.5 s 1.9 %" in text


def test_how_to_read_and_settings(page: Page) -> None:
    reading = page.text("reading")
    for word in ("Tiled l2", "4 x 4 tiles", "Clique", "Extracted", "eidetic", "Carlini", "2301.13188"):
        assert word in reading
    settings = page.text("settings")
    for line in (
        "graph.grid 4 x 4",
        "sampler.describe.call.num_inference_steps 20",
        "run.seed 20260105",
        "match.count 464",
    ):
        assert line in settings


def test_pictures(run: Path, page: Page) -> None:
    images = page.all("img")
    assert all(a["alt"].strip() and a["src"].startswith("data:image/") for a in images)
    sources = {a["src"] for a in images}
    medoid = next(row for row in pq.read_table(run / "matches.parquet").to_pylist() if row["prompt_id"] == 0)
    for path in (
        run / "training" / "00000000.png",
        run / "images" / "000000" / f"{medoid['medoid_seed']}.png",
    ):
        stored = np.asarray(Image.open(path))
        shown = (np.asarray(Image.open(io.BytesIO(base64.b64decode(s.split(",")[1])))) for s in sources)
        assert any(np.array_equal(stored, pixels) for pixels in shown), (
            "small pictures are embedded without loss"
        )
    assert not any("pixelated" in a.get("class", "") for a in images), "64 pixels are enlarged smoothly"


def test_accessible(page: Page) -> None:
    assert page.all("html")[0]["lang"] == "en"
    assert all("scope" in a for a in page.all("th"))
    names = [a["id"] for _, a in page.tags if "id" in a]
    assert len(names) == len(set(names))
    for attributes in (a for _, a in page.tags):
        for name in ("aria-labelledby",):
            assert name not in attributes or attributes[name] in names
    targets = [a["href"][1:] for a in page.all("a") if a["href"].startswith("#")]
    assert targets
    assert set(targets) <= set(names)


# --- safe and self-contained --------------------------------------------------------------------------------------------


def assert_inert(page: Page) -> None:
    """No script, no handler, no style or resource that the policy would not allow, no address but the paper's."""
    tags = {tag for tag, _ in page.tags}
    assert not tags & {
        "script",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "audio",
        "video",
        "foreignobject",
    }
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"<{tag} {name}>"
            assert name not in ("style", "srcset", "action", "xlink:href", "data")
            if name == "src":
                assert value.startswith("data:image/")
            if name == "href":
                assert value.startswith("#") or value in ("data:,", PAPER)
                assert value != PAPER or tag == "a"
    style = re.search(r"<style>(.*?)</style>", page.html, re.DOTALL)
    assert style
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    assert_inert(page)
    assert re.findall(r"https?://[^\s\"<]+", page.html) == [PAPER]


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>{{ 7*7 }}{% raw %}",
    "</title></style></bdi><style>*{display:none}</style>",
    "\u202egnp.evil\x00\x1b[31m &lt;b&gt; &amp;",
)


def test_texts_of_the_run_are_never_markup(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path)
    for i, text in enumerate(HOSTILE):
        pictures = near_copies(picture(i, 32), 10, 0.03, i)
        clique = writer.add_clique(i, pictures)
        writer.rows.append(finding_row(i, text, [clique]))
        writer.add_match(i, clique, pictures, i, picture(i, 32), 1)
        writer.matches[-1]["training_name"] = text
        writer.matches[-1]["neighbors"][0]["name"] = text
        writer.rows.append(finding_row(50 + i, text, [], status="failed", reason=text))
        writer.quarantine.append({"prompt_id": i, "source": text, "reason": text, "detail": text})
    writer.write()
    toml = tmp_path / "run.toml"
    toml.write_text(
        toml.read_text("utf-8").replace('"StableDiffusionPipeline"', json.dumps(HOSTILE[0])), "utf-8"
    )
    truth = [
        {"prompt": t, "kind": t, "copies": 0, "expected": True, "training_images": []} for t in HOSTILE * 2
    ]
    rows = sorted(writer.rows, key=lambda row: row["prompt_id"])
    (tmp_path / "evaluation.json").write_text(
        json.dumps(report_fixture.evaluate(rows, writer.matches, truth))
    )
    page = page_of(tmp_path, tmp_path)
    assert_inert(page)
    titles = {page.text(f"{card}-title") for card in page.cards()}
    assert set(HOSTILE[:4]) <= titles, "shown as they are"
    assert "\x00" not in page.html
    assert "\u202e" not in page.html
    assert "49" not in page.text("finding-3-title")


def test_long_texts_are_cut(tmp_path: Path) -> None:
    writer = empty_run(tmp_path)
    writer.rows.append(
        finding_row(7, "word " * 50_000, [writer.add_clique(7, near_copies(picture(7), 10, 0.03, 7))])
    )
    writer.write(matched=False)
    page = page_of(tmp_path)
    assert len(page.text("finding-1-title")) <= 400
    assert page.text("finding-1-title").endswith("…")
    assert len(page.html) < 400_000


# --- every stage of a run -----------------------------------------------------------------------------------------------


def test_before_matching(run: Path, tmp_path: Path) -> None:
    evaluation = json.loads((run / "evaluation.json").read_text())
    del evaluation["stages"]["extracted"]
    copy_of(run, tmp_path, "matches.parquet", "match.json", "evaluation.json")
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation))
    page = page_of(tmp_path)
    assert "18 of 50 prompts repeat one picture again and again" in page.text()
    assert "not yet held against a training set" in page.text()
    assert "Candidate" in page.text("finding-1")
    assert "training image" not in page.text("finding-1").lower()
    assert "precision 0.938" in page.text(), "the candidates' precision"
    assert_inert(page)


def test_before_evaluation(run: Path, tmp_path: Path) -> None:
    page = page_of(copy_of(run, tmp_path, "evaluation.json"))
    assert "17 of 50 prompts reproduce training images" in page.text()
    assert "Against what was planted" not in page.text()
    assert [a["aria-labelledby"] for a in page.all("svg") if "aria-labelledby" in a] == ["plot-distances"]


def test_without_findings(tmp_path: Path) -> None:
    empty_run(tmp_path).write(count=5)
    page = page_of(tmp_path)
    assert "None of 3 prompts repeats a picture" in page.text()
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
    text = page_of(tmp_path).text()
    assert "None of 4 prompts reproduces a training image" in text
    assert "but none lies within a tiled l2 of 0.15 of one of the 464 training images" in text


def test_before_the_first_shard(tmp_path: Path) -> None:
    RunWriter(tmp_path).write(count=8, matched=False)
    text = page_of(tmp_path).text()
    assert "No prompt is finished yet" in text
    assert "0 of 8 prompts are done" in text


def test_a_shard_without_manifest_does_not_count(run: Path, tmp_path: Path) -> None:
    copy_of(run, tmp_path, "matches.parquet", "evaluation.json")
    sorted((tmp_path / "manifest").iterdir())[1].unlink()
    assert "of 25 prompts" in page_of(tmp_path).text()


def test_missing_and_damaged_pictures(run: Path, tmp_path: Path) -> None:
    copy_of(run, tmp_path, "training/00000000.png")
    (tmp_path / "training" / "00000000.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    shutil.rmtree(tmp_path / "images" / "000001")
    page = page_of(tmp_path)
    assert len(page.cards()) == 18
    absent = [a for a in page.all("span") if a.get("class") == "absent"]
    assert len(absent) == 13


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
    page = page_of(tmp_path)
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
    pixelated = {a["width"]: "pixelated" in a.get("class", "") for a in page_of(tmp_path).all("img")}
    assert pixelated == {"16": True, "32": True, "40": False}


def test_a_run_written_by_the_store(tmp_path: Path) -> None:
    folder = store.RunFolder.create(
        tmp_path / "run",
        Config(source="custom", generations=64),
        "print",
        {"kind": "callable"},
        ["one", "two"],
    )
    pictures = near_copies(picture(1), 10, 0.03, 1)
    clique = report_fixture.described(pictures, range(10))
    for seed, image in enumerate(pictures):
        folder.write_image(0, seed, image)
    rows = [finding_row(0, "one", [clique]), finding_row(1, "two", [])]
    folder.write_shard(folder.shards()[0], rows, [], {"sample": 1.0})
    page = page_of(folder.path)
    assert "1 of 2 prompts repeats one picture" in page.text()
    assert len(page.all("img")) == 10


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run made by the audit itself, matched and evaluated."""
    folder = tmp_path_factory.mktemp("audited")
    config = Config(source="custom", generations=40, batch_size=16)
    done = audit(folder / "run", config, sampler=SyntheticSampler(), prompts=PROMPTS, quiet=True)
    match_run(done.path, write_training_set(folder))
    evaluate_run(done.path, folder / "truth.json")
    return done.path


def test_a_run_of_the_audit(audited: Path) -> None:
    page = page_of(audited)
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
    page = page_of(done.path)
    assert "Unfinished: 2 of 3 prompts are done" in page.text()
    assert "None of 2 prompts repeats a picture" in page.text()
    assert "0 a green hill sampler" in page.text("excluded")
    assert "sampler 1 the sampler raised for this prompt" in page.text("excluded")


def test_another_audit_beside(audited: Path, tmp_path: Path) -> None:
    config = Config(source="custom", generations=40, threshold=0.2)
    other = audit(tmp_path / "other", config, sampler=SyntheticSampler(), prompts=PROMPTS[:1], quiet=True)
    np.save(tmp_path / "far.npy", np.zeros((3, 16, 16, 3), np.uint8))
    match_run(other.path, tmp_path / "far.npy")
    text = page_of(audited, other.path).text("compared")
    assert "threshold 0.2 instead of 0.15: of 1 prompt, 1 has a clique" in text
    assert "For 1 of them no training image lies within" in text


@pytest.mark.parametrize("name", ["FINDINGS", "QUARANTINE", "MATCHES"])
def test_the_fixture_has_the_formats_of_the_store(name: str) -> None:
    assert getattr(report_fixture, name).equals(getattr(store, name))


# --- size, bytes, files -------------------------------------------------------------------------------------------------


def test_two_thousand_findings(tmp_path: Path) -> None:
    """200 with pictures, the others as rows; noise does not compress, so the limits are at work."""
    writer = RunWriter(tmp_path)
    noise = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(noise)
    for i in range(2000):
        seeds = [2**62 + s for s in range(100)]
        record = {
            "seeds": seeds,
            "mean_distance": 0.01 + 6e-5 * i,
            "medoid_seed": seeds[3],
            "proven": True,
            "upper": 100,
        }
        writer.rows.append(finding_row(i, f"prompt {i} " + '"' * 100, [record]))
        if i < 200:
            folder = tmp_path / "images" / f"{i:06d}"
            folder.mkdir(parents=True)
            for seed in seeds[:12]:
                os.link(noise, folder / f"{seed}.png")
    writer.write(matched=False)
    target = write_report(tmp_path)
    page = Page(target.read_text("utf-8"))
    assert len(page.cards()) == 200
    assert "Ranks 201 to 2,000, without pictures" in page.text("findings")
    assert "prompt 1999 " in page.text("findings")
    size = target.stat().st_size
    assert len(page.all("img")) > 1000
    assert size < 30e6
    assert f"This file takes {size / 1e6:.1f} MB" in page.text()


def test_an_album_never_passes_its_limit(tmp_path: Path) -> None:
    noise = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(noise)
    album = Album(100_000, expected=20)
    shown = [album.picture(noise, 200) for _ in range(20)]
    assert album.refused > 0
    assert sum(len(p.uri) for p in shown if p) == album.bytes <= 100_000
    assert {(p.width, p.height) for p in shown if p} == {(256, 256)}


def test_the_same_run_gives_the_same_bytes(run: Path, trap: Path, tmp_path: Path) -> None:
    first = write_report(run, compare=[trap]).read_bytes()
    copy = shutil.copytree(run, tmp_path / "elsewhere")
    assert write_report(copy, compare=[trap]).read_bytes() == first
    assert write_report(run, compare=[trap]).read_bytes() == first


def test_the_file_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_run(tmp_path).write()
    target = write_report(tmp_path)
    assert target == tmp_path / "report" / "index.html"
    assert [p.name for p in target.parent.iterdir()] == ["index.html"]
    before = target.read_bytes()

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        write_report(tmp_path)
    assert target.read_bytes() == before
    assert [p.name for p in target.parent.iterdir()] == ["index.html"]


# --- wrong input --------------------------------------------------------------------------------------------------------


def test_not_a_run(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(RunError, match=r"is no run folder: it holds no run\.toml"):
            write_report(path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is no run folder"):
        write_report(tmp_path / "file")
    assert not (tmp_path / "report").exists()


def test_compare_must_be_a_run(tmp_path: Path) -> None:
    empty_run(tmp_path / "run").write()
    with pytest.raises(RunError, match="other is no run folder"):
        write_report(tmp_path / "run", compare=[tmp_path / "other"])
    assert not (tmp_path / "run" / "report").exists()


def damage(run: Path, name: str) -> None:
    shard = sorted((run / "findings").iterdir())[0]
    toml = run / "run.toml"
    if name == "format":
        toml.write_text(toml.read_text().replace("format = 1", "format = 2"))
    elif name == "toml":
        toml.write_text("[run")
    elif name == "setting":
        toml.write_text(toml.read_text().replace("min_clique = 10", ""))
    elif name == "digest":
        shard.write_bytes(shard.read_bytes() + b" ")
    elif name == "gone":
        shard.unlink()
    elif name == "parquet":
        (run / "matches.parquet").write_bytes(b"not parquet")
    elif name == "column":
        table = pq.read_table(run / "matches.parquet").drop_columns(["tiled_l2"])
        pq.write_table(table, run / "matches.parquet")
    elif name == "json":
        (run / "match.json").write_text("[]")
    elif name == "evaluation":
        (run / "evaluation.json").write_text('{"format": 9}')
    elif name == "stale":
        table = pq.read_table(run / "matches.parquet").to_pylist()
        row = {**dict.fromkeys(report_fixture.MATCHES.names), "prompt_id": 1, "clique": 3, "extracted": True}
        pq.write_table(
            report_fixture.pa.Table.from_pylist([*table, row], schema=report_fixture.MATCHES),
            run / "matches.parquet",
        )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("format", "has the run format 2, this memcore reads format 1"),
        ("toml", r"run\.toml cannot be read"),
        ("setting", r"has no 'min_clique' in its table \[graph\]"),
        ("digest", "its sha256 differs"),
        ("gone", "is missing although its manifest says"),
        ("parquet", r"matches\.parquet cannot be read"),
        ("column", "has no column 'tiled_l2'"),
        ("json", r"match\.json must hold a JSON object, got list"),
        ("evaluation", "give memcore evaluate again"),
        ("stale", "names clique 3 of prompt 1, which this run does not have.*give memcore match again"),
    ],
)
def test_damaged_runs(tmp_path: Path, name: str, message: str) -> None:
    empty_run(tmp_path).write()
    damage(tmp_path, name)
    with pytest.raises(RunError, match=message):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("module", "package"), [("jinja2", "jinja2"), ("pyarrow", "pyarrow"), ("PIL", "pillow")]
)
def test_missing_packages_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, package: str
) -> None:
    empty_run(tmp_path).write()
    for name in [m for m in sys.modules if m.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"'{package}'.*memcore-audit\[report\]"):
        write_report(tmp_path)


# --- plots and counts at their edges ------------------------------------------------------------------------------------


def test_plots_of_nothing_and_of_much() -> None:
    nothing = {
        "precision": {"value": None, "low": 0.0, "high": 1.0},
        "recall": {"value": None, "low": 0.0, "high": 1.0},
        "average_precision": 0.0,
        "curve": [],
    }
    assert "unknown" in plots.precision_recall({"candidates": nothing}, 0)
    assert plots.share_against_copies([]).count("<circle") == 0
    assert plots.histogram([], 0.0).startswith("<svg")
    prompts = [{"copies": c % 2000, "share": 0.5, "prompt": "p", "extracted": True} for c in range(20_000)]
    assert plots.share_against_copies(prompts[:3]).count("<circle") == 3
    assert len(plots.share_against_copies(prompts)) < 12_000_000
    distances = [(0.15 * i / 100_000, None) for i in range(100_001)]
    assert plots.histogram(distances, 0.15).count("<rect") == plots.BINS
    points = [(0.1, 0.2, False, True, "p")] * 100_000
    assert plots.clique_against_match("x", points, 0.15, 0.15, "l2").count("<path") == plots.MARKS


def test_axes_map_data_to_pixels() -> None:
    axes = Axes("n", "s", x=(0, 2), y=(0, 4), x_label="x", y_label="y")
    assert (axes.x(0), axes.x(2)) == (46, 348)
    assert (axes.y(0), axes.y(4)) == (222, 26)


def test_counts_cover_all_prompts_and_rows_only_findings(run: Path) -> None:
    read = read_run(run)
    assert (read.prompts, read.done, read.generated) == (50, 50, 49 * 64)
    assert (len(read.findings), len(read.failures)) == (18, 1)
    assert read.seconds == {"sample": 123.0, "graph": 2.5, "clique": 0.4, "write": 4.1}
