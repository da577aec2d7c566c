"""Exit code 5 of ``index``, ``prompts`` and ``demo``: what was left out is said, and ``--allow-incomplete`` takes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import memcore.demo
from memcore.cli import main
from memcore.runs.pictures import png_bytes
from tests.support.synthetic import training_image

DONE, INCOMPLETE = 0, 5


def write(folder: Path, **texts: bytes) -> Path:
    """Write two equal images with captions, files of a system, and a README."""
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.png").write_bytes(png_bytes(training_image("a fox")))
        (folder / f"{name}.txt").write_bytes(texts.get(name, b"a fox"))
    (folder / "._a.png").write_bytes(b"\0\5\26\7")
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "README.md").write_text("words")
    return folder


def told(words: list[object], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = main([*map(str, words)])
    return code, capsys.readouterr().out


def index(at: Path, source: Path) -> list[object]:
    return ["index", at, "--source", source, "--quiet"]


def test_files_that_are_no_images_are_not_missed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = told(index(tmp_path / "index", write(tmp_path / "train")), capsys)
    assert (code, "incomplete" in out) == (DONE, False)
    assert "pointed at 7: used 4 (2 images, 2 texts), left out 3 (1 other, 2 system)" in out
    words = ["prompts", tmp_path / "p.parquet", "--index", tmp_path / "index", "--source", tmp_path / "train"]
    code, out = told(words, capsys)
    assert (code, "incomplete" in out) == (DONE, False)
    assert "1 prompt of 1 group of duplicates; the largest has 2 images" in out


def damaged(name: str) -> bytes:
    image = training_image("another")
    return png_bytes(image)[:-30] if name == "truncated" else png_bytes(image[:-1])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("truncated", "1 of 3 training images was not indexed: truncated"),
        (
            "wrong-size",
            "1 of 3 training images was not indexed: other size than 16x16 "
            "(--resize 16x16, into another index, takes it too)",
        ),
    ],
)
def test_an_index_that_lacks_images(
    name: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the list of prompts that is made of it; a check of its checksums says nothing of that."""
    train = write(tmp_path / "train")
    (train / "c.png").write_bytes(damaged(name))
    at = tmp_path / "index"
    prompts: list[object] = ["prompts", tmp_path / "p.parquet", "--index", at, "--source", train]
    for words in (index(at, train), index(at, train), prompts):  # a whole index is not read again
        code, out = told(words, capsys)
        assert code == INCOMPLETE
        assert f"incomplete: {said}" in out
        code, out = told([*words, "--allow-incomplete", "--json"], capsys)
        assert code == DONE
        (gap,) = json.loads(out)["incomplete"]
        assert (gap["code"], gap["count"], gap["of"], gap["text"]) == ("training", 1, 3, said)
    assert told(["index", at, "--verify"], capsys)[0] == DONE


def test_captions_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An index has its images; a list of prompts lacks their prompts."""
    train, at = write(tmp_path / "train", b=b"caf\xe9"), tmp_path / "index"
    code, out = told(index(at, train), capsys)
    assert (code, "1 caption" in out) == (DONE, True)
    np.save(tmp_path / "e.npy", np.ones((2, 4), np.float32))
    by_images: list[object] = ["--index", at, "--trust-paths"]
    by_embeddings: list[object] = ["--embeddings", tmp_path / "e.npy", "--source", train]
    for flags in (by_images, by_embeddings):
        words = ["prompts", tmp_path / "p.parquet", *flags]
        code, out = told(words, capsys)
        assert code == INCOMPLETE
        assert "incomplete: 1 caption could not be read" in out
        assert told([*words, "--allow-incomplete"], capsys)[0] == DONE


@pytest.mark.parametrize(
    "gaps", [[], [{"code": "few", "count": 8, "of": 8, "text": "8 prompts had fewer ..."}]]
)
def test_the_demo(
    gaps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its two runs are judged as any other."""
    stage = {
        "precision": {"value": 1.0, "low": 0.5, "high": 1.0},
        "recall": {"value": 1.0, "low": 0.5, "high": 1.0},
    }
    evaluation = {
        "against": "truth",
        "stages": {"candidates": {**stage, "average_precision": 1.0, "recall_at_zero_fp": 1.0}},
    }
    result = {"summary": {}, "evaluation": evaluation, "report": "r", "not_decided": gaps}
    monkeypatch.setattr(memcore.demo, "demo", lambda *_, **__: result)
    code, out = told(["demo"], capsys)
    assert (code, "not decided: 8 prompts had fewer ..." in out) == (
        (INCOMPLETE, True) if gaps else (DONE, False)
    )
    assert told(["demo", "--allow-incomplete"], capsys)[0] == DONE
