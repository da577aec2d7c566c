"""The page says what the run holds."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from tests.support.report_page import Page


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
    assert "ends at precision 1.000 and recall 0.938 of 16 prompts to be found" in page.text("plot-precision")
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
    assert (
        "unreadable 2 damaged, or no image of a format that is read 12/a.png : image file is truncated"
        in text
    )
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
