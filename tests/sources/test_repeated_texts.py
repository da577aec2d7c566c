"""A table of a few bytes whose one text stands in every row is refused by name, whatever reads it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memcore.errors import ConfigError, RunError
from memcore.sources.conditioned import ConditionedPrompts
from memcore.sources.entries import make_places
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


def repeated_image(path: Path, side: int, rows: int) -> None:
    """One picture in every row, which the file holds once, before texts of the same rows."""
    image = png(np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8))
    images = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([image]))
    prompts = pa.array([f"prompt {row}" for row in range(rows)])
    pq.write_table(pa.table({"image": images, "prompt": prompts}), path, dictionary_pagesize_limit=1 << 30)
    assert path.stat().st_size < len(image) + (1 << 20)


def test_a_group_that_is_one_dictionary_is_read_in_any_order(tmp_path: Path) -> None:
    """Writers look at the size of a dictionary only now and then: all images of this group are in it."""
    draw = np.random.default_rng(1)
    images = [png(draw.integers(0, 256, (60, 60, 3), dtype=np.uint8)) for _ in range(400)]
    pq.write_table(pa.table({"image": pa.array(images)}), tmp_path / "plain.parquet")
    records = [{"bytes": image, "path": None} for image in images]
    pq.write_table(pa.table({"image": pa.array(records)}), tmp_path / "records.parquet")
    for name in ("plain", "records"):
        about = pq.ParquetFile(tmp_path / f"{name}.parquet").metadata.row_group(0).column(0)
        assert about.dictionary_page_offset
        assert about.total_compressed_size * 400 > 1 << 28
        source = open_source(tmp_path / f"{name}.parquet")
        source.check_random_access()
        places = make_places(0, np.array([399, 0, 7], np.int64))
        assert [bytes(payload) for payload in source.fetch(places)] == [images[399], images[0], images[7]]
        got = [bytes(payload) for batch in source.read(0, 0) for payload in batch.payloads]
        assert got == images


PROGRAM = """
import resource, sys
from pathlib import Path
from memcore.sources.conditioned import ConditionedPrompts
from memcore.sources.entries import make_places
from memcore.sources.open import open_source

def source(path):
    held = open_source(path)
    return sum(len(batch) for batch in held.read(0, 0))

def conditioned(path):
    return sum(1 for _ in zip(range(3), ConditionedPrompts(path, ("image",))))

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
got = {"source": source, "conditioned": conditioned}[sys.argv[1]](Path(sys.argv[2]))
print(got, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.parametrize(("reader", "expected"), [("source", 120), ("conditioned", 3)])
def test_one_image_in_every_row_is_not_held_for_each(tmp_path: Path, reader: str, expected: int) -> None:
    """Of 12 megabytes in 120 rows: 1.4 GB."""
    path = tmp_path / "images.parquet"
    repeated_image(path, 2000, 120)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, reader, str(path)], capture_output=True, text=True, check=True
    )
    got, mebibytes = map(int, done.stdout.split())
    assert got == expected
    assert mebibytes < 300
