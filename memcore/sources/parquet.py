"""Parquet files with a column of images, as data sets are published."""

from __future__ import annotations

import bisect
import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError, MissingExtraError
from memcore.images import UnreadableImage
from memcore.images.payload import Content, Payload
from memcore.sources import arrow
from memcore.sources.base import FileParts, shown
from memcore.sources.entries import Batch, Entry, Place, make_places
from memcore.sources.names import NAMES
from memcore.sources.parquet_columns import (
    IMAGE_COLUMNS,
    byte_columns,
    bytes_at,
    find_caption_column,
    find_image_column,
    list_columns,
    payload_at,
)
from memcore.sources.parquet_file import (
    BATCH,
    BATCH_BYTES,
    claimed_bytes,
    count_images,
    image_leaves,
    open_parquet,
    read_texts,
    stream_images,
)

#: Larger row groups are not held in memory as a whole while they are read in order.
_GROUP_BYTES = 1 << 28
#: Larger ones are refused if rows are read in any order: they would not fit in memory next to a prompt.
_HELD_BYTES = 4 << 30
#: And those that would take more than this, and more than so many times their bytes in the file: no images pack so well.
_UNPACKED_BYTES, _UNPACKED_RATIO = 1 << 30, 64
#: Rows of a file that are read however few bytes their images take: more must take a byte each, or they are claimed only.
_FREE_ROWS = 1 << 16
#: The position after the end of a file that could not be read further.
_BROKEN = np.iinfo(np.int64).max


class ParquetSource(FileParts):
    """Parquet files with a column of image bytes (or of structs with ``bytes``) and, optionally, one of captions.

    Files may name their columns differently; ``image_column`` and ``caption_column`` apply to files that have them.
    """

    kind = "parquet"
    suffixes = (".parquet",)
    option_names = ("image_column", "caption_column")

    def __init__(
        self,
        path: Path,
        image_column: str = "",
        caption_column: str = "",
        *,
        files: Sequence[Path] | None = None,
    ) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise MissingExtraError("pyarrow", "audit", "Reading Parquet") from None
        self._errors: tuple[type[Exception], ...] = (pyarrow.ArrowException, OSError, UnicodeDecodeError)
        self._errors += (MemoryError, OverflowError)
        self._given = {"image_column": image_column, "caption_column": caption_column}
        super().__init__(path, files=files)
        schema = self._first_schema(path, image_column)
        for option, column in self._given.items():
            if column and column not in schema.names:
                name = option.replace("_", "-")
                raise ConfigError(f"{name} {column!r} is none of {', '.join(schema.names)} in {shown(path)}")
        self.image_column = image_column or find_image_column(schema, path)
        self.caption_column = caption_column or find_caption_column(schema) or ""
        if self.caption_column and not arrow.says_text(kind := schema.field(self.caption_column).type):
            raise ConfigError(
                f"the column {self.caption_column!r} of {shown(path)} holds {kind}, not text: make it text, rename it, or "
                "remove it"
            )
        self.options = {"image_column": self.image_column, "caption_column": self.caption_column}
        self._starts: dict[Path, list[int]] = {}
        self._held: tuple[tuple[Path, int], Any] | None = None
        self._rows: dict[Path, int] = {}

    def pointed_at(self, part: int) -> int:
        """Return the number of rows in a file; 1 for a file that cannot be read."""
        return self._rows[self.files[part]]

    def as_recorded(self, options: Mapping[str, str]) -> Self:
        """Return the source with the columns that an index was begun with, where none were given."""
        known = {name: given or options.get(name, "") for name, given in self._given.items()}
        if known == self.options:
            return self
        return self.open(Path(self.path), known)

    def entries(self, part: int, position: int = 0) -> Iterator[Entry]:
        """Yield the rows of one file from a position on."""
        path, name = self.files[part], shown(self.parts[part].name)
        self._rows.setdefault(path, 1)
        if position == _BROKEN:
            return
        row, last = 0, "and after"
        try:
            with self._open_parquet(path) as file:
                schema = file.schema_arrow
                rows = sum(file.metadata.row_group(g).num_rows for g in range(file.num_row_groups))
                if self._image_column_of(schema) is None:
                    missing = UnreadableImage(
                        "no-image", f"no column of image bytes among {list_columns(schema)}"
                    )
                    yield self._broken(part, 0, name, missing)
                    return
                self._rows[path], last = rows, f"to {rows - 1}"
                caption = self._caption_column_of(schema)
                if rows and caption and not arrow.says_text(kind := schema.field(caption).type):
                    wrong = UnreadableImage("caption", f"the column {caption!r} holds {kind}, not text")
                    yield self._broken(part, 0, f"{name}#0 {last}", wrong)
                    return
                free = _FREE_ROWS
                for group in range(file.num_row_groups):
                    count = file.metadata.row_group(group).num_rows
                    size, empty = claimed_bytes(path, file, self._image_column_of(schema), group)
                    free += size - count
                    if free < 0:
                        free += count
                        if row + count > position:
                            yield self._claimed(part, name, row, count, size, empty)
                    elif row + count > position:
                        yield from self._group_entries(part, name, file, schema, group, row, position)
                    row += count
        except self._errors as error:
            broken = UnreadableImage("archive", f"{type(error).__name__}: {error}")
            yield self._broken(part, row, f"{name}#{row} {last}", broken)

    def _group_entries(
        self, part: int, name: str, file: Any, schema: Any, group: int, row: int, position: int
    ) -> Iterator[Entry]:
        """Yield the rows of a group, or one entry for all of them if their captions cannot be read."""
        count = file.metadata.row_group(group).num_rows
        try:
            texts, seeds = read_texts(self.files[part], file, group, self._caption_column_of(schema))
        except self._errors as error:
            yield self._lost(part, name, row, count, "archive", f"{type(error).__name__}: {error}")
            return
        except ValueError as error:
            yield self._lost(part, name, row, count, "caption", str(error))
            return
        for at in range(max(0, position - row), count):
            text = texts[at]
            if isinstance(text, UnicodeDecodeError):
                entry = self._entry(part, name, row + at, None, seeds[at])
                wrong = UnreadableImage("caption", f"its caption is not UTF-8 (byte {text.start})")
                yield entry._replace(content=wrong)
            else:
                yield self._entry(part, name, row + at, text, seeds[at])

    def load(self, place: Place) -> Content:
        """Read the image in a row; raise UnreadableImage if it cannot be read."""
        return self.reader(place)()

    def reader(self, place: Place) -> Callable[[], Content]:
        """Return a function that reads one image; its row group is read now, and the latest one is kept."""
        path = self.files[place.part]
        try:
            group, row = self._find(path, place.offset)
            if self._held is None or self._held[0] != (path, group):
                self._held = None
                self._held = ((path, group), self._column(path, group))
        except self._errors as error:
            raise UnreadableImage("archive", f"{type(error).__name__}: {error}") from None
        return functools.partial(bytes_at, self._held[1], row)

    def read(self, part: int, position: int) -> Iterator[Batch]:
        """Yield entries with their bytes; large row groups are not held in memory as a whole."""
        if position == _BROKEN or not self._has_large_groups(part):
            yield from super().read(part, position)
            return
        entries = self.entries(part, position)
        images = self._stream(part, position)
        waiting: list[Entry] = []
        payloads: list[Payload] = []
        held = 0
        for entry in entries:
            payload = _payload_of(entry, images)
            waiting.append(entry)
            payloads.append(payload)
            held += 0 if isinstance(payload, UnreadableImage) else len(payload)
            lost = isinstance(entry.content, UnreadableImage)
            if len(waiting) == BATCH or held >= BATCH_BYTES or lost:
                yield _streamed(part, waiting, payloads)
                waiting, payloads, held = [], [], 0
        if waiting:
            yield _streamed(part, waiting, payloads)

    def fetch(self, places: NDArray[Any]) -> Sequence[Payload]:
        """Return the images at these places, reading each row group once."""
        found: list[Payload] = [b""] * len(places)
        groups: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for i, place in enumerate(places):
            try:
                group, row = self._find(self.files[int(place["part"])], int(place["offset"]))
            except self._errors as error:
                found[i] = UnreadableImage("archive", f"{type(error).__name__}: {error}")
            else:
                groups.setdefault((int(place["part"]), group), []).append((i, row))
        for (part, group), rows in groups.items():
            try:
                column = self._column(self.files[part], group)
            except self._errors as error:
                for i, _ in rows:
                    found[i] = UnreadableImage("archive", f"{type(error).__name__}: {error}")
                continue
            for i, row in rows:
                found[i] = payload_at(column, row)
        return found

    def few(self, places: NDArray[Any]) -> Iterator[slice]:
        """Yield spans of places in one row group, which is held as a whole."""
        start, last = 0, None
        for i, place in enumerate(places):
            part = int(place["part"])
            try:
                group = (part, self._find(self.files[part], int(place["offset"]))[0])
            except self._errors:  # fetch says of each image what is wrong
                group = (part, _BROKEN)
            if last is not None and group != last:
                yield slice(start, i)
                start = i
            last = group
        if start < len(places):
            yield slice(start, len(places))

    def label(self, place: Place) -> str | None:
        """Return a row's name in a run's quarantine: its file, row group and number."""
        group, row = self._find(self.files[place.part], place.offset)
        return f"{shown(self.parts[place.part].name)}, row group {group}, row {row}"

    def check_random_access(self) -> None:
        """Raise ConfigError if a row group is too large to be held in memory."""
        for part, file in enumerate(self.files):
            if (largest := self._group_bytes(part)) > _HELD_BYTES:
                raise ConfigError(
                    f"{shown(file)} has a row group of {largest:,} bytes, at most {_HELD_BYTES:,} are read at once: "
                    "write it with smaller row groups"
                )

    def _reopened(self, path: Path, files: Sequence[Path]) -> Self:
        return type(self)(path, **self._given, files=files)

    def _entry(self, part: int, name: str, row: int, caption: str | None, seed: int | None) -> Entry:
        place = Place(part, 0, row)
        content = functools.partial(self.load, place)
        group = shown(self.files[part].stem)
        return Entry(place, row + 1, f"{name}#{row}", caption, seed, group, content)

    def _broken(self, part: int, row: int, name: str, error: UnreadableImage) -> Entry:
        group = shown(self.files[part].stem)
        return Entry(Place(part, 0, row), int(_BROKEN), name, None, None, group, error)

    def _find(self, path: Path, row: int) -> tuple[int, int]:
        """Return a row's group and its number in the group."""
        if path not in self._starts:
            with self._open_parquet(path) as file:
                counts = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
            self._starts[path] = np.concatenate([[0], np.cumsum(counts)]).astype(int).tolist()
        starts = self._starts[path]
        group = bisect.bisect_right(starts, row) - 1
        return group, row - starts[group]

    def _column(self, path: Path, group: int) -> Any:
        """Return the column of images of one row group."""
        with self._open_parquet(path) as file:
            name = self._image_column_of(file.schema_arrow)
            if name is None or group >= file.num_row_groups:
                raise OSError("the file was changed: its images are no longer there")
            pages = count_images(path, file, name, group)
            plain = pages.most <= _GROUP_BYTES or pages.lengthened > 0
            size = pages.most if plain else pages.numbers
            if size > (most := min(_HELD_BYTES, max(_UNPACKED_BYTES, _UNPACKED_RATIO * pages.packed))):
                raise OSError(f"its images take up to {size:,} bytes, at most {most:,} are read at once")
            if plain:
                column = file.read_row_group(group, columns=[name])[name]
            else:  # one image may be that of many rows
                with self._open_parquet(path, image_leaves(file, name)) as numbered:
                    column = numbered.read_row_group(group, columns=[name])[name]
            return column.chunk(0) if column.num_chunks == 1 else column  # faster to look into

    def _stream(self, part: int, position: int) -> Iterator[tuple[int, Payload]]:
        """Yield rows and their images from a position on."""
        with self._open_parquet(self.files[part]) as file:
            name = self._image_column_of(file.schema_arrow)
            yield from stream_images(self.files[part], file, name, position, self._errors)

    def _group_bytes(self, part: int) -> int:
        """Return how many bytes a file's largest row group can take that can be read."""
        path, largest = self.files[part], 0
        try:
            with self._open_parquet(path) as file:
                name = self._image_column_of(file.schema_arrow)
                for group in range(file.num_row_groups):
                    with contextlib.suppress(OSError):
                        largest = max(largest, count_images(path, file, name, group).numbers)
        except self._errors:
            pass
        return largest

    def _claimed(self, part: int, name: str, row: int, count: int, size: int, empty: bool) -> Entry:
        """Return one entry for a group of rows of which hardly any can hold an image."""
        if empty:
            return self._lost(part, name, row, count, "no-image", f"{count:,} rows without an image")
        why = f"{count:,} rows whose images take {size:,} bytes in all"
        return self._lost(part, name, row, count, "archive", why)

    def _lost(self, part: int, name: str, row: int, count: int, reason: str, detail: str) -> Entry:
        """Return one entry for all rows of a group."""
        broken = UnreadableImage(reason, detail)
        return self._broken(part, row, f"{name}#{row} to {row + count - 1}", broken)._replace(
            after=row + count
        )

    def _has_large_groups(self, part: int) -> bool:
        return self._group_bytes(part) > _GROUP_BYTES

    def _open_parquet(self, path: Path, numbered: Sequence[str] = ()) -> Any:
        return open_parquet(path, {*IMAGE_COLUMNS, *NAMES, "seed", *self._given.values()}, numbered)

    def _caption_column_of(self, schema: Any) -> str:
        if self.caption_column in schema.names:
            return self.caption_column
        return find_caption_column(schema) or ""

    def _image_column_of(self, schema: Any) -> str | None:
        if self.image_column in schema.names and arrow.holds_bytes(schema.field(self.image_column).type):
            return self.image_column
        found = byte_columns(schema)
        return next((n for n in IMAGE_COLUMNS if n in found), found[0] if len(found) == 1 else None)

    def _first_schema(self, path: Path, image_column: str) -> Any:
        """Return the schema of the first file that can be read and has a column of images."""
        reasons: list[str] = []
        without: Any = None
        for file in self.files:
            try:
                with self._open_parquet(file) as opened:
                    schema = opened.schema_arrow
            except self._errors as error:
                reasons.append(f"{shown(file.name)}: {error}")
                continue
            if image_column in schema.names or (not image_column and byte_columns(schema)):
                return schema
            without = schema if without is None else without
        if without is None:
            raise ConfigError(f"{shown(path)} holds not one readable image: {reasons[0]}")
        return without


def _payload_of(entry: Entry, images: Iterator[tuple[int, Payload]]) -> Payload:
    """Return an entry's image from those of all rows, which are read once."""
    if isinstance(entry.content, UnreadableImage):
        return entry.content
    changed = UnreadableImage("archive", "the file was changed while it was read")
    return next((found for row, found in images if row == entry.place.offset), changed)


def _streamed(part: int, entries: Sequence[Entry], payloads: Sequence[Payload]) -> Batch:
    return Batch(
        make_places(part, np.array([e.place.offset for e in entries], np.int64)),
        np.array([e.after for e in entries], np.int64),
        payloads,
        [e.name for e in entries],
        [e.caption for e in entries],
    )
