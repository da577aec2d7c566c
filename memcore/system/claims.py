"""What a table in Parquet claims to hold, before it is read: a file of a few bytes can say a billion rows."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Collection, Sequence
from typing import Any

from memcore.errors import MissingExtraError
from memcore.system.pages import Pages, count_pages
from memcore.system.parquet import ParquetTable

try:
    import pyarrow as pa
    import pyarrow.compute as pc
except ImportError:
    raise MissingExtraError("pyarrow", "audit", "Reading Parquet") from None

#: Rows, and bytes of values, that a table may have however small its file is: more than this, and more than these times
#: its bytes, is claimed by no file that memcore writes.
_ROWS, _ROWS_A_BYTE = 1 << 20, 1
_VALUES, _VALUES_A_BYTE = 1 << 28, 64
#: Bytes of the largest plain value.
_VALUE_BYTES = 8
#: Bytes of texts that a table may have however small its file is, and how many times the file's bytes.
_TEXTS, _TEXTS_A_BYTE = 1 << 27, 64
#: Bytes of texts that a user's list may have however small its file is.
_LISTED = 1 << 30
#: Pages that are looked at: more take longer than ten seconds.
_PAGES = 1 << 20
#: Rows whose texts are counted at a time, and bytes of texts that are made for it.
_COUNTED, _COUNTED_BYTES = 1 << 20, 1 << 25
_TEXT = "BYTE_ARRAY"
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


def check_claims(file: ParquetTable, source: Any) -> None:
    """Raise ValueError if a table would take far more memory than its file can fill, OSError if its pages are damaged.

    A page of a few bytes may say that one value is repeated a billion times, and a text that is stored once may be that of
    every row. ``source`` is what the table was opened from: its bytes, or an open file.
    """
    size = _seekable(source).seek(0, os.SEEK_END)
    metadata = file.metadata
    if metadata.num_rows > max(_ROWS, _ROWS_A_BYTE * size):
        raise ValueError(f"it claims {metadata.num_rows:,} rows in {size:,} bytes")
    limits = max(_VALUES, _VALUES_A_BYTE * size), max(_TEXTS, _TEXTS_A_BYTE * size)
    _check(file, source, None, range(metadata.num_row_groups), *limits)


def check_listed(file: ParquetTable, source: Any, names: Collection[str], group: int | None = None) -> None:
    """Raise as ``check_claims`` does for some columns of a user's own table, or of one of its row groups.

    Such a table is read a batch or a row group at a time, and may be long and repeat itself: 1 GiB of texts are read of any.
    """
    size = _seekable(source).seek(0, os.SEEK_END)
    limits = max(_VALUES, _VALUES_A_BYTE * size), max(_LISTED, _TEXTS_A_BYTE * size)
    _check(file, source, names, range(file.metadata.num_row_groups) if group is None else [group], *limits)


def columns_within(file: ParquetTable, names: Collection[str]) -> list[int]:
    """Return which stored columns the columns of a table consist of: a column of records is stored as several."""
    schema = file.schema
    paths = [schema.column(c).path for c in range(file.metadata.num_columns)]
    return [c for c, path in enumerate(paths) if any(path == n or path.startswith(f"{n}.") for n in names)]


def _check(
    file: ParquetTable,
    source: Any,
    names: Collection[str] | None,
    groups: Sequence[int],
    most_values: int,
    most_texts: int,
) -> None:
    metadata, schema, held = file.metadata, file.schema, _seekable(source)
    columns = range(metadata.num_columns) if names is None else columns_within(file, names)
    of_file = file.groups
    counted = {
        c: [count_pages(held, of_file[g].chunks[c], schema.column(c)) for g in groups] for c in columns
    }
    total = functools.reduce(Pages.plus, itertools.chain.from_iterable(counted.values()), Pages())
    size = held.seek(0, os.SEEK_END)
    if total.headers > _PAGES:
        raise ValueError(f"it has {total.headers:,} pages, at most {_PAGES:,} are read")
    if total.values * _VALUE_BYTES > most_values:
        raise ValueError(f"it claims {total.values:,} values in {size:,} bytes")
    if (whole := total.unpacked + total.fixed) > max(most_values, most_texts):
        raise ValueError(f"it claims to be {whole:,} bytes when it is unpacked, and has {size:,}")
    texts = {c: pages for c, pages in counted.items() if schema.column(c).physical_type == _TEXT}
    if (unpacked := sum(one.unpacked for pages in texts.values() for one in pages)) > most_texts:
        raise ValueError(f"it claims texts of {unpacked:,} bytes")
    doubtful = {c: pages for c, pages in texts.items() if sum(one.most for one in pages) > most_texts}
    if doubtful:
        _count_texts(file, source, groups, doubtful, most_texts)


def _count_texts(
    file: ParquetTable, source: Any, groups: Sequence[int], columns: dict[int, list[Pages]], most: int
) -> None:
    """Raise ValueError if the texts of some columns have more than ``most`` bytes.

    Those of a dictionary are read as its numbers, which repeats nothing. Arrow cannot do that for shortened texts: few of
    these are made at a time.
    """
    schema, found = file.schema, 0
    numbered = [schema.column(c).path for c, counted in columns.items() if not _shortened(counted)]
    with ParquetTable(_seekable(source), pre_buffer=False, read_dictionary=numbered) as again:
        for c, counted in columns.items():
            for group, pages in zip(groups, counted, strict=True):
                rows, path = _COUNTED, [schema.column(c).path]
                if _shortened(counted):
                    rows = max(1, _COUNTED_BYTES // max(1, pages.largest, pages.dictionary))
                for batch in again.iter_batches(rows, row_groups=[group], columns=path, use_threads=False):
                    found += sum(map(_text_bytes, batch.columns))
                    if found > most:
                        raise ValueError(f"its texts repeat a few to more than {most:,} bytes")


def _shortened(counted: Sequence[Pages]) -> bool:
    return any(pages.lengthened for pages in counted)


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
    if pa.types.is_map(array.type):
        return [array.keys, array.items]
    if any(of_kind(array.type) for of_kind in _LISTS):
        return [array.flatten()]
    return []


def _seekable(source: Any) -> Any:
    """Return an open file as it is, and bytes as one."""
    return source if hasattr(source, "seek") else pa.BufferReader(pa.py_buffer(source))
