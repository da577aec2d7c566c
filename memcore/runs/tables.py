"""Rows as Parquet: the tables of a run's files, and their bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from memcore.errors import MissingExtraError
from memcore.runs.rows import FindingRow, MatchRow
from memcore.runs.schema import FINDINGS, MATCHES
from memcore.storage.digests import FileDigest

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    raise MissingExtraError("pyarrow", "audit", "A run folder") from None

#: Columns of a row that are held as Arrow arrays: they may have a thousand times as many entries as there are rows.
ARRAYS = ("pairs", "images")
_TYPES = {name: FINDINGS.field(name).type for name in ARRAYS}


def pairs_array(edges: NDArray[np.int32], ssd: NDArray[np.unsignedinteger[Any]]) -> pa.Array:
    """Return a row's pairs, (E, 2) edges and (E,) ssd, in 16 bytes each.

    As Python objects they take 20 times as much, and a shard of 1,000 prompts may have 100 million.
    """
    columns = [pa.array(edges[:, 0]), pa.array(edges[:, 1]), pa.array(ssd.astype(np.uint64, copy=False))]
    return pa.StructArray.from_arrays(columns, fields=list(_TYPES["pairs"].value_type))


def images_array(written: Mapping[int, FileDigest]) -> pa.Array:
    """Return a row's images, of which ``written`` holds each file's digest by seed, in that order."""
    if not written:  # as of most prompts
        return _NO_IMAGES
    columns = [
        pa.array(list(written), pa.int64()),
        pa.array([digest["bytes"] for digest in written.values()], pa.int64()),
        pa.array([digest["sha256"] for digest in written.values()], pa.string()),
    ]
    return pa.StructArray.from_arrays(columns, fields=list(_TYPES["images"].value_type))


_NO_IMAGES = pa.array([], _TYPES["images"].value_type)


def rows_to_table(rows: Sequence[FindingRow]) -> pa.Table:
    """Return rows as a table of ``FINDINGS``; the columns ``ARRAYS`` are None, lists, or what the functions above made."""
    table = pa.Table.from_pylist([{**row, **dict.fromkeys(ARRAYS)} for row in rows], schema=FINDINGS)
    for name in ARRAYS:
        column = _array_column(name, [cast(Mapping[str, Any], row).get(name) for row in rows])
        if column is not None:
            table = table.set_column(FINDINGS.get_field_index(name), FINDINGS.field(name), column)
    return table


def _array_column(name: str, values: list[Any]) -> pa.Array | None:
    """Return a column of lists; None where no row has one."""
    if all(value is None for value in values):
        return None
    kind = _TYPES[name]
    parts = [
        value if isinstance(value, pa.Array) else pa.array(value or [], type=kind.value_type)
        for value in values
    ]
    offsets = np.zeros(len(parts) + 1, dtype=np.int32)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    mask = pa.array([value is None for value in values])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.concat_arrays(parts), type=kind, mask=mask)


def table_to_rows(table: pa.Table) -> list[FindingRow]:
    """Return the rows of a table of ``FINDINGS``, whose ``ARRAYS`` are as they are written; KeyError without these."""
    rows: list[FindingRow] = table.drop_columns(list(ARRAYS)).to_pylist()
    for name in ARRAYS:
        for row, value in zip(rows, table[name].combine_chunks(), strict=True):
            cast(dict[str, Any], row)[name] = value.values if value.is_valid else None
    return rows


def matches_to_table(rows: Sequence[MatchRow]) -> pa.Table:
    """Return rows as a table of ``MATCHES``."""
    return pa.Table.from_pylist(rows, schema=MATCHES)


def parquet_bytes(table: pa.Table) -> bytes:
    """Return the table as Parquet. Equal tables give equal bytes: no times, no compression that depends on the build."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=3)
    return sink.getvalue()
