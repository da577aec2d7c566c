"""Other thresholds from stored pairs against whole runs at those thresholds; evaluation against matches and people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import memcore
from memcore.audit import audit
from memcore.cli import main
from memcore.errors import ArgumentValueError, ConfigError, RunError
from memcore.evaluation.evaluate_run import evaluate_run
from memcore.evaluation.labels import from_annotations, from_matches
from memcore.evaluation.sweep import make_grid, sweep
from memcore.matching.match_run import match_run
from memcore.runs.annotations import Annotations
from memcore.runs.config import Config
from memcore.runs.config_file import from_mapping
from memcore.runs.folder import RunFolder
from memcore.types import Images, Request
from tests.support.report_page import Page, render_page
from tests.support.synthetic import SHAPE, SyntheticSampler, write_training_set

#: prompt: (share of near images, their spread in levels)
KINDS = {
    "a red fox": (0.6, 20),
    "two boats": (0.4, 60),
    "rain": (0.5, 75),
    "an old clock": (0.1, 40),
    "a door": (0, 0),
}


class Spread(SyntheticSampler):
    """Near images at several distances, so that thresholds decide."""

    def _one(self, request: Request) -> Any:
        rng = np.random.default_rng(request.seed)
        share, spread = KINDS[request.prompt]
        if rng.random() < share:
            return (128 + rng.integers(-spread, spread + 1, SHAPE)).clip(0, 255).astype(np.uint8)
        return rng.integers(0, 256, SHAPE, dtype=np.uint8)


def run(path: Path, **changes: Any) -> RunFolder:
    options = {
        "source": "custom",
        "generations": 40,
        "batch_size": 16,
        "min_clique": 5,
        "edges_up_to": 0.3,
        **changes,
    }
    return audit(path, Config(**options), sampler=Spread(), prompts=list(KINDS), quiet=True)


def write_truth(path: Path) -> Path:
    expected = {"a red fox": True, "two boats": True, "rain": False, "an old clock": None, "a door": False}
    entries = [{"prompt": p, "copies": 1, "expected": e} for p, e in expected.items()]
    path.write_text(json.dumps({"format": 1, "prompts": entries}))
    return path


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(tmp_path_factory.mktemp("sweep") / "run")


def test_each_cell_is_what_a_run_with_that_setting_finds(stored: RunFolder, tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "truth.json")
    result = evaluate_run(stored.path, truth)
    cells = {(c["threshold"], c["min_clique"]): c for c in result["sweep"]["cells"]}
    assert {t for t, _ in cells} == {round(0.3 * k / 12, 6) for k in range(1, 13)} | {0.15}
    different = set()
    for threshold, size in [(0.1, 4), (0.15, 5), (0.15, 20), (0.2, 3), (0.25, 8), (0.3, 10)]:
        folder = run(tmp_path / f"{threshold}-{size}", threshold=threshold, min_clique=size, edges_up_to=0.0)
        stage = evaluate_run(folder.path, truth)["stages"]["candidates"]
        stage.pop("curve")
        cell = cells[threshold, size]
        assert {k: v for k, v in cell.items() if k not in ("threshold", "min_clique")} == stage
        different.add((stage["tp"], stage["fp"]))
    assert len(different) > 2
    best = result["sweep"]["best"]
    assert best["recall_at_zero_fp"] == max(c["recall_at_zero_fp"] for c in cells.values()) == 1.0
    assert not result["sweep"]["stopped_early"]


def test_stored_pairs_change_nothing_else(stored: RunFolder, tmp_path: Path) -> None:
    plain = run(tmp_path / "plain", edges_up_to=0.0)
    extra = ("pairs", "tile_bytes")
    for row, other in zip(stored.findings(), plain.findings(), strict=True):
        assert {k: v for k, v in row.items() if k not in extra} == {
            k: v for k, v in other.items() if k not in extra
        }
        assert other["pairs"] is None
        within = [
            p for p in row["pairs"] if p["ssd"] <= memcore.types.Threshold(0.15).ssd_max(row["tile_bytes"])
        ]
        assert len(within) == row["edges"]
    assert sum(len(row["pairs"]) for row in stored.findings()) > sum(
        row["edges"] for row in stored.findings()
    )


def test_the_budget_decides_at_the_runs_threshold(tmp_path: Path) -> None:
    changes = {"budget": "sequential", "copy_rate": 0.3, "miss_rate": 0.05, "generations": 60}
    wide = run(tmp_path / "wide", **changes)
    narrow = run(tmp_path / "narrow", edges_up_to=0.0, **changes)
    assert [r["generated"] for r in wide.findings()] == [r["generated"] for r in narrow.findings()]
    assert [r["stop"] for r in wide.findings()] == [r["stop"] for r in narrow.findings()]
    result = evaluate_run(wide.path, write_truth(tmp_path / "truth.json"))
    assert result["sweep"]["stopped_early"]
    assert max(result["sweep"]["sizes"]) == 5


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.02, 0.3))
def test_a_part_of_a_graph_is_the_graph_of_the_smaller_threshold(seed: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    images = (128 + rng.integers(-70, 71, (12, 8, 8, 3))).astype(np.uint8)
    whole = memcore.tiled_l2_graph(images, 0.3)
    part, direct = whole.within(threshold), memcore.tiled_l2_graph(images, threshold)
    assert np.array_equal(part.edges, direct.edges)
    assert np.array_equal(part.ssd, direct.ssd)
    assert np.array_equal(part.distances, direct.distances)
    with pytest.raises(ArgumentValueError, match="threshold must be at most"):
        whole.within(0.31)


def test_against_matches_and_annotations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = run(tmp_path / "run", threshold=0.25)
    with pytest.raises(RunError, match="was not matched"):
        evaluate_run(stored.path, against="matches")
    with pytest.raises(RunError, match="no annotations yet"):
        evaluate_run(stored.path, against="annotations")
    far = np.random.default_rng(0).integers(0, 256, (9, *SHAPE), dtype=np.uint8)
    np.save(tmp_path / "train.npy", np.concatenate([far, np.full((1, *SHAPE), 128, np.uint8)]))
    match_run(stored.path, tmp_path / "train.npy", delta=0.1)
    rows, matches = stored.findings(), stored.matches()
    assert matches is not None
    result = evaluate_run(stored.path, against="matches")
    found = {
        r["prompt"]: any(m["extracted"] for m in matches if m["prompt_id"] == r["prompt_id"]) for r in rows
    }
    assert result["against"] == "matches"
    assert result["positives"] == sum(found.values()) >= 1
    assert result["negatives"] == len({m["prompt_id"] for m in matches}) - result["positives"]
    assert result["negatives"] >= 1
    assert result["ignored"] == len(rows) - result["positives"] - result["negatives"] >= 1
    assert list(result["stages"]) == ["candidates"]
    page = render_page(stored.path)
    assert "Evaluation against the extractions" in page.text("evaluation")
    assert "Share of copies by number of duplicates" not in page.html
    assert "plot-share" not in page.html
    assert "plot-sweep" in page.html
    _assert_no_recall(page)
    assert main(["evaluate", str(stored.path), "--against", "matches"]) == 0
    said = capsys.readouterr().out
    assert f"{sum(found.values())} of {result['positives'] + result['negatives']} findings extracted" in said
    assert "recall " not in said.replace("no recall follows", "")

    items = [(r["prompt_id"], 0) for r in rows if r["status"] == "finding"]
    with Annotations.create(stored.path, stored.digest, items) as annotations:
        annotations.append("a", 1, 0, "copy")
        annotations.append("b", 2, 0, "copy")
        annotations.append("c", 1, 1, "no")
    result = evaluate_run(stored.path, against="annotations")
    assert (result["positives"], result["negatives"], result["ignored"]) == (1, 1, len(rows) - 2)
    page = render_page(stored.path)
    assert "what the annotators said" in page.text("evaluation")
    _assert_no_recall(page)
    assert "called a copy 1 of 2 findings that people decided" in page.text()
    assert "People decided on 2 findings and call 1 of them a copy" in page.text()
    assert main(["evaluate", str(stored.path), "--against", "annotations"]) == 0
    said = capsys.readouterr().out
    assert "1 of 2 findings called a copy" in said
    assert "recall " not in said.replace("no recall follows", "")


def _assert_no_recall(page: Page) -> None:
    """What follows by construction is no recall: not in a tile, the lead, a table or a plot (N-W5)."""
    text = page.text().replace("no recall follows", "")
    assert "recall" not in text.lower()
    assert "recall" not in page.html.replace("no recall follows", "").lower()
    assert "plot-precision" not in page.html
    assert "Planted" not in text


def test_labels() -> None:
    rows: Sequence[dict[str, Any]] = [{"prompt_id": i} for i in range(5)]
    matches = [
        {"prompt_id": 1, "extracted": False},
        {"prompt_id": 1, "extracted": True},
        {"prompt_id": 2, "extracted": False},
    ]
    assert from_matches(rows, matches) == [None, True, False, None, None]
    said = [
        (0, "copy"),
        (0, "copy"),
        (1, "no"),
        (2, "unsure"),
        (3, "copy"),
        (3, "no"),
        (4, "no"),
        (4, "unsure"),
    ]
    assert from_annotations(rows, said) == [True, False, None, None, False]


def test_images_of_a_run_with_black_frames(tmp_path: Path) -> None:
    """Excluded images keep their numbers, so that pairs fit the images."""
    options = Config(source="custom", generations=20, batch_size=8, min_clique=3, edges_up_to=0.2)

    class Half(Spread):
        def sample(self, requests: Sequence[Request]) -> Images:
            images = super().sample(requests)
            flagged = np.array([r.seed % 2 == 0 for r in requests])
            return Images(images.pixels, flagged)

    folder = audit(tmp_path / "run", options, sampler=Half(), prompts=["a red fox"], quiet=True)
    (row,) = folder.findings()
    assert row["excluded"] > 0
    cells = sweep([row], [True], [0.2], [row["size"], row["size"] + 1], ceiling=0.2)["cells"]
    assert [c["tp"] for c in cells] == [1, 0] or row["size"] < 3


def test_grid_and_errors(stored: RunFolder, tmp_path: Path) -> None:
    thresholds, sizes = make_grid(0.15, 0.15, 7, None)
    assert thresholds[-1] == 0.15
    assert 7 in sizes
    assert 20 in sizes
    with pytest.raises(ArgumentValueError, match=r"thresholds must be at most ceiling=0\.2, got 0\.3"):
        sweep([], [], [0.3], [2], ceiling=0.2)
    with pytest.raises(ConfigError, match=r"edges_up_to must lie between threshold=0\.15 and 1"):
        from_mapping({"source": "custom", "edges_up_to": 0.1})
    with pytest.raises(ConfigError, match="truth is missing"):
        evaluate_run(stored.path)
    with pytest.raises(ConfigError, match="against must be truth, matches or annotations, got 'luck'"):
        evaluate_run(stored.path, against="luck")


def test_the_command(stored: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = write_truth(tmp_path / "truth.json")
    assert main(["evaluate", str(stored.path), "--truth", str(truth)]) == 0
    assert (
        "largest recall at zero false positives of all thresholds and sizes: 1.000" in capsys.readouterr().out
    )
    assert main(["evaluate", str(stored.path)]) == 2
    assert main(["evaluate", str(stored.path), "--truth", str(truth), "--against", "matches"]) == 2


def test_a_run_that_the_training_set_writer_fits(tmp_path: Path) -> None:
    """The synthetic run of the other tests, swept."""
    options = Config(source="custom", generations=40, batch_size=16, edges_up_to=0.25)
    from tests.support.synthetic import PROMPTS

    folder = audit(tmp_path / "run", options, sampler=SyntheticSampler(), prompts=PROMPTS, quiet=True)
    write_training_set(tmp_path)
    result = evaluate_run(folder.path, tmp_path / "truth.json")
    assert result["sweep"]["best"]["recall_at_zero_fp"] == 1.0
