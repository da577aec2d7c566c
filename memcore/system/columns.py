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


def read_strings(data: NDArray[np.uint8], names: Sequence[str], rows: int | None = None) -> pa.Table:
    """Return columns of strings of a Parquet file, given its bytes. Raises ValueError, which says what is wrong with it.

    It may come from somebody else, with other columns, types and numbers of rows than memcore writes.

    >>> import numpy as np
    >>> data = np.frombuffer(to_bytes(strings({"name": ["a.png", None]})), np.uint8)
    >>> read_strings(data, ["name"], 2)["name"].to_pylist()
    ['a.png', None]
    >>> read_strings(data, ["caption"])
    Traceback (most recent call last):
        ...
    ValueError: it has 0 columns 'caption'
    """
    try:
        with pq.ParquetFile(pa.BufferReader(pa.py_buffer(data)), pre_buffer=False) as file:
            schema = file.schema_arrow
            for name in names:
                if (count := schema.names.count(name)) != 1:
                    raise ValueError(f"it has {count} columns {name!r}")
                if (kind := schema.field(name).type) not in (pa.string(), pa.null()):
                    raise ValueError(f"its column {name!r} holds {kind}, not text")
            table = file.read(list(names), use_threads=False)
            table.validate(full=True)  # a text that is none would be met in the middle of a command
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"it cannot be read as Parquet: {error}") from None
    if rows is not None and table.num_rows != rows:
        raise ValueError(f"it has {table.num_rows} rows where {rows} are expected")
    return table


def iter_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file, a batch at a time. Raises RunError for anything else."""
    try:
        with (
            path.open("rb") as opened,
            pq.ParquetFile(opened) as file,
        ):  # pyarrow takes no path that is not UTF-8
            for batch in file.iter_batches(1024, use_threads=False):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{path} cannot be read as Parquet: {error}") from None
