"""Parquet files with images in a column, as data sets are published."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.images import UnreadableImage
from memcore.sources.stored.items import Item, seeds_of, shown

_IMAGES = ("image", "img", "jpg", "jpeg", "png", "webp", "bytes")
_PROMPTS = ("prompt", "caption", "text")
#: A row group is read whole; larger ones would not fit beside a prompt.
_GROUP_BYTES = 4 << 30


class ParquetSet:
    """All prompts of some Parquet files: images in a binary column (or a struct with ``bytes``), prompts in a column
    ``prompt``, ``caption`` or ``text`` (else the file's name), seeds in a column ``seed`` (else positions).
    """

    def __init__(self, files: Sequence[Path], root: Path) -> None:
        self.files = list(files)
        self._root = root
        self._broken: dict[str, list[Item]] = {}
        self._column: dict[int, str] = {}
        rows: dict[str, list[NDArray[np.int64]]] = {}
        seeds: dict[str, list[Any]] = {}
        for file_id, file in enumerate(self.files):
            try:
                self._scan(file_id, file, rows, seeds)
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                label = shown(file.relative_to(root))
                detail = f"{type(error).__name__}: {error}"
                refused = Item(label, 0, functools.partial(_refuse, "unreadable", detail))
                self._broken.setdefault(shown(file.stem), []).append(refused)
        self.prompts = list(dict.fromkeys([*rows, *self._broken]))
        self._rows = [np.concatenate(rows.get(p, [np.empty((0, 3), np.int64)])) for p in self.prompts]
        self._seeds = [
            seeds_of(["" if s is None else str(s) for s in seeds.get(p, [])]) for p in self.prompts
        ]
        self._group: tuple[tuple[int, int], Any] = ((-1, -1), None)

    def count(self, index: int) -> int:
        return len(self._rows[index]) + len(self._broken.get(self.prompts[index], []))

    def items(self, index: int) -> Iterator[Item]:
        for (file_id, group, row), seed in zip(self._rows[index].tolist(), self._seeds[index], strict=True):
            label = f"{shown(self.files[file_id].relative_to(self._root))}, row group {group}, row {row}"
            try:
                column = self._images(file_id, group)
            except (pa.ArrowException, OSError) as error:
                detail = f"{type(error).__name__}: {error}"
                yield Item(label, seed, functools.partial(_refuse, "unreadable", detail))
            else:
                yield Item(label, seed, functools.partial(_bytes, column, row))
        yield from self._broken.get(self.prompts[index], [])

    def _scan(
        self,
        file_id: int,
        path: Path,
        rows: dict[str, list[NDArray[np.int64]]],
        seeds: dict[str, list[Any]],
    ) -> None:
        """Notes which rows belong to which prompt; images are not read."""
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            self._column[file_id] = _image_column(schema, path)
            prompt = next((n for n in _PROMPTS if n in schema.names and _is_text(schema.field(n).type)), None)
            seeded = "seed" in schema.names and pa.types.is_integer(schema.field("seed").type)
            columns = [*([prompt] if prompt else []), *(["seed"] if seeded else [])]
            for group in range(file.num_row_groups):
                about = file.metadata.row_group(group)
                if about.total_byte_size > _GROUP_BYTES:
                    raise ConfigError(
                        f"{shown(path)} has a row group of {about.total_byte_size:,} bytes, at most {_GROUP_BYTES:,} "
                        "are read at once: write it with smaller row groups"
                    )
                table = file.read_row_group(group, columns=columns)
                count = about.num_rows
                names = table[prompt].to_pylist() if prompt else [None] * count
                numbers = table["seed"].to_pylist() if seeded else [None] * count
                mine: dict[str, list[tuple[int, int, int]]] = {}
                for row, (name, seed) in enumerate(zip(names, numbers, strict=True)):
                    text = name or shown(path.stem)
                    mine.setdefault(text, []).append((file_id, group, row))
                    seeds.setdefault(text, []).append(seed)
                for text, found in mine.items():
                    rows.setdefault(text, []).append(np.array(found, dtype=np.int64))

    def _images(self, file_id: int, group: int) -> Any:
        """The images of one row group; the last one that was asked for is kept."""
        if self._group[0] != (file_id, group):
            self._group = ((-1, -1), None)
            with pq.ParquetFile(self.files[file_id]) as file:
                column = file.read_row_group(group, columns=[self._column[file_id]])[self._column[file_id]]
            column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
            if pa.types.is_struct(column.type):
                column = column.field("bytes")
            self._group = ((file_id, group), column)
        return self._group[1]


def _image_column(schema: Any, path: Path) -> str:
    for name in _IMAGES:
        if name in schema.names:
            kind = schema.field(name).type
            if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
                kind = kind.field("bytes").type
            if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                return name
    raise ConfigError(
        f"{shown(path)} has no column of image bytes: it needs a binary column (or a struct with 'bytes') called "
        f"{', '.join(_IMAGES)}; its columns are {', '.join(map(str, schema.names))}"
    )


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _bytes(column: Any, row: int) -> memoryview:
    value = column[row]
    if not value.is_valid:
        raise UnreadableImage("unreadable", "the row holds no image")
    return memoryview(value.as_buffer())


def _refuse(reason: str, detail: str) -> bytes:
    raise UnreadableImage(reason, detail)
