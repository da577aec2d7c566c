"""The footer of a Parquet file: where the columns of its row groups lie, and how large it says they are.

It is read here, not asked of pyarrow: that describes a column by a call whose errors end the process, and a damaged footer
is such an error. What is read here and what Arrow made of the same bytes must agree.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from memcore.system.thrift import CompactReader, Fields

_MAGIC = b"PAR1"
#: Bytes of a footer, and fields in it: a column of a row group has about thirty, and more than these take longer than ten
#: seconds to read.
_LARGEST, _FIELDS = 1 << 26, 1 << 23


class Chunk(NamedTuple):
    """A column of a row group: where it begins, its bytes as they are stored, its values, and how many of these are null.

    Nobody has checked what the footer says of sizes. ``nulls`` is None where it says nothing.
    """

    start: int
    stored: int
    values: int
    nulls: int | None


class RowGroup(NamedTuple):
    """A row group: its rows and its columns, in the order of the stored columns."""

    rows: int
    chunks: tuple[Chunk, ...]


def read_footer(source: Any) -> tuple[RowGroup, ...]:
    """Return the row groups of an open file. Raises OSError if its footer is damaged, or larger than any that is read."""
    size = source.seek(0, os.SEEK_END)
    source.seek(max(0, size - 8))
    end = source.read(8)
    length = int.from_bytes(end[:4], "little")
    if len(end) < 8 or end[4:] != _MAGIC or length > size - 12:
        raise OSError("it does not end as Parquet that is not encrypted does")
    if length > _LARGEST:
        raise OSError(f"its footer has {length:,} bytes, at most {_LARGEST:,} are read")
    source.seek(size - 8 - length)
    try:
        groups = CompactReader(source.read(length), _FIELDS).structure().structures(4)
        return tuple(RowGroup(group.long(3), tuple(map(_chunk, group.structures(1)))) for group in groups)
    except (ValueError, IndexError) as error:
        raise OSError(f"its footer is damaged: {error or 'it has no end'}") from None


def _chunk(column: Fields) -> Chunk:
    about = column.structure(3)
    start = about.long(9)
    if 11 in about and 0 < (dictionary := about.long(11)) < start:
        start = dictionary
    # statistics may be left out, and so may each of them
    nulls = about.structure(12).long(3) if 12 in about and 3 in about.structure(12) else None
    return Chunk(start, about.long(7), about.long(5), nulls)
