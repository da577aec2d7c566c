"""The Parquet schemas of a run's files, and how rows and pictures become bytes.

The columns are those of ``memcore.runs.rows``; docs/formats.md describes them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints, is_typeddict

import numpy as np
from numpy.typing import NDArray

from memcore.errors import MissingExtraError
from memcore.runs.rows import SCORES_FOLLOW, SINCE_2, FindingRow, MatchRow, QuarantineRow
from memcore.sampling.screen import SCORES

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    raise MissingExtraError("pyarrow", "audit", "A run folder") from None

_PLAIN = {str: pa.string(), bool: pa.bool_(), float: pa.float64()}


def make_schema(row: type) -> pa.Schema:
    """Return the Arrow schema of a row's type: its fields in order."""
    return pa.schema([(name, kind) for name, kind, _ in _columns(row)])


def added_columns(row: type) -> frozenset[str]:
    """Return the columns that runs of format 1 may lack."""
    return frozenset(name for name, _, added in _columns(row) if added)


def _columns(row: type) -> Iterator[tuple[str, pa.DataType, bool]]:
    """Yield (name, Arrow type, whether runs of format 1 may lack it) of each column."""
    for name, hint in get_type_hints(row, include_extras=True).items():
        marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        yield name, _arrow_type(hint), SINCE_2 in marks
        if SCORES_FOLLOW in marks:
            yield from ((score, pa.float64(), True) for score in SCORES)


def _arrow_type(hint: Any) -> pa.DataType:
    if hint in _PLAIN:
        return _PLAIN[hint]
    if is_typeddict(hint):
        return pa.struct([(name, kind) for name, kind, _ in _columns(hint)])
    arguments = get_args(hint)
    if get_origin(hint) is Annotated:
        width = next((mark for mark in arguments[1:] if isinstance(mark, str)), None)
        return pa.type_for_alias(width) if width else _arrow_type(arguments[0])
    if get_origin(hint) is list:
        return pa.list_(_arrow_type(arguments[0]))
    (present,) = (argument for argument in arguments if argument is not NoneType)  # every column may be null
    return _arrow_type(present)


FINDINGS = make_schema(FindingRow)
QUARANTINE = make_schema(QuarantineRow)
MATCHES = make_schema(MatchRow)
_PAIRS = FINDINGS.field("pairs").type


def pairs_array(edges: NDArray[np.int32], ssd: NDArray[np.unsignedinteger[Any]]) -> pa.Array:
    """Return a row's pairs, (E, 2) edges and (E,) ssd, in 16 bytes each.

    As Python objects they take 20 times as much, and a shard of 1,000 prompts may have 100 million.
    """
    columns = [pa.array(edges[:, 0]), pa.array(edges[:, 1]), pa.array(ssd.astype(np.uint64, copy=False))]
    return pa.StructArray.from_arrays(columns, fields=list(_PAIRS.value_type))


def rows_to_table(rows: Sequence[FindingRow]) -> pa.Table:
    """Return rows as a table of ``FINDINGS``; pairs are None, a list, or what ``pairs_array`` made."""
    table = pa.Table.from_pylist([{**row, "pairs": None} for row in rows], schema=FINDINGS)
    pairs: list[Any] = [row.get("pairs") for row in rows]
    if not any(p is not None for p in pairs):
        return table
    parts = [
        p if isinstance(p, pa.Array) else pa.array([] if p is None else p, type=_PAIRS.value_type)
        for p in pairs
    ]
    offsets = np.zeros(len(parts) + 1, dtype=np.int32)
    np.cumsum([len(p) for p in parts], out=offsets[1:])
    column = pa.ListArray.from_arrays(
        pa.array(offsets), pa.concat_arrays(parts), type=_PAIRS, mask=pa.array([p is None for p in pairs])
    )
    return table.set_column(FINDINGS.get_field_index("pairs"), FINDINGS.field("pairs"), column)


def table_to_rows(table: pa.Table) -> list[FindingRow]:
    """Return the rows of a table of ``FINDINGS``, with pairs as ``pairs_array`` makes them; KeyError without pairs."""
    rows: list[FindingRow] = table.drop_columns("pairs").to_pylist()
    column = table["pairs"].combine_chunks()
    for row, pairs in zip(rows, column, strict=True):
        row["pairs"] = pairs.values if pairs.is_valid else None
    return rows


def matches_to_table(rows: Sequence[MatchRow]) -> pa.Table:
    """Return rows as a table of ``MATCHES``."""
    return pa.Table.from_pylist(rows, schema=MATCHES)


def parquet_bytes(table: pa.Table) -> bytes:
    """Return the table as Parquet. Equal tables give equal bytes: no times, no compression that depends on the build."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=3)
    return sink.getvalue()


def read_parquet(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the table in a file's bytes, read by this thread alone.

    Arrow's own threads may still hold Python objects when the interpreter ends, which ends the process by an abort.
    """
    file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False)
    return file.read(list(columns) if columns else None, use_threads=False)


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """Return (H, W, C) uint8 as PNG, lossless."""
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(sink, "png", compress_level=1)
    return sink.getvalue()
