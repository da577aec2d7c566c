"""Prompts with conditions: the columns label, image and mask of a list, beside its texts or instead of them."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memcore.conditions import CONDITIONS, Condition
from memcore.errors import ConfigError, MemcoreError, MissingExtraError
from memcore.images import UnreadableImage
from memcore.images.decode import decode, decode_file
from memcore.sources.names import NAMES
from memcore.sources.text import ListCounts, open_plain, read_lines, read_table
from memcore.system import places
from memcore.system.parsing import parse_json

#: Lists with columns. A plain text has none.
SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
_ROWS = 256
_PICTURES = ("image", "mask")
Pixels = NDArray[np.uint8]


class ConditionedPrompt(NamedTuple):
    """A prompt and what its images are made from besides."""

    prompt: str
    condition: Condition


def check_conditions(conditions: Sequence[str]) -> tuple[str, ...]:
    """Return names of conditions in their usual order. Raises ConfigError for others.

    >>> check_conditions(["mask", "image"])
    ('image', 'mask')
    """
    unknown = [name for name in conditions if name not in CONDITIONS]
    if unknown:
        raise ConfigError(f"conditions must be of {', '.join(CONDITIONS)}, got {unknown[0]!r}")
    if "mask" in conditions and "image" not in conditions:
        raise ConfigError("conditions has mask without image: a mask says what of a given image is repainted")
    return tuple(name for name in CONDITIONS if name in conditions)


class ConditionedPrompts:
    """The prompts of a list with their conditions, read on each iteration; ``counts`` describes the last one to the end.

    ``conditions`` are columns that each row must fill. Texts are in the column prompt, caption or text, if there is one;
    without a text, a label names its prompt ("label 7"), and the text of an image is empty. Paths of images and masks are
    relative to the list's folder; in Parquet a column may also hold their files' bytes. All images have one size, and
    each mask has that of its image: grey of 128 and more is repainted.

    Raises ConfigError, naming the row and the file, for whatever is missing or of another size.
    """

    def __init__(self, path: Path, conditions: Sequence[str], what: str = "prompts") -> None:
        self.path, self.what = path, what
        self.conditions = check_conditions(conditions)
        self.counts = ListCounts()
        #: (height, width) of all images, once one was read.
        self.size: tuple[int, int] | None = None

    def __repr__(self) -> str:
        """Return one line."""
        return f"ConditionedPrompts({str(self.path)!r}, {', '.join(self.conditions)})"

    def __iter__(self) -> Iterator[ConditionedPrompt]:
        """Yield the prompts in order."""
        counts = ListCounts()
        seen: set[tuple[str, int]] = set()
        self.size = None
        for number, row in enumerate(self._rows(), 1):
            counts.pointed_at += 1
            if not any(_filled(row.get(name)) for name in (*self.conditions, "prompt")):
                counts.blank += 1
                continue
            made = self._make(row, f"{self._named} row {number}")
            counts.used += 1
            seen.add((made.prompt, hash(made.condition)))
            yield made
        counts.repeated = counts.used - len(seen)
        self.counts = counts

    def image_size(self) -> tuple[int, int] | None:
        """Return (height, width) of the images, from the first row; None for a list without images."""
        if "image" in self.conditions and self.size is None:
            next(iter(self), None)
        return self.size

    def _make(self, row: Mapping[str, Any], where: str) -> ConditionedPrompt:
        for name in self.conditions:
            if not _filled(row.get(name)):
                raise ConfigError(f"{where} has no {name}: each prompt needs one where conditions names it")
        label = _label(row["label"], where) if "label" in self.conditions else None
        image = self._pixels(row["image"], f"{where}: image") if "image" in self.conditions else None
        mask = self._mask(row["mask"], image, f"{where}: mask") if "mask" in self.conditions else None
        text = row.get("prompt")
        if text is not None and not isinstance(text, str):
            raise ConfigError(f"{where} has a prompt that is a {type(text).__name__}, not a text")
        if not (text or "").strip():
            text = f"label {label}" if label is not None else ""
        try:
            return ConditionedPrompt(text or "", Condition(label, image, mask))
        except MemcoreError as error:
            raise ConfigError(f"{where}: {error}") from None

    def _pixels(self, value: Any, where: str) -> Pixels:
        pixels = self._decoded(value, where)
        size = (int(pixels.shape[0]), int(pixels.shape[1]))
        if self.size is None:
            self.size = size
        if size != self.size:
            raise ConfigError(
                f"{where}={_name(value)} has {size[0]}x{size[1]} pixels (height x width) where the first image has "
                f"{self.size[0]}x{self.size[1]}: a run's images have one size"
            )
        return pixels

    def _mask(self, value: Any, image: Pixels | None, where: str) -> Pixels:
        pixels = self._decoded(value, where)
        assert image is not None
        if pixels.shape != image.shape:
            raise ConfigError(
                f"{where}={_name(value)} has {pixels.shape[0]}x{pixels.shape[1]} pixels (height x width) where its image "
                f"has {image.shape[0]}x{image.shape[1]}"
            )
        if not (pixels == pixels[..., :1]).all():
            raise ConfigError(
                f"{where}={_name(value)} has colours: a mask is black (kept) and white (repainted)"
            )
        return np.where(pixels[..., 0] >= 128, np.uint8(255), np.uint8(0))

    def _decoded(self, value: Any, where: str) -> Pixels:
        if isinstance(value, Mapping):  # as data sets hold pictures: the file's bytes, and its path
            value = value.get("bytes") or value.get("path")
        try:
            if isinstance(value, bytes):
                return decode(value)
            if not isinstance(value, str):
                raise ConfigError(f"{where} is a {type(value).__name__}, not the path of a file")
            path = self.path.parent / value
            if not path.exists():
                raise ConfigError(
                    f"{where}={value} does not exist: paths are relative to the folder of the list"
                )
            return decode_file(path)
        except UnreadableImage as error:
            raise ConfigError(f"{where}={_name(value)} cannot be read: {error}") from None

    def _rows(self) -> Iterator[dict[str, Any]]:
        """Yield the wanted columns of each row, the text as ``prompt``."""
        suffix = self.path.suffix.lower()
        if suffix not in SUFFIXES:
            raise ConfigError(
                f"{self._named} has no columns, but conditions names {', '.join(self.conditions)}: give "
                f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
            )
        try:
            if suffix == ".parquet":
                yield from self._of_parquet()
                return
            with open_plain(self.path) as file:
                if suffix == ".jsonl":
                    yield from self._of_jsonl(file)
                else:
                    yield from self._of_table(file, "," if suffix == ".csv" else "\t")
        except ConfigError:
            raise
        except FileNotFoundError:
            raise ConfigError(f"{self._named} does not exist{places.where(self.path)}") from None
        except (OSError, ValueError, csv.Error) as error:
            raise ConfigError(f"{self._named} cannot be read: {error}") from None

    def _of_jsonl(self, file: Any) -> Iterator[dict[str, Any]]:
        for number, line in enumerate(read_lines(file), 1):
            if not line.strip():
                yield {}
                continue
            row = parse_json(line)
            if not isinstance(row, dict):
                raise ConfigError(f"{self._named} line {number} is a {type(row).__name__}, not an object")
            yield {name: row[found] for name, found in self._columns(list(row), required=False).items()}

    def _of_table(self, file: Any, delimiter: str) -> Iterator[dict[str, Any]]:
        rows = read_table(read_lines(file), delimiter)
        header = next(rows, None)
        if header is None:
            return
        at = {name: header.index(found) for name, found in self._columns(header).items()}
        for row in rows:
            yield {name: row[i] for name, i in at.items() if i < len(row)}

    def _of_parquet(self) -> Iterator[dict[str, Any]]:
        try:
            import pyarrow

            from memcore.system.claims import check_listed
            from memcore.system.parquet import ParquetTable
        except ImportError:
            raise MissingExtraError("pyarrow", "audit", "Reading Parquet") from None
        try:
            with open_plain(self.path) as opened, ParquetTable(opened, pre_buffer=False) as file:
                columns = self._columns(list(file.schema_arrow.names))
                wanted = list(dict.fromkeys(columns.values()))
                try:
                    pictures = {columns[name] for name in _PICTURES if name in columns}
                    check_listed(file, opened, [name for name in wanted if name not in pictures])
                except (OSError, ValueError) as error:
                    raise ConfigError(f"{self._named} cannot be read: {error}") from None
                try:
                    for batch in self._batches(file, columns, wanted):
                        for row in batch.to_pylist():
                            yield {name: row[found] for name, found in columns.items()}
                except OSError as error:
                    raise ConfigError(f"{self._named} cannot be read: {error}") from None
        except (pyarrow.ArrowException, OverflowError) as error:  # the second: a time that Python has not
            raise ConfigError(f"{self._named} cannot be read: {error}") from None

    def _batches(self, file: Any, columns: Mapping[str, str], wanted: Sequence[str]) -> Iterator[Any]:
        """Yield rows of a Parquet file, as many at a time as fit in memory with their images."""
        from memcore.sources.parquet_file import count_images, rows_at_once

        for group in range(file.num_row_groups):
            count, rows = file.metadata.row_group(group).num_rows, _ROWS
            for name in _PICTURES:
                if name in columns:
                    pages = count_images(self.path, file, columns[name], group)
                    rows = min(rows, rows_at_once(pages, count, _ROWS))
            yield from file.iter_batches(rows, row_groups=[group], columns=wanted, use_threads=False)

    def _columns(self, names: list[str], *, required: bool = True) -> dict[str, str]:
        """Return, of the text and each condition, the column's own name."""
        lower: dict[str, str] = {}
        for name in names:
            key = name.strip().lower()
            if key in lower and key in (*NAMES, *self.conditions):
                raise ConfigError(f"{self._named} has several columns called {key!r}")
            lower[key] = name
        found = {name: lower[name] for name in self.conditions if name in lower}
        lacking = [name for name in self.conditions if name not in found]
        if lacking and required:
            listed = ", ".join(map(repr, names[:20]))
            raise ConfigError(
                f"{self._named} has no column {lacking[0]!r}, which conditions names: it has {listed}"
            )
        text = next((lower[name] for name in NAMES if name in lower), None)
        return found if text is None else {**found, "prompt": text}

    @property
    def _named(self) -> str:
        return f"{self.what}={os.fsencode(self.path).decode('utf-8', 'backslashreplace')}"


def _filled(value: Any) -> bool:
    return value is not None and value != ""


def _label(value: Any, where: str) -> int:
    """Return a label: an integer, or its digits."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdecimal():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ConfigError(f"{where}: label must be the number of a class, 0 or more, got {value!r}")


def _name(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("path")
    return value if isinstance(value, str) else "(bytes)"
