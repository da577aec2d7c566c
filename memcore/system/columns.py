"""Columns of strings in Parquet: names, captions, quarantine, prompts."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.errors import MissingExtraError, RunError

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    raise MissingExtraError("pyarrow", "audit", "An index") from None

from memcore.system.claims import check_claims
from memcore.system.parquet import ParquetTable


def to_bytes(table: pa.Table, row_group: int = 65536) -> bytes:
    """Return a table as Parquet; equal tables give equal bytes."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=3, row_group_size=row_group)
    return sink.getvalue()


def strings(columns: Mapping[str, Sequence[str | None]]) -> pa.Table:
    """Return a table of columns of strings."""
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def ranked(
    rows: Mapping[str, Sequence[Any]],
    members: Sequence[NDArray[np.int64]],
    names: Iterable[Sequence[str | None]],
) -> pa.Table:
    """Return a table of ranked prompts: count and training_index are whole numbers, other columns text.

    ``members`` are the images of each row's group, and ``names`` those of all of them one after the other, in pieces:
    columns of lists.
    """
    offsets = np.zeros(len(members) + 1, np.int64)
    np.cumsum([len(group) for group in members], out=offsets[1:])
    flat = pa.array(np.concatenate(members))
    told = pa.concat_arrays([pa.array(some, pa.string()) for some in names])
    lists = {
        "members": pa.LargeListArray.from_arrays(offsets, flat),
        "member_names": pa.LargeListArray.from_arrays(offsets, told),
    }
    plain = {
        name: pa.array(values, pa.int64() if name in ("count", "training_index") else pa.string())
        for name, values in rows.items()
    }
    return pa.table({**plain, **lists})


def read_rows(data: NDArray[np.uint8], names: Sequence[str], count: int) -> list[dict[str, str | None]]:
    """Return the texts of a Parquet file by the names of their columns, given its bytes.

    Raises ValueError unless it has ``count`` rows with these columns of strings: a file of a few bytes may claim millions.
    """
    rows: list[dict[str, str | None]] = _read(data, names, count).to_pylist()
    return rows


def iter_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file, a batch at a time. Raises RunError for anything else."""
    try:
        with (
            path.open("rb") as opened,
            ParquetTable(opened) as file,
        ):  # pyarrow takes no path that is not UTF-8
            check_claims(file, opened)
            for batch in file.iter_batches(1024, use_threads=False):
                yield from batch.to_pylist()
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
        raise RunError(f"{path} cannot be read as Parquet: {error}") from None


def take(data: NDArray[np.uint8], column: str, rows: Any, count: int) -> list[str | None]:
    """Return the values of some rows of a column of a Parquet file of ``count`` rows, given its bytes.

    Raises ValueError as ``read_rows`` does.
    """
    values: list[str | None] = _read(data, [column], count).column(0).take(rows).to_pylist()
    return values


def _read(data: NDArray[np.uint8], names: Sequence[str], count: int) -> pa.Table:
    try:
        file = ParquetTable(pa.BufferReader(pa.py_buffer(data)), pre_buffer=False)
        if (found := file.metadata.num_rows) != count:
            raise ValueError(f"it has {found:,} rows where {count:,} are expected")
        check_claims(file, data)
        schema = file.schema_arrow
        for name in names:
            if schema.get_field_index(name) < 0 or schema.field(name).type != pa.string():
                raise ValueError(f"it has no column {name!r} of texts")
        table = file.read(list(names), use_threads=False)
        table.validate(full=True)  # a text that is none would be met in the middle of a command
        return table
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise ValueError(f"it cannot be read as Parquet ({error})") from None
