"""The files of one shard of an index, each read through its digest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.index import layout
from memcore.index.checked import Budget, CheckedArray, CheckedFile, damaged, read_array
from memcore.index.layout import IndexMeta, ShardMeta
from memcore.index.sketch import Level
from memcore.sources.content import SAMPLE_BYTES
from memcore.sources.entries import PLACE, QuarantineEntry
from memcore.system import columns

#: One file of a folder, as files.npy has it: its size, its time of change (ns since 1970), and its blocks' digest.
FILE = np.dtype([("bytes", "<i8"), ("modified", "<i8"), ("sample", "u1", (SAMPLE_BYTES,))])


class ShardFiles:
    """A shard: rows [start, start + images) of the index, from file or entry ``first`` of its source's part on."""

    def __init__(
        self,
        folder: Path,
        number: int,
        meta: ShardMeta,
        source: int,
        start: int,
        levels: Sequence[Level],
        held: Budget,
    ) -> None:
        self.folder, self.number, self.source, self.start = folder, number, source, start
        self.images, self.quarantined = int(meta.about["images"]), int(meta.about["quarantined"])
        self.first = int(meta.about["start"][1])
        self.files = {name: CheckedFile(folder / name, digest) for name, digest in meta.files.items()}
        coarse, fine = levels
        byte = np.dtype(np.uint8)
        #: Sketches of both levels, (images, numbers) uint8, and where the source holds each image.
        self.coarse = CheckedArray(self._file(layout.COARSE), self.images, byte, coarse.numbers, held)
        self.fine = CheckedArray(self._file(layout.FINE), self.images, byte, fine.numbers, held)
        self.places = CheckedArray(self._file(layout.PLACES), self.images, PLACE, None, held)

    @classmethod
    def read(cls, folder: Path, meta: IndexMeta, numbers: range) -> list[ShardFiles]:
        """Return some shards of an index that may be unfinished; their ``source`` and ``start`` are not known."""
        return [
            cls(
                folder / layout.shard_name(n),
                n,
                layout.read_shard_meta(folder, n),
                0,
                0,
                levels_of(meta),
                Budget(0),
            )
            for n in numbers
        ]

    def of_folder(self) -> NDArray[Any]:
        """Return what the files held that were read for this shard; of a folder of images alone, else none."""
        if layout.FILES not in self.files:
            return np.empty(0, FILE)
        return read_array(self.files[layout.FILES], FILE)

    def names(self) -> list[str | None]:
        """Return the names of the shard's images; none where its source has none."""
        if layout.TEXT not in self.files:
            return []
        names: list[str | None] = read_strings(self.files[layout.TEXT], ["name"], self.images)[
            "name"
        ].to_pylist()
        return names

    def broken(self) -> list[QuarantineEntry]:
        """Return what could not be read when the shard was made."""
        return read_broken(self.files[layout.QUARANTINE], self.quarantined) if self.quarantined else []

    def _file(self, name: str) -> CheckedFile:
        if name not in self.files:
            raise damaged(self.folder / layout.SHARD_META, f"it does not name {name}")
        return self.files[name]


def levels_of(meta: IndexMeta) -> tuple[Level, Level]:
    """Return the coarse and the fine level of an index."""
    return Level.of(meta.image_shape, meta.coarse), Level.of(meta.image_shape, meta.fine)


def read_broken(file: CheckedFile, rows: int) -> list[QuarantineEntry]:
    """Return the entries of a shard's quarantine.parquet. Raises DamagedFileError."""
    table = read_strings(file, [*QuarantineEntry.__annotations__], rows)
    if any(column.null_count for column in table.columns):
        raise damaged(file.path, "it has entries without a text")
    entries: list[QuarantineEntry] = table.to_pylist()
    return entries


def read_strings(file: CheckedFile, names: Sequence[str], rows: int) -> Any:
    """Return columns of strings of a shard's Parquet file. Raises DamagedFileError."""
    try:
        return columns.read_strings(file.read(), names, rows)
    except ValueError as error:
        raise damaged(file.path, str(error)) from None
