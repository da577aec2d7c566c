"""k over the training set: each image as often as it stands there, whichever way that was said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memcore.audit import audit
from memcore.cli import main
from memcore.errors import ConfigError
from memcore.matching.brute_force import match_findings
from memcore.matching.match_run import match_run
from memcore.runs.config import Config
from tests.support.report_page import render_page
from tests.support.synthetic import MEMORISED, SyntheticSampler, training_image


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = Config(source="custom", generations=30, batch_size=16)
    folder = tmp_path_factory.mktemp("copies") / "run"
    return audit(folder, config, sampler=SyntheticSampler(), prompts=list(MEMORISED), quiet=True).path


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def write_training(folder: Path) -> tuple[Path, np.ndarray[Any, Any]]:
    """Write two memorised images, one of them with a near duplicate, and others; return their copies, too."""
    rng = np.random.default_rng(3)
    fox, boats = (training_image(p) for p in MEMORISED)
    near = fox.copy()
    near[0, 0] ^= 1
    others = rng.integers(0, 256, (5, *fox.shape), dtype=np.uint8)
    np.save(folder / "train.npy", np.stack([others[0], fox, *others[1:], boats, near]))
    return folder / "train.npy", np.array([3, 200, 1, 1, 2, 1, 50, 10])


def eidetic(rows: list[Any]) -> list[int]:
    return [row["eidetic"] for row in rows if row["extracted"]]


@pytest.mark.parametrize("metric", ["l2", "tiled_l2"])
def test_it_is_that_of_the_set_with_its_duplicates(run: Path, tmp_path: Path, metric: Any) -> None:
    training, copies = write_training(tmp_path)
    np.save(tmp_path / "repeated.npy", np.repeat(np.load(training), copies, axis=0))
    main(["index", str(tmp_path / "index"), "--source", str(training), "--shard-images", "3", "--quiet"])
    expected = eidetic(match_run(run, tmp_path / "repeated.npy", metric=metric))
    assert expected == [210, 50]
    np.save(tmp_path / "copies.npy", copies.astype(np.uint16))
    pq.write_table(pa.table({"name": ["x"] * 8, "copies": copies}), tmp_path / "copies.parquet")
    for given in (copies, tmp_path / "copies.npy", tmp_path / "copies.parquet"):
        assert eidetic(match_run(run, training, metric=metric, copies=given)) == expected
        assert eidetic(match_run(run, index=tmp_path / "index", metric=metric, copies=given)) == expected
    assert eidetic(match_run(run, training, metric=metric)) == [2, 1]


def test_output_and_report_say_of_what_k_is(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training, copies = write_training(tmp_path)
    np.save(tmp_path / "copies.npy", copies)
    words = ["match", str(run), "--training", str(training)]
    assert main(words) == 0
    assert "eidetic k = 1 to 2 of the distinct images given" in capsys.readouterr().out
    text = render_page(run).text()
    assert "Eidetic k = 2 of the distinct images given" in text
    assert "among the distinct images given" in text
    words += ["--copies", str(tmp_path / "copies.npy")]
    assert main(words) == 0
    assert "eidetic k = 50 to 210 over the training set with its duplicates" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["eidetic_counts"] == "training set"
    assert json.loads((run / "match.json").read_text())["copies"] == int(copies.sum())
    text = render_page(run).text()
    assert "Eidetic k = 210" in text
    assert "distinct images given" not in text


@pytest.mark.parametrize(
    ("copies", "said"),
    [
        (np.ones(7, int), "7 numbers, but 8 training images are compared"),
        (np.ones(8), "whole number for each training image, got float64"),
        (np.ones((8, 1), int), "whole number for each training image"),
        (np.array([1, 1, 1, 0, 1, 1, 1, 1]), "at least 1, got 0"),
        (np.full(8, 2**30), "sum to at most"),
    ],
)
def test_wrong_copies_are_refused(run: Path, tmp_path: Path, copies: Any, said: str) -> None:
    training, _ = write_training(tmp_path)
    with pytest.raises(ConfigError, match=said):
        match_run(run, training, copies=copies)
    np.save(tmp_path / "copies.npy", copies)
    assert (
        main(["match", str(run), "--training", str(training), "--copies", str(tmp_path / "copies.npy")]) == 2
    )
    assert not (run / "matches.parquet").exists()


def test_files_that_hold_no_copies_are_refused(run: Path, tmp_path: Path) -> None:
    training, _ = write_training(tmp_path)
    pq.write_table(pa.table({"count": [1] * 8}), tmp_path / "other.parquet")
    (tmp_path / "text.npy").write_text("200\n50\n")
    for name, said in (
        ("other.parquet", "has no column 'copies'; its columns are count"),
        ("text.npy", "cannot be read"),
        ("none.npy", "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=said):
            match_run(run, training, copies=tmp_path / name)


def test_the_demo_knows_how_often_it_planted_each_image() -> None:
    """Its images planted 200, 50 and 10 times are 200-, 50- and 10-eidetic, not 1-eidetic."""
    from memcore.demo import METRIC, _copies
    from memcore.study.dataset import load, load_demo

    folder = load_demo().folder
    training, copies = load(folder), _copies(folder)
    planted = np.flatnonzero(copies > 1)
    images = training.images[planted]
    found = match_findings(images, [i[None] for i in images], training.images, metric=METRIC, copies=copies)
    assert [m.eidetic for m in found] == copies[planted].tolist()
    assert sorted({m.eidetic for m in found}) == [10, 50, 200]
