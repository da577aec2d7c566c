"""The footer of a Parquet file: where the columns of its row groups lie, and how large it says they are.

It is read here before pyarrow sees it. Pyarrow describes a column by a call whose errors end the process, makes gigabytes of
a few hundred kilobytes of names, and passes over rows where two numbers of the footer disagree. So what is too large or
contradicts itself is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from memcore.system.thrift import CompactReader, Fields, Wanted

_MAGIC = b"PAR1"
#: Bytes of a footer, fields in it, and structures that are kept: columns of row groups, row groups, columns of the schema.
#: A column of a row group has about forty fields; more than these take longer than ten seconds.
_LARGEST, _FIELDS, _LISTED = 1 << 26, 1 << 23, 1 << 19
#: Columns in all row groups, and bytes of the names of all columns, each with the names of what it stands in.
_CHUNKS, _NAMES = 1 << 17, 1 << 24
#: Columns within columns: Arrow refuses more.
_NESTED = 100
#: What is read: of each column of the schema its name, children and repetition; of a row group its rows, and of each column
#: its places, sizes, values and nulls.
_CHUNK: Wanted = {3: {5: {}, 7: {}, 9: {}, 11: {}, 12: {3: {}}}}
_WANTED: Wanted = {2: {3: {}, 4: {}, 5: {}}, 3: {}, 4: {1: _CHUNK, 3: {}}}
_REPEATED = 2


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
    """Return the row groups of an open file.

    Raises OSError if its footer is damaged, contradicts itself, or is larger than any that is read.
    """
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
        footer = CompactReader(source.read(length), _FIELDS, _LISTED).structure(wanted=_WANTED)
        repeated = [*_leaves(footer.structures(2))]
        described = footer.structures(4)
        if (count := len(described) * max(1, len(repeated))) > _CHUNKS:
            raise ValueError(f"it describes {count:,} columns of row groups, at most {_CHUNKS:,} are read")
        groups = tuple(_group(group, repeated) for group in described)
        if (found := sum(group.rows for group in groups)) != (said := footer.long(3)):
            raise ValueError(f"it has {said:,} rows, and {found:,} in its row groups")
        return groups
    except (ValueError, IndexError) as error:
        raise OSError(f"its footer is damaged or too large: {error or 'it has no end'}") from None


def _leaves(schema: Sequence[Fields]) -> Iterator[bool]:
    """Yield of each stored column whether it can hold several values in a row; ValueError if no table has such columns."""
    root, *columns = schema
    # of each open parent: its children that are still to come, the bytes of its path, and whether it is repeated
    parents, names = [(root.number(5) if 5 in root else 0, 0, False)], 0
    for column in columns:
        while parents and parents[-1][0] <= 0:
            parents.pop()
        if not parents or len(parents) > _NESTED:
            raise ValueError("its columns are no tree, or are nested too deep")
        left, above, repeated = parents[-1]
        parents[-1] = left - 1, above, repeated
        path = above + column.length(4) + 1
        repeated = repeated or (3 in column and column.number(3) == _REPEATED)
        if 5 in column and column.number(5) > 0:
            parents.append((column.number(5), path, repeated))
            continue
        names += path
        if names > _NAMES:
            raise ValueError(f"the names of its columns have more than {_NAMES:,} bytes")
        yield repeated


def _group(group: Fields, repeated: Sequence[bool]) -> RowGroup:
    rows, chunks = group.long(3), tuple(map(_chunk, group.structures(1)))
    if rows < 0 or len(chunks) != len(repeated):
        raise ValueError(f"a row group has {rows:,} rows and {len(chunks):,} of {len(repeated):,} columns")
    for chunk, several in zip(chunks, repeated, strict=True):
        if chunk.values < rows if several else chunk.values != rows:
            raise ValueError(f"a column has {chunk.values:,} values in {rows:,} rows")
    return RowGroup(rows, chunks)


def _chunk(column: Fields) -> Chunk:
    about = column.structure(3)
    start = about.long(9)
    if 11 in about and 0 < (dictionary := about.long(11)) < start:
        start = dictionary
    # statistics may be left out, and so may each of them
    nulls = about.structure(12).long(3) if 12 in about and 3 in about.structure(12) else None
    return Chunk(start, about.long(7), about.long(5), nulls)
