"""Files that changed after a run or an index was made of them: no old answer is given again, nor joined with new ones."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from memcore.cli import main
from memcore.runs.folder import RunFolder
from tests.support.index_sets import pictures


def copies(count: int, side: int = 16, seed: int = 1) -> NDArray[np.uint8]:
    """Return images that repeat one picture."""
    rng = np.random.default_rng(seed)
    base = rng.integers(20, 236, (1, side, side, 3))
    return (base + rng.integers(-3, 4, (count, side, side, 3))).astype(np.uint8)


def save(file: Path, images: NDArray[np.uint8]) -> None:
    """Write a file over another one of its size, with the same times."""
    np.save(file, images)
    os.utime(file, ns=(10**18, 10**18))


def sizes(run: Path) -> list[int]:
    return [row["size"] for row in RunFolder.open(run).findings()]


def test_a_finished_run_does_not_answer_for_other_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["filter", str(tmp_path / "run"), "--images", str(tmp_path / "g"), "--quiet", "--workers", "1"]
    (tmp_path / "g").mkdir()
    save(tmp_path / "g" / "a fox.npy", pictures(12, 16))
    assert main(words) == 0
    assert main(words) == 0
    save(tmp_path / "g" / "a fox.npy", copies(12))
    capsys.readouterr()
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "content of the files: " in said
    assert "another folder" in said
    assert sizes(tmp_path / "run") == [0]
    os.utime(tmp_path / "g" / "a fox.npy")
    words[1] = str(tmp_path / "fresh")
    assert main(words) == 0
    os.utime(tmp_path / "g" / "a fox.npy")  # touched, and the same
    assert main(words) == 0
    (tmp_path / "g").rename(tmp_path / "h")  # moved, and the same
    words[3] = str(tmp_path / "h")
    assert main(words) == 0
    (tmp_path / "link").symlink_to(tmp_path / "h")
    words[3] = str(tmp_path / "link")
    assert main(words) == 0
    assert sizes(tmp_path / "fresh") == [12]


def test_half_a_run_is_not_joined_with_other_pictures(tmp_path: Path) -> None:
    words = ["filter", str(tmp_path / "run"), "--images", str(tmp_path / "g"), "--quiet", "--workers", "1"]
    words += ["--shard-prompts", "1"]
    (tmp_path / "g").mkdir()
    for i in range(2):
        save(tmp_path / "g" / f"{i}.npy", pictures(12, 16, i))
    assert main([*words, "--part", "1/2"]) == 0
    for i in range(2):
        save(tmp_path / "g" / f"{i}.npy", copies(12))
    assert main(words) == 2
    assert sizes(tmp_path / "run") == [0]


def test_an_index_does_not_answer_for_other_training_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training, index = tmp_path / "train.npy", str(tmp_path / "index")
    save(training, pictures(12, 16))
    save(tmp_path / "g.npy", copies(12))
    assert main(["filter", str(tmp_path / "run"), "--images", str(tmp_path / "g.npy"), "--quiet"]) == 0
    assert main(["index", index, "--source", str(training), "--quiet"]) == 0
    assert main(["match", str(tmp_path / "run"), "--index", index, "--trust-paths"]) == 0
    assert "0 of 1 finding" in capsys.readouterr().out
    save(training, copies(12, seed=1))  # now the finding is a copy
    assert main(["match", str(tmp_path / "run"), "--index", index, "--trust-paths"]) == 2
    assert "has changed since" in capsys.readouterr().err
    assert main(["index", index, "--source", str(training), "--quiet"]) == 2
    assert "1 of 1 files was changed (train.npy)" in capsys.readouterr().err


def test_the_data_of_an_index_that_moved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """N-X24."""
    (tmp_path / "old").mkdir()
    save(tmp_path / "old" / "train.npy", copies(12))
    save(tmp_path / "g.npy", copies(12))
    run, index = str(tmp_path / "run"), str(tmp_path / "index")
    assert main(["filter", run, "--images", str(tmp_path / "g.npy"), "--quiet"]) == 0
    assert main(["index", index, "--source", str(tmp_path / "old"), "--quiet"]) == 0
    (tmp_path / "old").rename(tmp_path / "new")
    new = str(tmp_path / "new")
    capsys.readouterr()
    assert main(["match", run, "--index", index, "--trust-paths"]) == 2
    said = capsys.readouterr().err
    assert "is missing" in said
    assert f"memcore index {index} --source" in said
    assert main(["match", run, "--index", index, "--source", new]) == 0
    assert "1 of 1 finding" in capsys.readouterr().out
    assert main(["match", run, "--training", new, "--source", new]) == 2
    assert "--index" in capsys.readouterr().err
    assert main(["index", index, "--source", new, "--quiet"]) == 0
    assert f"{tmp_path / 'old'} is now at {new}" in capsys.readouterr().out
    assert main(["match", run, "--index", index, "--trust-paths"]) == 0
    assert "12 training images compared" in capsys.readouterr().out
    save(tmp_path / "new" / "train.npy", pictures(12, 16))
    assert main(["match", run, "--index", index, "--source", new]) == 2
    assert "1 of 1 files was changed (train.npy)" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["images", "tars", "parquet", "arrays"])
def test_a_folder_that_is_missing_is_said_to_be_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    words = ["index", str(tmp_path / "index"), "--source", str(tmp_path / "none"), "--kind", kind]
    assert main(words) == 2
    assert f"{tmp_path / 'none'} does not exist" in capsys.readouterr().err
