"""The footer of a Parquet file is read without pyarrow, whose errors about it end the process."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memcore.errors import ConfigError, RunError
from memcore.images import UnreadableImage
from memcore.matching.copies import read_copies
from memcore.sources.conditioned import ConditionedPrompts
from memcore.sources.open import open_source
from memcore.sources.text import TextList
from memcore.system.columns import iter_rows
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


def flipped(data: bytes, part: str) -> Iterator[bytes]:
    """The file with each bit of its footer, or of what comes before it, flipped."""
    (length,) = struct.unpack("<i", data[-8:-4])
    footer = len(data) - 8 - length
    for at in range(footer, len(data) - 8) if part == "footer" else range(4, footer):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            yield bytes(damaged)


def test_no_flipped_bit_of_a_footer_loses_a_row_unsaid(tmp_path: Path) -> None:
    """One number of rows may lie: the others must agree with it."""
    sink, path = io.BytesIO(), tmp_path / "rows.parquet"
    rows = {"image": [png(pictures(1)[0])] * 30, "prompt": [f"a {n}" for n in range(30)]}
    options = {"row_group_size": 10, "compression": "none", "write_statistics": False, "store_schema": False}
    pq.write_table(pa.table(rows), sink, **options)
    read = refused = 0
    for damaged in flipped(sink.getvalue(), "footer"):
        path.write_bytes(damaged)
        try:
            prompts = [*TextList(path, "prompts", blank="keep")]
        except ConfigError:
            refused += 1
            continue
        assert len(prompts) == 30
        read += 1
        with contextlib.suppress(ConfigError):
            entries = [payload for batch in open_source(path).read(0, 0) for payload in batch.payloads]
            assert len(entries) == 30 or any(isinstance(e, UnreadableImage) for e in entries)
    assert read > 100
    assert refused > 100


def test_no_flipped_bit_of_a_page_loses_a_row_unsaid(tmp_path: Path) -> None:
    """A page's header may say fewer values than the footer."""
    sink, path = io.BytesIO(), tmp_path / "rows.parquet"
    rows = {"prompt": [f"a {n}" for n in range(30)], "copies": list(range(1, 31))}
    pq.write_table(pa.table(rows), sink, row_group_size=15, compression="none", use_dictionary=False)
    refused = 0
    for damaged in flipped(sink.getvalue(), "pages"):
        path.write_bytes(damaged)
        for read in (
            lambda: TextList(path, "prompts", blank="keep"),
            lambda: iter_rows(path),
            lambda: read_copies(path),
        ):
            try:
                assert len([*read()]) == 30
            except (ConfigError, RunError):
                refused += 1
    assert refused > 100


def large_footers() -> Iterator[tuple[str, bytes]]:
    """Footers of which Arrow makes gigabytes, before anybody can ask how large they are."""
    leaf, chunk = {1: LONG, 3: 0, 4: "a"}, {3: {}}
    group = {3: 0, 4: "x" * 200_000, 5: 2_000}
    yield "names", compact({2: [{4: "schema", 5: 1}, group, *[leaf] * 2_000], 3: Long(0), 4: []})
    groups = [{1: [chunk] * 200_000, 3: Long(0)}] * 3
    yield "structures", compact({2: [{4: "schema", 5: 1}, leaf], 3: Long(0), 4: groups})
    about = {3: {5: Long(0), 7: Long(0), 9: Long(4)}}
    groups = [{1: [about] * 300, 3: Long(0)}] * 500
    yield "columns of row groups", compact({2: [{4: "schema", 5: 300}, *[leaf] * 300], 3: Long(0), 4: groups})


@pytest.mark.parametrize("kind", ["names", "structures", "columns of row groups"])
def test_a_footer_that_would_fill_the_memory_is_refused_before_arrow_reads_it(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    footer = dict(large_footers())[kind]
    monkeypatch.setattr(pq, "read_metadata", lambda _: pytest.fail("Arrow reads it"))
    with pytest.raises(OSError, match=kind):
        ParquetTable(pa.BufferReader(b"PAR1" + footer + struct.pack("<i", len(footer)) + b"PAR1"))


@pytest.mark.parametrize(
    ("rows", "values", "why"),
    [
        ([1], [0], "0 values in 1 rows"),
        ([1], [2], "2 values in 1 rows"),
        ([2, -1], [2, -1], "-1 rows"),
        ([1, 1], [1, 1], "1 rows, and 2 in its row groups"),
    ],
)
def test_rows_that_contradict_each_other_are_refused(rows: list[int], values: list[int], why: str) -> None:
    schema = [{4: "schema", 5: 1}, *text("text")]
    groups = [
        {1: [{3: {5: Long(v), 7: Long(9), 9: Long(4)}}], 3: Long(r)}
        for r, v in zip(rows, values, strict=True)
    ]
    footer = compact({2: schema, 3: Long(1), 4: groups})
    with pytest.raises(OSError, match=why):
        read_footer(io.BytesIO(b"PAR1" + footer + struct.pack("<i", len(footer)) + b"PAR1"))


def test_a_list_may_have_several_values_in_a_row_and_a_file_no_rows() -> None:
    for rows in ([], [[1, 2], [3], []]):
        sink = io.BytesIO()
        pq.write_table(pa.table({"list": pa.array(rows, pa.list_(pa.int64()))}), sink)
        assert sum(group.rows for group in read_footer(sink)) == len(rows)


def test_many_small_row_groups_are_read_as_fast_as_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The footer is read once, not once for each row group."""
    path, times = tmp_path / "groups.parquet", []
    pq.write_table(pa.table({"image": [png(pictures(1)[0])] * 40}), path, row_group_size=1)
    read_metadata = pq.read_metadata
    monkeypatch.setattr(pq, "read_metadata", lambda file: times.append(1) or read_metadata(file))
    source = open_source(path)
    assert len([p for batch in source.read(0, 0) for p in batch.payloads]) == 40
    assert len(times) == 1


@pytest.mark.parametrize("column", ["copies", "label"])
def test_times_that_python_has_not_are_refused_by_name(column: str, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    never = pa.array([2**62], pa.timestamp("us", tz="UTC"))
    pq.write_table(pa.table({"prompt": ["a house"], column: never}), path)
    with pytest.raises(RunError, match="cannot be read"):
        list(iter_rows(path))
    if column == "label":
        with pytest.raises(ConfigError, match="cannot be read"):
            list(ConditionedPrompts(path, ["label"]))


def test_a_file_that_was_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    for rows in (2, 3):
        pq.write_table(pa.table({"text": ["a"] * rows}), path)
        with ParquetTable(path) as file:
            assert [group.rows for group in file.groups] == [rows]
