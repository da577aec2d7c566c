"""Training images inside larger files: webdataset tars and Parquet."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError, MissingExtraError
from memcore.images import IMAGE_SUFFIXES, MAX_BYTES, UnreadableImage
from memcore.sources.open import Batch, FileParts, Payload, make_places

_MAX_TEXT = 1 << 20
#: Position behind the end of a Parquet file that could not be read on.
_BROKEN = np.iinfo(np.int64).max
_CAPTION_NAMES = ("caption", "text", "prompt")


class TarSource(FileParts):
    """Uncompressed tars as webdataset writes them: neighbouring members with one key make a sample, an image and a caption
    (.txt, .caption, or "caption" in .json).
    """

    kind = "tars"
    _BATCH_BYTES = 1 << 25
    _BATCH = 256

    def __init__(self, path: Path) -> None:
        super().__init__(path, (".tar",))
        self.options: dict[str, str] = {}

    def read(self, part: int, position: int) -> Iterator[Batch]:
        file = self.files[part]
        samples: list[_Sample] = []
        held = 0
        with file.open("rb") as stream:
            for sample in _samples(stream, position, self.parts[part].bytes):
                samples.append(sample)
                held += sample.bytes
                if len(samples) == self._BATCH or held >= self._BATCH_BYTES:
                    yield self._batch(part, samples)
                    samples, held = [], 0
        if samples:
            yield self._batch(part, samples)

    def _batch(self, part: int, samples: Sequence[_Sample]) -> Batch:
        name = self.parts[part].name
        return Batch(
            make_places(part, np.array([s.offset for s in samples]), [s.bytes for s in samples]),
            np.array([s.after for s in samples]),
            [s.payload for s in samples],
            [f"{name}/{s.name}" for s in samples],
            [s.caption for s in samples],
        )

    def fetch(self, places: NDArray[Any]) -> list[Payload]:
        found: list[Payload] = [b""] * len(places)
        for part in np.unique(places["part"]):
            with self.files[int(part)].open("rb") as stream:
                for i in np.flatnonzero(places["part"] == part):
                    stream.seek(int(places["offset"][i]))
                    found[i] = stream.read(int(places["bytes"][i]))
        return found


class _Sample:
    """One key's members, being gathered."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.name = key
        self.offset = self.bytes = self.after = 0
        self.payload: Payload = UnreadableImage("no-image", "a sample without an image")
        self.caption: str | None = None

    def add(self, suffix: str, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        if "." + suffix.rsplit(".", 1)[-1] in IMAGE_SUFFIXES:
            self.name, self.offset = member.name, member.offset_data
            if member.size > MAX_BYTES:
                self.payload = UnreadableImage("too-large", f"{member.size:,} bytes")
                return
            self.bytes = member.size
            data = _content(member, archive)
            self.payload = data
            if len(data) != member.size:
                self.payload = UnreadableImage("truncated", "the archive ends within this image")
        elif suffix in ("txt", "caption", "json") and member.size <= _MAX_TEXT:
            text = _content(member, archive).decode("utf-8", "replace")
            if suffix == "json":
                text = _json_caption(text)
            self.caption = self.caption or text.strip() or None


def _samples(stream: Any, position: int, size: int) -> Iterator[_Sample]:
    if position >= size:
        return
    stream.seek(position)
    sample: _Sample | None = None
    archive: tarfile.TarFile | None = None
    try:
        archive = tarfile.TarFile(fileobj=stream)
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # it would keep every header that it has read
            if not member.isfile():
                continue
            path = PurePosixPath(member.name)
            stem, _, suffix = path.name.partition(".")
            key = str(path.with_name(stem)) if stem else member.name
            if sample is not None and sample.key != key:
                sample.after = member.offset
                yield sample
                sample = None
            sample = sample or _Sample(key)
            sample.add(suffix.lower(), member, archive)
        stream.seek(archive.offset)
        if not stream.read(1):
            raise tarfile.ReadError("no end mark")
    except (tarfile.TarError, OSError, EOFError):
        if sample is not None and archive is not None:
            sample.after = min(archive.offset, size - 1)  # reading on from there fails in the same way
            yield sample
        sample = _Sample("")
        sample.name = "(the rest)"
        sample.payload = UnreadableImage("archive", "the archive is damaged, or cut short, from here on")
    if sample is not None:
        sample.after = size
        yield sample


def _content(member: tarfile.TarInfo, archive: tarfile.TarFile) -> bytes:
    reader = archive.extractfile(member)
    if reader is None:
        return b""
    try:
        return reader.read()
    except tarfile.ReadError:  # the archive ends within the member
        return b""


def _json_caption(text: str) -> str:
    try:
        value = json.loads(text)
    except ValueError:
        return ""
    caption = value.get("caption") if isinstance(value, dict) else None
    return caption if isinstance(caption, str) else ""


class ParquetSource(FileParts):
    """Parquet files with a column of image bytes (or of structs with ``bytes``) and one of captions, if there is one."""

    kind = "parquet"
    _BATCH = 64

    def __init__(self, path: Path, image_column: str = "", caption_column: str = "") -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise MissingExtraError("pyarrow", "audit", "Reading Parquet") from None
        self._errors: tuple[type[Exception], ...] = (pyarrow.ArrowException, OSError)
        self._open_parquet = pyarrow.parquet.ParquetFile
        super().__init__(path, (".parquet",))
        schema = self._first_schema(path)
        self.image_column = image_column or _only_image_column(schema, path)
        if self.image_column not in schema.names:
            raise ConfigError(f"image-column {image_column!r} is none of {', '.join(schema.names)} in {path}")
        self.caption_column = caption_column or next((n for n in _CAPTION_NAMES if n in schema.names), "")
        if self.caption_column and self.caption_column not in schema.names:
            raise ConfigError(
                f"caption-column {caption_column!r} is none of {', '.join(schema.names)} in {path}"
            )
        self.options = {"image_column": self.image_column, "caption_column": self.caption_column}

    def read(self, part: int, position: int) -> Iterator[Batch]:
        if position == _BROKEN:
            return
        name = self.parts[part].name
        columns = [self.image_column, *([self.caption_column] if self.caption_column else [])]
        row = 0
        try:
            with self._open_parquet(self.files[part]) as file:
                for group in range(file.num_row_groups):
                    rows = file.metadata.row_group(group).num_rows
                    if row + rows <= position:
                        row += rows
                        continue
                    for batch in file.iter_batches(self._BATCH, row_groups=[group], columns=columns):
                        skip = min(max(0, position - row), batch.num_rows)
                        row += skip
                        kept = batch.slice(skip)
                        if kept.num_rows:
                            yield self._batch(part, name, row, kept)
                        row += kept.num_rows
        except self._errors as error:
            broken = UnreadableImage("archive", f"{type(error).__name__}: {error}")
            end = np.array([_BROKEN])
            yield Batch(make_places(part, np.array([row])), end, [broken], [f"{name}#{row} and after"])

    def _batch(self, part: int, name: str, row: int, batch: Any) -> Batch:
        numbers = np.arange(row, row + batch.num_rows)
        captions = None
        if self.caption_column:
            captions = [c if c is None else str(c) for c in batch.column(self.caption_column).to_pylist()]
        payloads = [_image_bytes(v) for v in batch.column(self.image_column).to_pylist()]
        return Batch(
            make_places(part, numbers), numbers + 1, payloads, [f"{name}#{i}" for i in numbers], captions
        )

    def fetch(self, places: NDArray[Any]) -> list[Payload]:
        found: list[Payload] = [b""] * len(places)
        for part in np.unique(places["part"]):
            with self._open_parquet(self.files[int(part)]) as file:
                groups = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
                starts = np.concatenate([[0], np.cumsum(groups)])
                here = np.flatnonzero(places["part"] == part)
                wanted = np.searchsorted(starts, places["offset"][here], side="right") - 1
                for group in np.unique(wanted):
                    chosen = here[wanted == group]
                    column = file.read_row_group(int(group), columns=[self.image_column]).column(0)
                    rows = column.take(places["offset"][chosen] - starts[group]).to_pylist()
                    for i, value in zip(chosen, rows, strict=True):
                        found[i] = _image_bytes(value)
        return found

    def _first_schema(self, path: Path) -> Any:
        reasons = []
        for file in self.files:
            try:
                with self._open_parquet(file) as opened:
                    return opened.schema_arrow
            except self._errors as error:
                reasons.append(f"{file.name}: {error}")
        raise ConfigError(f"{path} holds no readable Parquet file: {reasons[0]}")


def _image_bytes(value: Any) -> Payload:
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        return UnreadableImage("no-image", "the row holds no image bytes")
    return data


def _only_image_column(schema: Any, path: Path) -> str:
    import pyarrow.types as types

    def holds_bytes(kind: Any) -> bool:
        if types.is_struct(kind):
            return any(f.name == "bytes" and holds_bytes(f.type) for f in kind)
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    found = [field.name for field in schema if holds_bytes(field.type)]
    if len(found) != 1:
        what = f"several columns of bytes ({', '.join(found)})" if found else "no column of bytes"
        raise ConfigError(f"{path} has {what} among {', '.join(schema.names)}: give image-column")
    return str(found[0])
