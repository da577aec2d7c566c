"""Embeddings in a file: read when they are needed, not mapped, so that a file that is cut meanwhile is an error."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from memcore.cli import main
from memcore.duplicates import embeddings
from memcore.duplicates.embeddings import EmbeddingsFile, group_embeddings
from memcore.errors import ArgumentTypeError, ArgumentValueError, ConfigError


def rows(dtype: str = "f4") -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (90, 12))
    x[30:60] = x[:30] + rng.normal(0, 0.25, (30, 12))
    return x.astype(dtype)


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f4", "f8"])
def test_a_file_gives_the_groups_of_its_array(
    tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "_BLOCK", 17)
    x = rows(dtype)
    np.save(tmp_path / "e.npy", x)
    file = EmbeddingsFile(tmp_path / "e.npy")
    assert (len(file), file.shape) == (90, (90, 12))
    chosen = np.array([3, 4, 5, 89, 0, 0, 1, 50])
    assert (file[chosen] == x[chosen]).all()
    want = group_embeddings(x.astype("f8"), 0.95).tolist()
    assert group_embeddings(file, 0.95).tolist() == want
    assert len(set(want)) < 90


def test_a_file_that_is_cut_or_changed_while_it_is_read(tmp_path: Path) -> None:
    """A-D15: a mapped file that is cut ends the process."""
    path = tmp_path / "e.npy"
    for change, said in (
        (lambda: os.truncate(path, 200), "was cut"),
        (lambda: np.save(path, rows() + 1), "was changed"),
        (path.unlink, "cannot be read"),
    ):
        np.save(path, rows())
        os.utime(path, ns=(1, 1))
        file = EmbeddingsFile(path)
        change()
        with pytest.raises(ConfigError, match=rf"e\.npy: it {said}"):
            group_embeddings(file, 0.9)


def test_files_that_are_no_embeddings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "e.npy"
    np.save(path, rows())
    whole = path.read_bytes()
    for data in (
        b"",
        b"\x93NUMPY\x01\x00",
        whole[:60],
        whole[:-1],
        whole + b"x",
        whole.replace(b"(90,", b"(9(,"),
    ):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match=r"e\.npy: it"):
            EmbeddingsFile(path)
        words = [
            "prompts",
            str(tmp_path / "out.parquet"),
            "--embeddings",
            str(path),
            "--source",
            str(tmp_path),
        ]
        assert main(words) == 2
        assert "Traceback" not in capsys.readouterr().err
    np.save(path, rows().T.copy().T)
    with pytest.raises(ConfigError, match="row by row"):
        EmbeddingsFile(path)
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(ConfigError, match="numbers"):
        EmbeddingsFile(path)
    np.save(path, np.arange(6).reshape(3, 2))
    with pytest.raises(ArgumentTypeError):
        group_embeddings(EmbeddingsFile(path), 0.9)
    np.save(path, np.ones(6))
    with pytest.raises(ArgumentValueError, match="shape"):
        group_embeddings(EmbeddingsFile(path), 0.9)
