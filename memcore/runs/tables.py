"""Rows as Parquet: the tables of a run's files, and their bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.errors import MissingExtraError
from memcore.runs.rows import FindingRow, MatchRow
from memcore.runs.schema import FINDINGS, MATCHES

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    raise MissingExtraError("pyarrow", "audit", "A run folder") from None

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
