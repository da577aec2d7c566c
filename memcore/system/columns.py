"""Columns of strings in Parquet: names, captions, quarantine, prompts."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.errors import MissingExtraError

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    raise MissingExtraError("pyarrow", "audit", "An index") from None


def to_bytes(table: pa.Table, row_group: int = 65536) -> bytes:
    """Return a table as Parquet; equal tables give equal bytes."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=3, row_group_size=row_group)
    return sink.getvalue()


def strings(columns: Mapping[str, Sequence[str | None]]) -> pa.Table:
    """Return a table of columns of strings."""
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def ranked(rows: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Return a table of ranked prompts: count and training_index are whole numbers, other columns text."""
    return pa.table(
        {
            name: pa.array(values, pa.int64() if name in ("count", "training_index") else pa.string())
            for name, values in rows.items()
        }
    )


def read_rows(data: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """Return the rows of a Parquet file, given its bytes."""
    rows: list[dict[str, Any]] = pq.read_table(pa.BufferReader(pa.py_buffer(data))).to_pylist()
    return rows


def take(data: NDArray[np.uint8], column: str, rows: Any) -> list[str | None]:
    """Return the values of some rows of a column of a Parquet file, given its bytes."""
    table = pq.read_table(pa.BufferReader(pa.py_buffer(data)), columns=[column])
    values: list[str | None] = table.column(0).take(rows).to_pylist()
    return values
