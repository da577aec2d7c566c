"""A table of a few bytes whose one text stands in every row is refused by name, whatever reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memcore.errors import ConfigError, RunError
from memcore.sources.conditioned import ConditionedPrompts
from memcore.sources.open import open_source
from memcore.sources.text import TextList
from memcore.system.columns import iter_rows
from tests.support.index_sets import pictures, png

ROWS, LETTERS = 20_000, 100_000


def repeated(rows: int = ROWS, letters: int = LETTERS) -> pa.Array:
    """One text in every row, which the file holds once."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * letters]))


def write(path: Path, **columns: pa.Array) -> Path:
    pq.write_table(pa.table(columns), path, compression="zstd")
    assert path.stat().st_size < 1 << 20
    return path


READERS: dict[str, Callable[[Path], object]] = {
    "a list of prompts": lambda path: list(TextList(path, "prompts")),
    "a list with conditions": lambda path: list(ConditionedPrompts(path, conditions=("label",))),
    "the rows of memcore prompts": lambda path: list(iter_rows(path)),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_list_is_refused(tmp_path: Path, reader: str) -> None:
    path = write(tmp_path / "list.parquet", prompt=repeated(), label=pa.array([1] * ROWS))
    with pytest.raises((ConfigError, RunError), match="its texts repeat a few to more than"):
        READERS[reader](path)


def test_captions_cost_their_file_which_is_counted(tmp_path: Path) -> None:
    image = png(pictures(1)[0])
    images = pa.DictionaryArray.from_arrays(pa.array(np.zeros(ROWS, np.int32)), pa.array([image]))
    write(tmp_path / "bomb.parquet", image=images, caption=repeated())
    write(tmp_path / "fine.parquet", image=pa.array([image] * 3), caption=pa.array(["a", "b", "b"]))
    source = open_source(tmp_path)
    entries = [entry for part in range(2) for entry in source.entries(part)]
    refused, *kept = entries
    assert "its texts repeat a few" in str(refused.content)
    assert refused.name.endswith(f"bomb.parquet#0 to {ROWS - 1}")
    assert [entry.caption for entry in kept] == ["a", "b", "b"]


def test_one_picture_in_every_row_is_no_bomb(tmp_path: Path) -> None:
    """A training set may hold an image many times, each with the same caption."""
    image = png(pictures(1, side=64)[0])
    images = pa.DictionaryArray.from_arrays(pa.array(np.zeros(50_000, np.int32)), pa.array([image]))
    pq.write_table(pa.table({"image": images, "caption": repeated(50_000, 30)}), tmp_path / "copies.parquet")
    first = next(iter(open_source(tmp_path).entries(0)))
    assert first.caption == "x" * 30
    assert first.content is not None


def test_a_long_list_that_repeats_itself_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "list.parquet", prompt=repeated(300_000, 60))
    assert sum(1 for _ in TextList(path, "prompts")) == 300_000
