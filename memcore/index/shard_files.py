"""The files of one shard of an index, each read through its digest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.errors import RunError
from memcore.index import layout
from memcore.index.checked import Budget, CheckedArray, CheckedFile, damaged, read_array
from memcore.index.layout import IndexMeta, ShardMeta, SourceRecord
from memcore.index.sketch import Level
from memcore.sources.base import shown
from memcore.sources.content import SAMPLE_BYTES
from memcore.sources.coverage import count_reasons
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
        return self.texts("name", np.arange(self.images)) or []

    def texts(self, column: str, rows: NDArray[np.int64]) -> list[str | None] | None:
        """Return the names or captions of some of the shard's images; None if the shard has no texts."""
        if (file := self.files.get(layout.TEXT)) is None:
            return None
        try:
            return columns.take(file.read(), column, rows, self.images)
        except ValueError as error:
            raise damaged(file.path, str(error)) from None

    def quarantine(self) -> list[QuarantineEntry]:
        """Return what could not be read when the shard was made."""
        file = self.files.get(layout.QUARANTINE)
        return [] if file is None else read_quarantine(file, self.quarantined)

    def take_places(self, rows: NDArray[np.int64], parts: int) -> NDArray[Any]:
        """Return where some images are in a source of so many parts. Raises DamagedFileError for what is no place."""
        places = self.places.take(rows)
        right = (
            (places["part"] >= 0)
            & (places["part"] < parts)
            & (places["offset"] >= 0)
            & (places["bytes"] >= 0)
        )
        if not right.all():
            raise damaged(self.places.file.path, "it names places that no source has")
        return places

    def _file(self, name: str) -> CheckedFile:
        if name not in self.files:
            raise damaged(self.folder / layout.SHARD_META, f"it does not name {name}")
        return self.files[name]


def read_quarantine(file: CheckedFile, count: int) -> list[QuarantineEntry]:
    """Return the ``count`` entries of a shard's quarantine. Raises DamagedFileError."""
    try:
        rows = columns.read_rows(file.read(), ("source", "reason", "detail"), count)
    except ValueError as error:
        raise damaged(file.path, str(error)) from None
    if any(row[name] is None for row in rows for name in QuarantineEntry.__annotations__):
        raise damaged(file.path, "it has entries without a text")
    return [
        {"source": str(row["source"]), "reason": str(row["reason"]), "detail": str(row["detail"])}
        for row in rows
    ]


def check_account(path: Path, entry: SourceRecord, shards: Sequence[ShardFiles]) -> None:
    """Raise RunError unless a source's account says what its shards left out: a verdict rests on it, and names it."""
    same = sum(shard.quarantined for shard in shards) == entry["quarantined"]
    if same and "coverage" in entry:
        reasons = count_reasons(row for shard in shards for row in shard.quarantine())
        same = reasons == Counter(entry["coverage"]["left_out"])
    if not same:
        raise RunError(
            f"{path / layout.META} is damaged: of {shown(entry['path'])} it counts other images as left out than its shards "
            "do; restore it from a copy, or index again in another folder"
        )


def levels_of(meta: IndexMeta) -> tuple[Level, Level]:
    """Return the coarse and the fine level of an index."""
    return Level.of(meta.image_shape, meta.coarse), Level.of(meta.image_shape, meta.fine)
