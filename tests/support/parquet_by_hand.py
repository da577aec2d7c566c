"""Parquet files page by page, as no library writes them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

PLAIN, NUMBERED = 0, 8
DATA, INDEX, DICTIONARY = 0, 1, 2
LONG, BYTES, FIXED = 2, 6, 7
_UTF8, _REQUIRED, _OPTIONAL, _REPEATED = 0, 0, 1, 2
_CODECS = {"none": 0, "zstd": 6}


class Long(int):
    """A whole number that the format wants in 64 bits."""


class Page(NamedTuple):
    """A page: its kind, how many values it says it has, their encoding, and its bytes before they are packed.

    ``claimed`` is what its header says of its bytes, if that is not the truth; ``header`` makes another header from the
    packed and the unpacked length.
    """

    kind: int
    values: int
    encoding: int
    body: bytes
    claimed: int | None = None
    header: Callable[[int, int], bytes] | None = None


class Column(NamedTuple):
    """A stored column: its path, its pages, and what the footer says of it."""

    path: Sequence[str]
    pages: Sequence[Page]
    values: int
    physical: int = BYTES
    codec: str = "zstd"
    packed: int = 0
    sizes: Mapping[int, Any] | None = None


def plain(values: Sequence[bytes], kind: int = DATA) -> Page:
    """Return a page of values, or the page of a dictionary."""
    body = b"".join(struct.pack("<i", len(value)) + value for value in values)
    return Page(kind, len(values), PLAIN, body)


def numbered(count: int) -> Page:
    """Return a page that says ``count`` times the first value of the dictionary, in a few bytes."""
    return Page(DATA, count, NUMBERED, b"\1" + _varint(count << 1) + b"\0")


def nulls(count: int) -> Page:
    """Return a page of ``count`` nulls of a column that may have them, in a few bytes."""
    levels = _varint(count << 1) + b"\0"
    return Page(DATA, count, PLAIN, struct.pack("<i", len(levels)) + levels)


def one_list(count: int) -> Page:
    """Return a page of one row: a list of ``count`` nulls, in a few bytes."""
    repeated = _varint(1 << 1) + b"\0" + _varint((count - 1) << 1) + b"\1"
    defined = _varint(count << 1) + b"\2"
    body = b"".join(struct.pack("<i", len(levels)) + levels for levels in (repeated, defined))
    return Page(DATA, count, PLAIN, body)


def text(name: str = "text") -> list[dict[int, Any]]:
    """Return the schema of a column of texts."""
    return [{1: BYTES, 3: _REQUIRED, 4: name, 6: _UTF8}]


def plain_bytes(name: str, physical: int = BYTES, width: int = 0) -> list[dict[int, Any]]:
    """Return the schema of a column of bytes or numbers; with a ``width``, of bytes of that length or null."""
    if width:
        return [{1: physical, 2: width, 3: _OPTIONAL, 4: name}]
    return [{1: physical, 3: _REQUIRED, 4: name}]


def text_list(name: str = "text") -> list[dict[int, Any]]:
    """Return the schema of a column of lists of texts; its path is (name, "list", "element")."""
    element = {1: BYTES, 3: _OPTIONAL, 4: "element", 6: _UTF8}
    return [{3: _OPTIONAL, 4: name, 5: 1, 6: 3}, {3: _REPEATED, 4: "list", 5: 1}, element]


def picture(name: str = "image") -> list[dict[int, Any]]:
    """Return the schema of a column of records of bytes and path, as data sets hold pictures."""
    return [{3: _REQUIRED, 4: name, 5: 2}, *plain_bytes("bytes"), *text("path")]


def parquet(pages: Sequence[Page], rows: int, *, name: str = "text", codec: str = "zstd") -> bytes:
    """Return a file of one column of texts."""
    return table([Column([name], pages, rows, codec=codec)], rows, text(name))


def table(columns: Sequence[Column], rows: int, schema: Sequence[Mapping[int, Any]], top: int = 1) -> bytes:
    """Return a file of one row group, whose footer says that each column has 100 bytes. ``top`` columns have no parent."""
    data, chunks = b"PAR1", []
    for column in columns:
        start, first, dictionary = len(data), 0, 0
        for page in column.pages:
            packed = page.body
            if column.codec != "none":
                packed = pa.compress(page.body, codec=column.codec, asbytes=True)
            if page.kind == DICTIONARY:
                dictionary = dictionary or len(data)
            else:
                first = first or len(data)
            sizes = len(packed), len(page.body)
            data += (page.header(*sizes) if page.header else header(page, *sizes)) + packed
        about = {1: column.physical, 2: [PLAIN, NUMBERED], 3: list(column.path), 4: _CODECS[column.codec]}
        size = column.packed or len(data) - start
        about |= {5: Long(column.values), 6: Long(100), 7: Long(size), 9: Long(first)}
        if dictionary and dictionary < first:
            about[11] = Long(dictionary)
        if column.sizes is not None:
            about[16] = column.sizes
        chunks.append({2: Long(4), 3: about})
    group = {1: chunks, 2: Long(100), 3: Long(rows)}
    footer = compact({1: 1, 2: [{4: "schema", 5: top}, *schema], 3: Long(rows), 4: [group]})
    return data + footer + struct.pack("<i", len(footer)) + b"PAR1"


def header(page: Page, packed: int, unpacked: int) -> bytes:
    """Return a page's header, as the format has it."""
    described: dict[int, Any] = {}
    if page.kind == DICTIONARY:
        described = {7: {1: page.values, 2: page.encoding}}
    elif page.kind == DATA:
        described = {5: {1: page.values, 2: page.encoding, 3: 3, 4: 3}}
    return compact(
        {1: page.kind, 2: unpacked if page.claimed is None else page.claimed, 3: packed, **described}
    )


def compact(fields: Mapping[int, Any]) -> bytes:
    """Return a structure in Thrift's compact protocol."""
    out, last = b"", 0
    for field, value in sorted(fields.items()):
        kind, packed = _value(value)
        assert 0 < field - last < 16
        out += bytes([(field - last) << 4 | kind]) + packed
        last = field
    return out + b"\0"


def _value(value: Any) -> tuple[int, bytes]:
    if isinstance(value, Long):
        return 6, zigzag(value)
    if isinstance(value, int):
        return 5, zigzag(value)
    if isinstance(value, str):
        return 8, _varint(len(value)) + value.encode()
    if isinstance(value, Mapping):
        return 12, compact(value)
    packed = [_value(item) for item in value]
    kind = packed[0][0] if packed else 12
    head = (
        bytes([len(packed) << 4 | kind])
        if len(packed) < 15
        else bytes([15 << 4 | kind]) + _varint(len(packed))
    )
    return 9, head + b"".join(body for _, body in packed)


def zigzag(number: int) -> bytes:
    """Return a whole number as the protocol writes it."""
    return _varint(number << 1 if number >= 0 else (-number << 1) - 1)


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])
