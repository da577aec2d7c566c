"""One opened Parquet file: what its row groups claim to hold, and their captions, seeds and images."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from memcore.images import UnreadableImage
from memcore.images.payload import Payload
from memcore.sources import arrow
from memcore.sources.parquet_columns import payload_at, whole_seed
from memcore.sources.walk import READ
from memcore.system.pages import Pages, count_pages

#: Rows, and bytes of their images, that are read at a time where a row group is not held in memory as a whole.
BATCH, BATCH_BYTES = 64, 1 << 25


def open_parquet(path: Path, used: Collection[str], numbered: Sequence[str] = ()) -> Any:
    """Open a file as ``ParquetTable``; ``used`` are the columns that may be read, in lower case or as given.

    ``numbered`` are stored columns whose values are read as numbers of those in a dictionary.
    Raises OSError unless it is a regular file, since opening a pipe might never return, and where one of these columns is
    there twice.
    """
    from memcore.system.parquet import ParquetTable

    descriptor = os.open(path, READ)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("no plain file")
    finally:
        os.close(descriptor)
    file = ParquetTable(path if _is_utf8(path) else path.open("rb"), read_dictionary=list(numbered))
    if twice := {n for n in arrow.repeated(file.schema_arrow.names) if n.lower() in used or n in used}:
        file.close(force=True)
        raise OSError(f"it has several columns called {min(twice)!r}")
    return file


def claimed_bytes(path: Path, file: Any, image_column: str | None, group: int) -> tuple[int, bool]:
    """Return the bytes that a group's images take in the file, and whether it says that all are null.

    Raises OSError if the file's footer is damaged.
    """
    names, schema, about = {image_column, f"{image_column}.bytes"}, file.schema, file.groups[group]
    own = [chunk for c, chunk in enumerate(about.chunks) if schema.column(c).path in names]
    empty = bool(own) and all(chunk.nulls == about.rows for chunk in own)
    claimed = sum(chunk.stored for chunk in own) if own else about.rows
    return min(claimed, path.stat().st_size), empty


def read_texts(
    path: Path, file: Any, group: int, caption_column: str
) -> tuple[list[str | UnicodeDecodeError | None], list[int | None]]:
    """Return a group's captions and seeds, None where there are none.

    Raises OSError for missing rows, and ValueError where they would take far more memory than the file can fill.
    """
    import pyarrow.types as types

    from memcore.system.claims import check_listed

    schema, count = file.schema_arrow, file.metadata.row_group(group).num_rows
    kind = schema.field("seed").type if "seed" in schema.names else None
    seeded = kind is not None and (types.is_integer(kind) or types.is_floating(kind))
    columns = [*([caption_column] if caption_column else []), *(["seed"] if seeded else [])]
    if columns:
        with path.open("rb") as opened:
            check_listed(file, opened, columns, group)
    table = file.read_row_group(group, columns=columns) if columns else None
    if table is not None and table.num_rows != count:
        raise OSError(f"{table.num_rows} rows where the header says {count}")
    texts: list[str | UnicodeDecodeError | None] = [None] * count
    seeds: list[int | None] = [None] * count
    if table is not None and caption_column:
        try:
            texts = [*arrow.texts(table[caption_column])]
        except UnicodeDecodeError:
            texts = arrow.texts_one_by_one(table[caption_column])
    if table is not None and seeded:
        seeds = [whole_seed(s) for s in table["seed"].to_pylist()]
    return texts, seeds


def count_images(path: Path, file: Any, image_column: str | None, group: int) -> Pages:
    """Return what the pages of a group's images hold. One image may be that of every row.

    Raises OSError if the pages are damaged, or one claims to unpack to far more than it can be worth.
    """
    from memcore.system.claims import columns_within

    about, found, schema = file.groups[group], Pages(), file.schema
    with path.open("rb") as opened:
        for column in columns_within(file, [image_column or ""]):
            try:
                found = found.plus(count_pages(opened, about.chunks[column], schema.column(column)))
            except ValueError as error:
                raise OSError(str(error)) from None
    return found


def image_leaves(file: Any, image_column: str) -> list[str]:
    """Return the stored columns of bytes of any length that a column of images consists of."""
    from memcore.system.claims import columns_within

    columns = [file.schema.column(c) for c in columns_within(file, [image_column])]
    return [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]


def stream_images(
    path: Path, file: Any, image_column: str | None, position: int, errors: tuple[type[Exception], ...]
) -> Iterator[tuple[int, Payload]]:
    """Yield rows and their images from a position on; in a damaged group, each lost row gets its own error."""
    row = 0
    for group in range(file.num_row_groups):
        count, at = file.metadata.row_group(group).num_rows, 0
        if row + count > position:
            try:
                rows = rows_at_once(count_images(path, file, image_column, group), count, BATCH)
                for batch in file.iter_batches(rows, row_groups=[group], columns=[image_column]):
                    column = batch.column(0)
                    for i in range(len(column)):
                        if row + at >= position:
                            yield row + at, payload_at(column, i)
                        at += 1
            except errors as error:
                for lost in range(max(row + at, position), row + count):
                    yield lost, UnreadableImage("archive", f"{type(error).__name__}: {error}")
        row += count


def rows_at_once(pages: Pages, rows: int, most: int) -> int:
    """Return how many rows of a group are read at a time: fewer of large images, which may be those of a dictionary."""
    each = max(1, pages.unpacked // max(1, rows), pages.largest, pages.dictionary)
    return max(1, min(most, BATCH_BYTES // each))


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True
