"""Columns of strings in Parquet: names, captions, quarantine, prompts."""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.errors import MissingExtraError, RunError

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
except ImportError:
    raise MissingExtraError("pyarrow", "audit", "An index") from None


#: Rows, and bytes of values, that a table may have however small its file is: more than this, and more than these times
#: its bytes, is claimed by no file that memcore writes.
_ROWS, _ROWS_A_BYTE = 1 << 20, 1
_VALUES, _VALUES_A_BYTE = 1 << 28, 64
#: Bytes of the largest plain value.
_VALUE_BYTES = 8
#: Bytes of texts that a table may have however small its file is, and how many times the file's bytes.
_TEXTS, _TEXTS_A_BYTE = 1 << 27, 64
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
#: Bytes of texts that a user's list may have however small its file is.
_LISTED = 1 << 30


def check_claims(file: pq.ParquetFile, source: Any) -> None:
    """Raise ValueError if a table would take far more memory than its file can fill.

    A page of a few bytes may say that one value is repeated a billion times, and a text that is stored once may be that of
    every row. ``source`` is what the table was opened from: its bytes, or an open file.
    """
    size = source.seek(0, os.SEEK_END) if hasattr(source, "seek") else len(source)
    metadata = file.metadata
    if metadata.num_rows > max(_ROWS, _ROWS_A_BYTE * size):
        raise ValueError(f"it claims {metadata.num_rows:,} rows in {size:,} bytes")
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    values = sum(group.column(c).num_values for group in groups for c in range(metadata.num_columns))
    if values * _VALUE_BYTES > max(_VALUES, _VALUES_A_BYTE * size):
        raise ValueError(f"it claims {values:,} values in {size:,} bytes")
    _check_texts(metadata, source, max(_TEXTS, _TEXTS_A_BYTE * size))


def check_listed(file: pq.ParquetFile, source: Any, names: Sequence[str]) -> None:
    """Raise ValueError if the texts of some columns of a user's own table would take far more memory than its file can fill.

    Such a table is read a batch or a row group at a time, and may be long and repeat itself: 1 GiB of texts are read of any.
    """
    size = source.seek(0, os.SEEK_END)
    _check_texts(file.metadata, source, max(_LISTED, _TEXTS_A_BYTE * size), set(names))


def _check_texts(metadata: Any, source: Any, most: int, names: Collection[str] | None = None) -> None:
    """Raise ValueError if the texts of a table have more than ``most`` bytes; with ``names``, those of these columns.

    Where that is possible they are read as numbers of the texts in a dictionary, which repeat nothing.
    """
    groups = [metadata.row_group(g) for g in range(metadata.num_row_groups)]
    columns = [[group.column(c) for group in groups] for c in range(metadata.num_columns)]
    texts = [
        column
        for column in columns
        if column
        and column[0].physical_type == "BYTE_ARRAY"
        and (names is None or column[0].path_in_schema.partition(".")[0] in names)
    ]
    if (unpacked := sum(chunk.total_uncompressed_size for column in texts for chunk in column)) > most:
        raise ValueError(f"it claims texts of {unpacked:,} bytes")
    doubtful = [
        column
        for column in texts
        if sum(chunk.num_values * chunk.total_uncompressed_size for chunk in column) > most
    ]
    if not doubtful:
        return
    held = unpacked
    with _open(source, read_dictionary=[column[0].path_in_schema for column in doubtful]) as file:
        for column in doubtful:
            for number, chunk in enumerate(column):
                try:
                    held += _repeated_bytes(file, number, chunk, most - held)
                except (pa.ArrowException, OSError):
                    if names is None:
                        raise
                    continue  # a damaged row group of a list costs its own rows, when they are read
                if held > most:
                    raise ValueError(f"its texts repeat a few to more than {most:,} bytes")


def _repeated_bytes(file: pq.ParquetFile, group: int, chunk: Any, most: int) -> int:
    """Return how many bytes the texts of a dictionary make in one column of a row group: at most, or exactly if need be."""
    path = [chunk.path_in_schema]
    first = next(file.iter_batches(1, row_groups=[group], columns=path, use_threads=False), None)
    if first is None:
        return 0
    longest = max(map(_longest_text, first.columns))  # a row with a text has the whole dictionary
    if longest and (bound := longest * int(chunk.num_values)) <= most:
        return bound
    table = file.read_row_group(group, columns=path, use_threads=False)
    return sum(_text_bytes(part) for column in table.columns for part in column.chunks)


def _longest_text(array: Any) -> int:
    """Return the length of the longest text of the dictionary of an array, or of lists or records of such."""
    if pa.types.is_dictionary(array.type):
        return int(pc.max(pc.binary_length(array.dictionary)).as_py() or 0)
    return max(map(_longest_text, _within(array)), default=int(array.nbytes))


def _text_bytes(array: Any) -> int:
    """Return the bytes of all texts in an array of texts, of numbers of texts, or of lists or records of them."""
    if pa.types.is_dictionary(array.type):
        lengths = pc.take(pc.binary_length(array.dictionary), array.indices)
        return int(pc.sum(pc.cast(lengths, pa.int64())).as_py() or 0)
    inner = _within(array)
    return sum(map(_text_bytes, inner)) if inner else int(array.nbytes)


def _within(array: Any) -> list[Any]:
    """Return the arrays that an array of lists or records consists of."""
    if pa.types.is_struct(array.type):
        return list(array.flatten())
    if any(of_kind(array.type) for of_kind in _LISTS):
        return [array.flatten()]
    return []


def _open(source: Any, **options: Any) -> pq.ParquetFile:
    held = source if hasattr(source, "seek") else pa.BufferReader(pa.py_buffer(source))
    return pq.ParquetFile(held, pre_buffer=False, **options)


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
            pq.ParquetFile(opened) as file,
        ):  # pyarrow takes no path that is not UTF-8
            check_claims(file, opened)
            for batch in file.iter_batches(1024, use_threads=False):
                yield from batch.to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise RunError(f"{path} cannot be read as Parquet: {error}") from None


def take(data: NDArray[np.uint8], column: str, rows: Any, count: int) -> list[str | None]:
    """Return the values of some rows of a column of a Parquet file of ``count`` rows, given its bytes.

    Raises ValueError as ``read_rows`` does.
    """
    values: list[str | None] = _read(data, [column], count).column(0).take(rows).to_pylist()
    return values


def _read(data: NDArray[np.uint8], names: Sequence[str], count: int) -> pa.Table:
    try:
        file = _open(data)
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
