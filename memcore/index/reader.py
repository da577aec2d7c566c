"""Open an index: check its digests, and read any of its training images again."""

from __future__ import annotations

import hashlib
import itertools
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError, RunError
from memcore.images import Background, UnreadableImage
from memcore.images.payload import decode_payload
from memcore.images.resize import Resize
from memcore.index import layout
from memcore.index.checked import Budget, CheckedFile, damaged
from memcore.index.layout import IndexMeta, SourceRecord
from memcore.index.provenance import compare, open_as_recorded, why_not_in_order
from memcore.index.shard_files import ShardFiles, check_account, levels_of
from memcore.sources.base import FileParts, Source, StoredSource, shown
from memcore.sources.coverage import Coverage, add
from memcore.sources.entries import QuarantineEntry
from memcore.sources.open import open_source
from memcore.system.cpus import processors
from memcore.system.threads import Threads

#: Images that are worth a thread.
_LEAST_PIECE = 128
#: Bytes of sketches that stay in memory: those of a million images of 32 x 32 pixels, so that most indexes are read once.
_HELD_BYTES = 256 << 20


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
        self,
        path: Path,
        meta: IndexMeta,
        shards: list[ShardFiles],
        sources: list[Source],
        digest: str,
        moved: Sequence[Path] = (),
        trust_paths: bool = True,
    ) -> None:
        self.path, self.meta, self.shards, self.digest = path, meta, shards, digest
        self.coarse, self.fine = levels_of(meta)
        self._sources = sources
        self._moved = tuple(moved)
        self._trusted = trust_paths
        self._starts = np.array([s.start for s in shards] + [len(self)], dtype=np.int64)
        self.resize = Resize(**meta.resize) if meta.resize else None
        self.background = cast("Background | None", tuple(meta.background) if meta.background else None)
        self.fetched = 0

    def __repr__(self) -> str:
        """Return one line."""
        shape = "x".join(map(str, self.image_shape))
        return (
            f"Index({str(self.path)!r}, images={len(self)}, image_shape={shape}, shards={len(self.shards)})"
        )

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        sources: Sequence[Source] | None = None,
        moved: Sequence[Path] = (),
        trust_paths: bool = True,
        verify: bool = True,
        memory: int = _HELD_BYTES,
    ) -> Index:
        """Open an index that is complete.

        ``verify`` checks every file of it at once: a damaged sketch would otherwise miss images silently. Without it, each
        is checked when it is used. ``sources`` are a program's own sources, in the order in which they were added.
        ``moved`` says where sources are now that are no longer where they were indexed. Without ``trust_paths`` no place is
        opened because the index names it, which may come from somebody else: ``moved`` then has the place of every source.
        ``memory``: bytes of sketches that stay in memory once they were read; others are read for each search.

        Raises RunError, which says what is wrong and what to do.
        """
        meta = IndexMeta.read(path)
        unfinished = [s for s in meta.sources if "images" not in s]
        if unfinished or not meta.sources:
            raise RunError(
                f"{path} is not finished: give the same memcore index command again, which resumes it"
            )
        metas = [layout.read_shard_meta(path, n) for n in range(layout.shard_count(path))]
        levels, held = levels_of(meta), Budget(memory)
        shards: list[ShardFiles] = []
        start = 0
        for number, shard in enumerate(metas):
            source = sum(int(s["first_shard"]) <= number for s in meta.sources) - 1
            folder = path / layout.shard_name(number)
            shards.append(ShardFiles(folder, number, shard, source, start, levels, held))
            start += shards[-1].images
        for s, entry in enumerate(meta.sources):
            own = [shard for shard in shards if shard.source == s]
            if len(own) != entry["shards"] or sum(x.images for x in own) != entry["images"]:
                raise RunError(
                    f"{path} lacks shards of {entry['path']}: {len(own)} of {entry['shards']} are there; "
                    "index it again in another folder"
                )
            for shard_made, files in zip(entry.get("made", ()), own, strict=False):
                if shard_made != metas[files.number].sha256:
                    raise damaged(
                        files.folder / layout.SHARD_META, "it is not the one that the index was made with"
                    )
        _check_files(shards, verify)
        for s, entry in enumerate(meta.sources):
            check_account(path, entry, [shard for shard in shards if shard.source == s])
        digest = hashlib.sha256()
        for shard in metas:
            sums = {name: about["sha256"] for name, about in shard.files.items()}
            digest.update(repr(sorted(sums.items())).encode())
        opened = list(sources) if sources is not None else []
        index = cls(path, meta, shards, opened, digest.hexdigest(), moved, trust_paths)
        if moved:
            index.check_sources()
        return index

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
            yield from shard.quarantine()

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
            with Threads(pieces) as pool:
                for done in [pool.submit(self._fetch_piece, rows[span], out[span]) for span in spans]:
                    done.result()
        self.fetched += len(rows)
        return out

    def _fetch_piece(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        which = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(which):
            shard, chosen = self.shards[int(number)], np.flatnonzero(which == number)
            inside = rows[chosen] - shard.start
            source = self._source(shard.source)
            places = shard.take_places(inside, len(source.parts))
            few = source.few(places) if isinstance(source, StoredSource) else [slice(0, len(places))]
            try:
                parts = [self._decoded(source, places[some], rows[chosen[some]]) for some in few]
            except (IndexError, OverflowError) as error:
                raise damaged(
                    shard.places.file.path, f"it names places that no source has ({error})"
                ) from None
            pixels = parts[0] if len(parts) == 1 else np.concatenate(parts)
            same = np.ones(len(pixels), np.bool_)
            for level, held in ((self.coarse, shard.coarse), (self.fine, shard.fine)):
                same &= (level.sketch(pixels, 1) == held.take(inside)).all(axis=1)
            if not same.all():
                raise self._changed(
                    int(rows[chosen[int(np.flatnonzero(~same)[0])]]), "its pixels are not the same"
                )
            out[chosen] = pixels

    def _decoded(self, source: Source, places: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the pixels of a few images of one source."""
        payloads = source.fetch(places)
        if (
            isinstance(payloads, np.ndarray)
            and payloads.shape[1:] == self.image_shape
            and payloads.dtype == np.uint8
        ):
            return payloads
        pixels = np.empty((len(places), *self.image_shape), np.uint8)
        for at, payload in enumerate(payloads):
            image = decode_payload(payload, self.resize, self.background, self.image_shape)
            if isinstance(image, UnreadableImage):
                raise self._changed(int(rows[at]), f"{image.reason}: {image}")
            pixels[at] = image
        return pixels

    def fine_sketches(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the sketches of these rows in the finer level, (len(rows), numbers) uint8."""
        out = np.empty((len(rows), self.fine.numbers), np.uint8)
        which = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(which):
            chosen = which == number
            shard = self.shards[int(number)]
            out[chosen] = shard.fine.take(rows[chosen] - shard.start)
        return out

    def names(self, rows: Sequence[int]) -> list[str]:
        """Return the training images' names: paths, members of tars, rows of Parquet files, or numbers."""
        found = self._text(rows, "name")
        for i, row in enumerate(rows):
            if found[i] is None:
                shard = self.shards[int(np.searchsorted(self._starts, row, side="right")) - 1]
                place = shard.places.take(np.array([row - shard.start]))
                found[i] = str(int(place["offset"][0]))
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
            chosen = np.flatnonzero(which == number)
            values = shard.texts(column, wanted[chosen] - shard.start)
            if values is None:
                continue
            for i, value in zip(chosen, values, strict=True):
                found[i] = value
        return found

    def check_sources(self) -> None:
        """Open all sources, and check that they are what the index was made from.

        Raises RunError if one is gone, if its files changed, or if a place that was given holds none of them; ConfigError if
        one is not given and the index is not trusted to name it.
        """
        for number in range(len(self.meta.sources)):
            self._source(number)
        used = {source.path for source in self._sources}
        for place in self._moved:
            if str(place.resolve()) not in used:
                whys = [self._try(entry, place)[1] for entry in self.meta.sources]
                raise RunError(
                    f"source={shown(place)} is not what {self.path} was made from: {whys[0]}; give the place of the same "
                    "files, or index these in another folder"
                )

    def added_files(self) -> list[str]:
        """Return the files of the sources that were not there when they were indexed; archives and tables may be added.

        Raises RunError as ``check_sources`` does.
        """
        known: dict[str, set[str]] = {}
        entries: dict[str, SourceRecord] = {}
        for number, entry in enumerate(self.meta.sources):
            source = self._source(number)
            if isinstance(source, FileParts) and Path(source.path).is_dir():
                known.setdefault(source.path, set()).update(part["name"] for part in entry["parts"])
                entries[source.path] = entry
        added = []
        for path, entry in entries.items():
            there = open_source(Path(path), entry["kind"], **self._options(entry))
            added += [f"{path}/{part.name}" for part in there.parts if part.name not in known[path]]
        return added

    def _source(self, number: int) -> Source:
        while len(self._sources) <= number:
            self._sources.append(self._open_source(self.meta.sources[len(self._sources)]))
        return self._sources[number]

    def _open_source(self, entry: SourceRecord) -> Source:
        """Open a source as it was indexed: the same files, in the same order; where it is now, if that was given."""
        reasons = []
        old = Path(entry["path"])
        for place in (*self._moved, *([old] if self._trusted else [])):
            source, why = self._try(entry, place)
            if source is not None:
                return source
            reasons.append(why)
        if self._moved:
            tried = zip(self._moved, reasons, strict=False)
            raise RunError(
                "; ".join(
                    f"source={shown(place)} is not what {self.path} was made from: {why}"
                    for place, why in tried
                )
                + f"; give the place of the files that were in {shown(old)}"
                + ("" if self._trusted else " too (--source may be repeated)")
            )
        if not self._trusted:
            raise ConfigError(
                f"{self.path} was made from {shown(old)}, but no place is opened because an index names it, which may come "
                f"from somebody else: say where these images are (--source {shlex.quote(shown(old))}), or trust all that it "
                "names (--trust-paths)"
            )
        if not old.exists():
            raise RunError(
                f"{self.path} was made from {shown(old)}, which is missing and needed to compare images pixel by pixel: "
                f"put it back, or say where it is now (memcore index {self.path} --source PLACE)"
            )
        raise RunError(
            f"{shown(old)} has changed since {self.path} was made from it: {reasons[0]}; index it again in another folder"
        )

    def _try(self, entry: SourceRecord, place: Path) -> tuple[Source | None, str]:
        """Open what is at a place as a source of the index; None and the reason if it is not that source."""
        try:
            source = open_source(place, entry["kind"], **self._options(entry))
        except Exception as error:
            return None, f"it cannot be opened: {error}"
        found, why = self._compared(entry, source)
        if found is not None:
            return found, ""
        try:
            earlier = source.in_earlier_order()  # it lists all files again, which few indexes need
        except Exception as error:
            return None, f"it cannot be opened: {error}"
        if earlier is not None:
            found, _ = self._compared(entry, earlier)
        return found, "" if found is not None else why

    def _options(self, entry: SourceRecord) -> dict[str, str]:
        """Return a source's options; a file of captions that is gone or not trusted is left out: images need none."""
        options = dict(entry["options"])
        if "captions" in options and not (self._trusted and Path(options["captions"]).exists()):
            del options["captions"]
        return options

    def _compared(self, entry: SourceRecord, source: Any) -> tuple[Source | None, str]:
        """Return the source as it was indexed, or None and why it is not the indexed one."""
        candidate = open_as_recorded(source, entry)
        shards = self.shards[entry["first_shard"] : entry["first_shard"] + entry["shards"]]
        why = compare(candidate, entry, shards).text or why_not_in_order(candidate, entry)
        return (None, why) if why else (candidate, "")

    def _changed(self, row: int, what: str) -> RunError:
        name = self.names([row])[0]
        return RunError(
            f"training image {name} (row {row}) is not what {self.path} was made from: {what}; it has changed, or another "
            "version of a decoder reads it. Index it again in another folder"
        )


def _check_files(shards: Sequence[ShardFiles], verify: bool) -> None:
    files = [file for shard in shards for file in shard.files.values()]
    for file in files:
        file.check_size()
    if verify:
        with Threads(processors()) as pool:
            for _ in pool.map(CheckedFile.check, files):
                pass
