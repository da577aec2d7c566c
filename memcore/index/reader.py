"""Open an index: check its checksums, map it into memory, and read any of its training images again."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from memcore.errors import RunError
from memcore.images import Background, UnreadableImage
from memcore.images.payload import decode_payload
from memcore.images.resize import Resize
from memcore.index import layout
from memcore.index.layout import IndexMeta, SourceRecord
from memcore.index.sketch import Level
from memcore.sources.base import FileParts, QuarantineEntry, Source, StoredSource
from memcore.sources.coverage import Coverage, add
from memcore.sources.open import open_source
from memcore.system import columns
from memcore.system.cpus import processors

#: Images that are worth a thread.
_LEAST_PIECE = 128


@dataclasses.dataclass(frozen=True, eq=False)
class ShardFiles:
    """A shard: rows [start, start + images) of the index. Arrays are mapped when they are first used."""

    folder: Path
    number: int
    source: int
    start: int
    images: int
    quarantined: int

    @functools.cached_property
    def coarse(self) -> NDArray[np.uint8]:
        """Return the sketches of the coarse level, (images, numbers) uint8."""
        return self._map(layout.COARSE)

    @functools.cached_property
    def fine(self) -> NDArray[np.uint8]:
        """Return the sketches of the fine level, (images, numbers) uint8."""
        return self._map(layout.FINE)

    @functools.cached_property
    def places(self) -> NDArray[Any]:
        """Return where the source holds each image."""
        return self._map(layout.PLACES)

    def _map(self, name: str) -> NDArray[Any]:
        path = self.folder / name
        try:
            array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise _damaged(path, str(error)) from None
        if len(array) != self.images:
            raise _damaged(path, f"{len(array)} rows where {self.images} are expected")
        return array


class Index:
    """An opened index. Rows are numbered from 0 over all shards, in the order in which their images were read.

    >>> import numpy as np, tempfile, pathlib
    >>> from memcore.index import Index, build_index, open_source
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> np.save(folder / "train.npy", np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8))
    >>> _ = build_index(folder / "index", open_source(folder / "train.npy"))
    >>> len(Index.open(folder / "index"))
    9
    """

    def __init__(
        self, path: Path, meta: IndexMeta, shards: list[ShardFiles], sources: list[Source], digest: str
    ) -> None:
        self.path, self.meta, self.shards, self.digest = path, meta, shards, digest
        self.coarse = Level.of(meta.image_shape, meta.coarse)
        self.fine = Level.of(meta.image_shape, meta.fine)
        self._sources = sources
        self._starts = np.array([s.start for s in shards] + [len(self)], dtype=np.int64)
        self._resize = Resize(**meta.resize) if meta.resize else None
        self._background = cast("Background | None", tuple(meta.background) if meta.background else None)
        self.fetched = 0

    @classmethod
    def open(cls, path: Path, *, sources: Sequence[Source] | None = None, verify: bool = True) -> Index:
        """Open an index that is complete.

        ``verify`` compares every shard with its checksums: a damaged sketch would otherwise miss images silently.
        ``sources`` are a program's own sources, in the order in which they were added.

        Raises RunError, which says what is wrong and what to do.
        """
        meta = IndexMeta.read(path)
        unfinished = [s for s in meta.sources if "images" not in s]
        if unfinished or not meta.sources:
            raise RunError(
                f"{path} is not finished: give the same memcore index command again, which resumes it"
            )
        count = layout.shard_count(path)
        shards: list[ShardFiles] = []
        metas = [layout.read_shard_meta(path, n) for n in range(count)]
        start = 0
        for number, about in enumerate(metas):
            source = sum(int(s["first_shard"]) <= number for s in meta.sources) - 1
            folder = path / layout.shard_name(number)
            shards.append(
                ShardFiles(folder, number, source, start, int(about["images"]), int(about["quarantined"]))
            )
            start += int(about["images"])
        for s, entry in enumerate(meta.sources):
            held = [shard for shard in shards if shard.source == s]
            if len(held) != entry["shards"] or sum(x.images for x in held) != entry["images"]:
                raise RunError(
                    f"{path} lacks shards of {entry['path']}: {len(held)} of {entry['shards']} are there; "
                    "index it again in another folder"
                )
        _check_files(path, metas, verify)
        digest = hashlib.sha256()
        for about in metas:
            digest.update(repr(sorted(about["sha256"].items())).encode())
        opened = list(sources) if sources is not None else []
        return cls(path, meta, shards, opened, digest.hexdigest())

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shards[-1].start + self.shards[-1].images if self.shards else 0

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return (height, width, channels) of every image."""
        return self.meta.image_shape

    def describe(self) -> dict[str, Any]:
        """Return what a match records of the index that it was made with."""
        return {
            "index": str(self.path),
            "digest": self.digest,
            "count": len(self),
            "sources": [s["path"] for s in self.meta.sources],
            "resize": self.meta.resize,
            "background": self.meta.background,
            "unreadable": sum(s.quarantined for s in self.shards),
        }

    def coverage(self) -> Coverage | None:
        """Return the account of all that the index was pointed at; None if an earlier version made a part of it."""
        counted = [entry["coverage"] for entry in self.meta.sources if "coverage" in entry]
        return add(counted) if len(counted) == len(self.meta.sources) else None

    def quarantine(self) -> Iterator[QuarantineEntry]:
        """Yield what could not be read when the index was made: source, reason, detail."""
        for shard in self.shards:
            if shard.quarantined:
                for row in columns.read_rows(shard.folder / layout.QUARANTINE):
                    yield {"source": row["source"], "reason": row["reason"], "detail": row["detail"]}

    def fetch(self, rows: NDArray[np.int64], threads: int = 1) -> NDArray[np.uint8]:
        """Return the training images of these rows, (len(rows), H, W, C) uint8, read from their sources again.

        ``threads`` (0: one for each processor) share the work.

        Raises RunError if a source is gone, or an image is not the one that was indexed: every image's sketch is compared.
        """
        out = np.empty((len(rows), *self.image_shape), np.uint8)
        for number in np.unique(np.searchsorted(self._starts, rows, side="right") - 1):
            self._source(self.shards[int(number)].source)  # opened here, not by two threads at once
        # Neighbours stay together: they may share a file, or a group of rows that is read as a whole.
        pieces = max(1, min(threads or processors(), len(rows) // _LEAST_PIECE))
        edges = [len(rows) * i // pieces for i in range(pieces + 1)]
        spans = [slice(a, b) for a, b in itertools.pairwise(edges)]
        if pieces == 1:
            self._fetch_piece(rows, out)
        else:
            with ThreadPoolExecutor(pieces) as pool:
                for done in [pool.submit(self._fetch_piece, rows[span], out[span]) for span in spans]:
                    done.result()
        self.fetched += len(rows)
        return out

    def _fetch_piece(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        which = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(which):
            shard, chosen = self.shards[int(number)], np.flatnonzero(which == number)
            inside = rows[chosen] - shard.start
            payloads = self._source(shard.source).fetch(shard.places[inside])
            if (
                isinstance(payloads, np.ndarray)
                and payloads.shape[1:] == self.image_shape
                and payloads.dtype == np.uint8
            ):
                pixels = payloads
            else:
                pixels = np.empty((len(chosen), *self.image_shape), np.uint8)
                for place, payload in enumerate(payloads):
                    image = decode_payload(payload, self._resize, self._background, self.image_shape)
                    if isinstance(image, UnreadableImage):
                        raise self._changed(int(rows[chosen[place]]), f"{image.reason}: {image}")
                    pixels[place] = image
            same = (self.fine.sketch(pixels, 1) == shard.fine[inside]).all(axis=1)
            if not same.all():
                raise self._changed(
                    int(rows[chosen[int(np.flatnonzero(~same)[0])]]), "its pixels are not the same"
                )
            out[chosen] = pixels

    def fine_sketches(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the sketches of these rows in the finer level, (len(rows), numbers) uint8."""
        out = np.empty((len(rows), self.fine.numbers), np.uint8)
        which = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(which):
            chosen = which == number
            shard = self.shards[int(number)]
            out[chosen] = shard.fine[rows[chosen] - shard.start]
        return out

    def names(self, rows: Sequence[int]) -> list[str]:
        """Return the training images' names: paths, members of tars, rows of Parquet files, or numbers."""
        found = self._text(rows, "name")
        for i, row in enumerate(rows):
            if found[i] is None:
                shard = self.shards[int(np.searchsorted(self._starts, row, side="right")) - 1]
                found[i] = str(int(shard.places["offset"][row - shard.start]))
        return [name or "" for name in found]

    def captions(self, rows: Sequence[int]) -> list[str | None]:
        """Return the training images' captions; None where one has none."""
        return self._text(rows, "caption")

    def _text(self, rows: Sequence[int], column: str) -> list[str | None]:
        wanted = np.asarray(rows, dtype=np.int64)
        found: list[str | None] = [None] * len(wanted)
        which = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(which):
            shard = self.shards[int(number)]
            path = shard.folder / layout.TEXT
            if not path.exists():
                continue
            chosen = np.flatnonzero(which == number)
            values = columns.take(path, column, wanted[chosen] - shard.start)
            for i, value in zip(chosen, values, strict=True):
                found[i] = value
        return found

    def _source(self, number: int) -> Source:
        while len(self._sources) <= number:
            self._sources.append(self._open_source(self.meta.sources[len(self._sources)]))
        return self._sources[number]

    def _open_source(self, entry: SourceRecord) -> Source:
        """Open a source as it was indexed: the same files, in the same order."""
        try:
            source = open_source(entry["path"], entry["kind"], **entry["options"])
            if _reduced(source, entry).identity() == entry["identity"]:
                return source
            earlier = source.in_earlier_order()  # lists all files once more, which few indexes need
        except Exception as error:
            raise RunError(
                f"{self.path} was made from {entry['path']}, which is needed to compare images pixel by pixel and "
                f"cannot be opened: {error}"
            ) from None
        if earlier is not None and _reduced(earlier, entry).identity() == entry["identity"]:
            return earlier
        raise RunError(
            f"{entry['path']} has changed since {self.path} was made from it: index it again in another folder"
        )

    def _changed(self, row: int, what: str) -> RunError:
        name = self.names([row])[0]
        return RunError(
            f"training image {name} (row {row}) is not what {self.path} was made from: {what}; it has changed, or another "
            "version of a decoder reads it. Index it again in another folder"
        )


def _reduced(source: StoredSource, entry: SourceRecord) -> StoredSource:
    """Keep of a source only the files that it had when it was indexed."""
    names = [part["name"] for part in entry["parts"]]
    if isinstance(source, FileParts) and (entry["skipped"] or len(source.parts) > len(names)):
        positions = {part.name: i for i, part in enumerate(source.parts)}
        if all(name in positions for name in names):
            source.keep([positions[name] for name in names])
    return source


def _check_files(path: Path, metas: list[dict[str, Any]], verify: bool) -> None:
    jobs = []
    for number, about in enumerate(metas):
        for name, size in about["bytes"].items():
            file = path / layout.shard_name(number) / name
            if not file.exists() or file.stat().st_size != size:
                raise _damaged(file, f"it is missing or has another size than {size} bytes")
            jobs.append((file, about["sha256"][name]))

    def check(job: tuple[Path, str]) -> Path | None:
        with job[0].open("rb") as stream:
            return None if hashlib.file_digest(stream, "sha256").hexdigest() == job[1] else job[0]

    if verify:
        with ThreadPoolExecutor(processors()) as pool:
            for broken in pool.map(check, jobs):
                if broken is not None:
                    raise _damaged(broken, "its sha256 is not the one in shard.json")


def _damaged(file: Path, what: str) -> RunError:
    return RunError(
        f"{file} is damaged: {what}. Remove {file.parent} and every later shard, and repeat the memcore index "
        "command, which makes them again"
    )
