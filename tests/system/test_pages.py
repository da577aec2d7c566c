"""Pages of Parquet that lie about their size are refused before they are unpacked."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memcore.system.claims import check_claims, check_listed
from memcore.system.pages import Pages, count_pages
from memcore.system.parquet import ParquetTable
from tests.support.parquet_by_hand import (
    DATA,
    DICTIONARY,
    FIXED,
    INDEX,
    LONG,
    PLAIN,
    Column,
    Page,
    compact,
    header,
    nulls,
    numbered,
    one_list,
    parquet,
    plain,
    plain_bytes,
    table,
    text_list,
    zigzag,
)

LONG_TEXT = b"x" * 100_000
#: A text of 100,000 letters in 20,000 rows.
REPEATED = [plain([LONG_TEXT], DICTIONARY), numbered(20_000)]


def check(data: bytes) -> None:
    check_claims(ParquetTable(pa.BufferReader(data)), data)


def check_list(data: bytes) -> None:
    check_listed(ParquetTable(pa.BufferReader(data)), io.BytesIO(data), ["text"])


def counted(data: bytes) -> list[tuple[Pages, Any]]:
    file = ParquetTable(pa.BufferReader(data))
    schema, columns = file.schema, range(file.metadata.num_columns)
    return [
        (
            count_pages(io.BytesIO(data), group.chunks[c], schema.column(c)),
            file.metadata.row_group(g).column(c),
        )
        for g, group in enumerate(file.groups)
        for c in columns
    ]


def given_twice(packed: int, unpacked: int) -> bytes:
    """A header that says its bytes once as Arrow reads it, and again as it does not."""
    once = header(Page(DATA, 1, PLAIN, b""), packed, unpacked)[:-1]
    return once + b"\6" + zigzag(2) + zigzag(10) + b"\0"


def too_wide(packed: int, unpacked: int) -> bytes:
    """A header of 2^32 + 1 values, of which Arrow reads one."""
    described = b"\x15" + zigzag(2**32 + 1) + b"\x15" + zigzag(PLAIN) + b"\0"
    return (
        b"\x15"
        + zigzag(DATA)
        + b"\x15"
        + zigzag(unpacked)
        + b"\x15"
        + zigzag(packed)
        + b"\x2c"
        + described
        + b"\0"
    )


def shortened() -> bytes:
    """A text in many rows, each stored as what it has in common with the one before."""
    sink = io.BytesIO()
    pq.write_table(
        pa.table({"text": pa.array([LONG_TEXT.decode()] * 2_000)}).combine_chunks(),
        sink,
        use_dictionary=False,
        column_encoding={"text": "DELTA_BYTE_ARRAY"},
        compression="zstd",
        data_page_size=1 << 30,
    )
    return sink.getvalue()


def of_lists(count: int) -> bytes:
    return table([Column(["text", "list", "element"], [one_list(count)], count)], 1, text_list())


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a dictionary after a plain page": (
        lambda: parquet([plain([b"a"]), *REPEATED], 20_001),
        "its texts repeat a few",
    ),
    "a dictionary that claims to be empty": (
        lambda: parquet([REPEATED[0]._replace(claimed=0), REPEATED[1]], 20_000, codec="none"),
        "its texts repeat a few",
    ),
    "a page without values before": (
        lambda: parquet([Page(INDEX, 0, 0, b""), *REPEATED], 20_000),
        "its texts repeat a few",
    ),
    "a page of zeros": (lambda: parquet([plain([bytes(300_000_000)])], 1), "claims to unpack to 300,000,004"),
    "several pages of zeros": (lambda: parquet([plain([bytes(60_000_000)])] * 20, 20), "claims"),
    "a page that claims two gigabytes": (
        lambda: parquet([plain([b"a"])._replace(claimed=2**31 - 1)], 1),
        "claims to unpack to 2,147,483,647",
    ),
    "a size that is given twice": (
        lambda: parquet([plain([bytes(300_000_000)])._replace(header=given_twice)], 1),
        "field 2 comes again",
    ),
    "more values than 32 bits": (
        lambda: parquet([plain([b"a"])._replace(header=too_wide), *REPEATED], 20_001),
        "where 32 bits are allowed",
    ),
    "a list of nulls": (lambda: of_lists(1 << 28), "claims 268,435,456 values"),
    "nulls of a gigabyte": (
        lambda: table([Column(["text"], [nulls(2)], 2, FIXED)], 2, plain_bytes("text", FIXED, 1 << 30)),
        "claim to be 2 values of 1,073,741,824 bytes",
    ),
    "a dictionary of empty texts": (
        lambda: parquet([Page(DICTIONARY, 60_000_000, PLAIN, bytes(240_000_000)), numbered(5)], 5),
        "claims to be|claims texts",
    ),
    "numbers that unpack to a gigabyte": (
        lambda: table(
            [Column(["text"], [Page(DATA, 2, PLAIN, bytes(1 << 30))], 2, LONG)], 2, plain_bytes("text", LONG)
        ),
        "claims to unpack",
    ),
}


@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.parametrize("checked", [check, check_list])
def test_what_would_fill_the_memory_is_refused(kind: str, checked: Callable[[bytes], None]) -> None:
    make, why = BOMBS[kind]
    data = make()
    assert len(data) < 1 << 18
    with pytest.raises((ValueError, OSError), match=why):
        checked(data)


def test_texts_that_are_stored_shortened_are_counted() -> None:
    """200 megabytes: what memcore writes has fewer, a list may have them."""
    data = shortened()
    assert len(data) < 4096
    check_list(data)
    with pytest.raises(ValueError, match="its texts repeat a few"):
        check(data)


def test_more_values_than_the_footer_says_are_counted() -> None:
    with pytest.raises(ValueError, match="claims 100,000,000 values"):
        check(parquet([plain([b"x"], DICTIONARY), numbered(10**8)], 1))


def test_files_by_hand_are_read_by_arrow() -> None:
    """Or the tests above would say nothing."""
    data = parquet([plain([b"a"]), Page(INDEX, 0, 0, b""), plain([b"bc"], DICTIONARY), numbered(3)], 4)
    check(data)
    check_list(data)
    assert pq.read_table(io.BytesIO(data))["text"].to_pylist() == ["a", "bc", "bc", "bc"]
    assert pq.read_table(io.BytesIO(of_lists(3)))["text"].to_pylist() == [[None] * 3]
    fixed = table([Column(["text"], [nulls(2)], 2, FIXED)], 2, plain_bytes("text", FIXED, 4))
    assert pq.read_table(io.BytesIO(fixed))["text"].to_pylist() == [None, None]
    assert pq.read_table(io.BytesIO(shortened()))["text"].to_pylist()[-1] == LONG_TEXT.decode()


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_pages_that_arrow_writes_are_counted(version: str, dictionary: bool) -> None:
    draw = np.random.default_rng(1)
    written = pa.table(
        {
            "text": [f"{number} " * 40 for number in draw.integers(0, 9_000, 30_000)],
            "number": draw.random(30_000),
            "list": [[1, 2]] * 15_000 + [None] * 15_000,
            "truth": draw.integers(0, 2, 30_000).astype(bool),
        }
    )
    sink = io.BytesIO()
    options = {"use_dictionary": dictionary, "data_page_version": version, "data_page_size": 4096}
    pq.write_table(written, sink, row_group_size=12_000, **options)
    for pages, chunk in counted(sink.getvalue()):
        assert pages.values == chunk.num_values
        assert (pages.numbered > 0) is chunk.has_dictionary_page
        # the footer counts the headers too, which take most of a few nulls
        if chunk.total_uncompressed_size > 1_000 and not chunk.has_dictionary_page:
            assert 0.5 * chunk.total_uncompressed_size < pages.unpacked < chunk.total_uncompressed_size
    check(sink.getvalue())


def test_damaged_headers_are_refused_and_nothing_else_happens() -> None:
    sink = io.BytesIO()
    texts = pa.table({"text": [f"{n}" * 30 for n in range(400)]})
    pq.write_table(texts, sink, data_page_size=64, write_batch_size=2, use_dictionary=False)
    data = sink.getvalue()
    file = ParquetTable(pa.BufferReader(data))
    chunk = file.groups[0].chunks[0]
    draw, refused = random.Random(7), 0
    for _ in range(200):
        damaged = bytearray(data)
        for _ in range(draw.randrange(1, 40)):
            damaged[draw.randrange(4, chunk.stored)] = draw.randrange(256)
        try:
            count_pages(io.BytesIO(damaged), chunk, file.schema.column(0))
        except (OSError, ValueError):
            refused += 1
    assert refused > 50


#: A list of billions, structures within structures, fields without number, and a kind that none has.
HEADERS = [b"\x19\xf8" + b"\xff" * 4 + b"\x7f", b"\x1c" * 10_000, b"\x15\x00" * 20_000, b"\x1d"]


@pytest.mark.parametrize("wrong", HEADERS)
def test_headers_without_an_end_are_refused_at_once(wrong: bytes) -> None:
    data = parquet([plain([b"a"])._replace(header=lambda _packed, _unpacked: wrong + b"\x19" * 100_000)], 1)
    with pytest.raises(OSError, match="header"):
        counted(data)
    assert compact({}) == b"\0"
