"""The footer of a Parquet file is read without pyarrow, whose errors about it end the process."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memcore.system.footer import read_footer
from memcore.system.parquet import ParquetTable
from tests.support.index_sets import pictures, png
from tests.support.parquet_by_hand import (
    DATA,
    LONG,
    PLAIN,
    Column,
    Long,
    Page,
    compact,
    parquet,
    plain,
    plain_bytes,
    table,
    text,
    zigzag,
)

#: Statistics of sizes that fit no column: two levels where there is one.
WRONG_SIZES = {1: Long(100), 2: [Long(7)] * 3, 3: [Long(7)] * 3}

PROGRAM = """
import sys
from pathlib import Path
from memcore.sources.open import open_source
from memcore.sources.text import TextList
from memcore.system.columns import iter_rows
from memcore.matching.copies import read_copies
path = Path(sys.argv[1])
for read in (
    lambda: [entry.content for entry in open_source(path).entries(0)],
    lambda: list(TextList(path, "prompts")),
    lambda: list(iter_rows(path)),
    lambda: read_copies(path),
):
    try:
        print(len(read()))
    except Exception as error:
        print(type(error).__name__)
"""


def written(**options: object) -> bytes:
    """A table of several row groups and kinds of columns."""
    draw = np.random.default_rng(1)
    columns = {
        "text": pa.array([None if n % 7 == 0 else f"{n % 50} " * 9 for n in range(3_000)]),
        "number": pa.array(draw.random(3_000)),
        "list": pa.array([[1, 2]] * 1_500 + [None] * 1_500),
        "record": pa.array([{"bytes": b"a", "path": None}] * 3_000),
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, row_group_size=1_000, **options)
    return sink.getvalue()


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("dictionary", [True, False])
def test_the_footer_says_what_arrow_says(statistics: bool, dictionary: bool) -> None:
    data = written(write_statistics=statistics, use_dictionary=dictionary)
    file = ParquetTable(pa.BufferReader(data))
    assert len(file.groups) == 3
    for g, group in enumerate(file.groups):
        about = file.metadata.row_group(g)
        assert group.rows == about.num_rows
        assert len(group.chunks) == 5
        for c, chunk in enumerate(group.chunks):
            column = about.column(c)
            first = column.dictionary_page_offset if column.has_dictionary_page else column.data_page_offset
            assert chunk.start == first
            assert chunk.stored == column.total_compressed_size
            assert chunk.values == column.num_values
            said = column.statistics
            assert chunk.nulls == (said.null_count if said else None)
            assert statistics or said is None


def test_a_path_and_an_open_file_have_the_same_footer(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    path.write_bytes(written())
    with path.open("rb") as opened, ParquetTable(path) as by_path, ParquetTable(opened) as by_file:
        assert by_path.groups == by_file.groups


#: What a footer may be instead: nothing, no row groups, one whose column is not described, and one without an end.
FOOTERS = {
    "empty": compact({}),
    "no structures": compact({1: 1, 3: Long(1), 4: 5}),
    "a column without a description": compact({4: [{1: [{2: Long(4)}], 2: Long(9), 3: Long(1)}]}),
    "numbers of 32 bits": compact({4: [{1: [{3: {5: 1, 7: 1, 9: 4}}], 2: Long(9), 3: Long(1)}]}),
    "no end": compact({4: [{1: [{2: Long(4)}], 2: Long(9), 3: Long(1)}]})[:-3],
}


@pytest.mark.parametrize("kind", FOOTERS)
def test_a_footer_that_is_none_is_refused(kind: str) -> None:
    data = b"PAR1" + FOOTERS[kind] + struct.pack("<i", len(FOOTERS[kind])) + b"PAR1"
    with pytest.raises(OSError, match="footer is damaged"):
        read_footer(io.BytesIO(data))


@pytest.mark.parametrize(
    "end", [b"", b"PAR1", struct.pack("<i", 9) + b"PARE", struct.pack("<i", -1) + b"PAR1"]
)
def test_an_end_that_is_none_is_refused(end: bytes) -> None:
    with pytest.raises(OSError, match="does not end as Parquet"):
        read_footer(io.BytesIO(b"PAR1" + end))


def test_a_footer_that_arrow_reads_otherwise_is_refused() -> None:
    """Arrow keeps the last of two fields of the same number, memcore refuses them."""
    data = parquet([plain([b"a"])], 1)
    again = b"\x16\x02\x06" + zigzag(3) + zigzag(1)
    changed = data[:-9] + again + b"\0"
    changed += struct.pack("<i", struct.unpack("<i", data[-8:-4])[0] + len(again)) + b"PAR1"
    with pytest.raises(OSError, match="field 3 comes again"):
        ParquetTable(pa.BufferReader(changed)).groups  # noqa: B018


def test_a_damaged_footer_never_ends_the_process(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    image = Column(["image"], [plain([png(pictures(1)[0])])], 1, sizes=WRONG_SIZES)
    prompt = Column(["prompt"], [plain([b"a house"])], 1, sizes=WRONG_SIZES)
    copies = Column(["copies"], [Page(DATA, 1, PLAIN, bytes(8))], 1, LONG, sizes=WRONG_SIZES)
    schema = [*plain_bytes("image"), *text("prompt"), *plain_bytes("copies", LONG)]
    path.write_bytes(table([image, prompt, copies], 1, schema, 3))
    done = subprocess.run([sys.executable, "-c", PROGRAM, path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "ConfigError", "RunError", "ConfigError"]


def test_flipped_bits_of_a_footer_are_refused_or_change_nothing_that_is_counted() -> None:
    data = written()
    (length,) = struct.unpack("<i", data[-8:-4])
    draw, refused = random.Random(3), 0
    for _ in range(2_000):
        damaged = bytearray(data)
        damaged[len(data) - 8 - draw.randrange(length) - 1] ^= 1 << draw.randrange(8)
        try:
            groups = read_footer(io.BytesIO(damaged))
            assert all(isinstance(chunk.start, int) for group in groups for chunk in group.chunks)
        except OSError:
            refused += 1
    assert 100 < refused < 1_900


def test_a_file_that_was_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    for rows in (2, 3):
        pq.write_table(pa.table({"text": ["a"] * rows}), path)
        with ParquetTable(path) as file:
            assert [group.rows for group in file.groups] == [rows]
