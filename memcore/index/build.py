"""Build an index of a source, shard by shard: decode its images in order and sketch them; resume after a kill."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from memcore.arrays import check_threads
from memcore.errors import ConfigError, RunError
from memcore.images import UnreadableImage, decoder_versions
from memcore.images.resize import Resize
from memcore.index import layout
from memcore.index.checked import CheckedFile
from memcore.index.entries import find_entry
from memcore.index.layout import IndexMeta, SourceRecord
from memcore.index.provenance import make_files
from memcore.index.shard_files import read_quarantine
from memcore.index.sketch import Level
from memcore.sources.base import Source, quarantined, shown
from memcore.sources.content import FileContent
from memcore.sources.coverage import Account, Coverage, count_reasons, make_coverage
from memcore.sources.decoded import Decoded, DecodedSource, name_of
from memcore.sources.entries import Batch, QuarantineEntry
from memcore.sources.folder import FolderSource
from memcore.system import columns
from memcore.system.atomic_files import TEMPORARY
from memcore.system.cpus import processors

COARSE, FINE, SHARD_IMAGES = 4, 8, 65536
#: Decoded images are sketched this many bytes at a time.
_SKETCH_BYTES = 1 << 24

Progress = Callable[[int, int], None]


def build_index(
    folder: Path,
    source: Source,
    *,
    resize: Resize | None = None,
    background: tuple[int, int, int] | None = None,
    coarse: int = COARSE,
    fine: int = FINE,
    shard_images: int = SHARD_IMAGES,
    threads: int | None = None,
    progress: Progress | None = None,
) -> IndexMeta:
    """Write the index in ``folder``, resume it or add to it, and return its description.

    Without ``resize`` every image must have the size of the first one that is readable; others are quarantined. A source
    that the index holds already is not read again; of a set of files that has grown, only the new files are read.
    ``progress(images, quarantined)`` is called from time to time. Memory: one shard's sketches and a few batches of images.

    Raises ConfigError (a source without a readable image, one that changed, other settings than the index has), RunError.
    """
    if coarse < 1 or fine < 1 or shard_images < 1:
        raise ConfigError("coarse, fine and shard_images must be at least 1")
    workers = check_threads(threads) or processors()
    with _lock(folder):
        for left in folder.glob(f"{TEMPORARY}*"):
            _remove(left)
        reader = DecodedSource(source, resize, background, workers)
        if (folder / layout.META).exists():
            meta = IndexMeta.read(folder)
            _require_same(folder, meta, resize, background, coarse, fine, shard_images)
        else:
            shape = reader.first_shape()
            meta = IndexMeta(
                shape,
                coarse,
                fine,
                shard_images,
                resize.as_dict() if resize else None,
                list(background) if background else None,
                decoder_versions(),
                [],
            )
        reader.shape = meta.image_shape
        entry, source = find_entry(folder, meta, source)
        if entry is None:
            return meta
        reader.source = source
        if isinstance(source, FolderSource):
            source.recording = True
        meta.write(folder)
        _fill(folder, meta, entry, source, reader, progress)
        meta.write(folder)
    return meta


def _fill(
    folder: Path,
    meta: IndexMeta,
    entry: SourceRecord,
    source: Source,
    reader: DecodedSource,
    progress: Progress | None,
) -> None:
    number, first = layout.shard_count(folder), int(entry["first_shard"])
    done = [layout.read_shard_meta(folder, n).about for n in range(first, number)]
    images, broken = sum(int(d["images"]) for d in done), sum(int(d["quarantined"]) for d in done)
    part, position = done[-1]["end"] if done else (0, 0)
    uncounted = entry.get("counted") and any("pointed_at" not in d or "texts" not in d for d in done)
    if part > len(source.parts) or uncounted:
        raise RunError(
            f"{folder} is damaged: its shards do not say how far {shown(entry['path'])} was read; index it again in "
            "another folder"
        )
    ended = int(done[-1].get("ended", 0)) if done else 0  # parts whose size is counted already
    account = Account(source) if entry.get("counted") else None
    shard = _Shard(meta, (part, position), account, ended)
    if account is not None and not done and not entry["skipped"]:
        shard.leave_out(account.left_out)
    for p in range(part, len(source.parts)):
        for batch, decoded in reader.read(p, position if p == part else 0):
            start = 0
            while start < len(batch):
                stop = min(len(batch), start + meta.shard_images - shard.entries)
                shard.add(batch, decoded, start, stop, (p, int(batch.after[stop - 1])), reader.threads)
                start = stop
                if shard.entries == meta.shard_images:
                    images, broken = images + shard.images, broken + len(shard.broken)
                    shard.write(folder, number)
                    shard, number = _Shard(meta, shard.end, account, shard.ended), number + 1
            if progress:
                progress(images + shard.images, broken + len(shard.broken))
        if account is not None and p >= ended:
            shard.end_part(p, account)
    if shard.entries:
        images, broken = images + shard.images, broken + len(shard.broken)
        shard.write(folder, number)
        number += 1
    if account is not None:
        entry["coverage"] = _coverage(folder, entry, range(first, number), images, shard)
    entry["made"] = [layout.read_shard_meta(folder, n).sha256 for n in range(first, number)]
    entry["shards"], entry["images"], entry["quarantined"] = number - first, images, broken


def _coverage(folder: Path, entry: SourceRecord, shards: range, images: int, last: _Shard) -> Coverage:
    """Return the account of a source, from what its shards counted; parts that ended with no entry stand in ``last``."""
    metas = [layout.read_shard_meta(folder, n) for n in shards]
    abouts = [shard.about for shard in metas]
    pointed_at = sum(int(about["pointed_at"]) for about in abouts)
    if not last.written:
        pointed_at += last.pointed_at
    reasons: Counter[str] = Counter()
    for number, shard in zip(shards, metas, strict=True):
        if shard.about["quarantined"]:
            path = folder / layout.shard_name(number) / layout.QUARANTINE
            file = CheckedFile(path, shard.files[layout.QUARANTINE])
            reasons.update(count_reasons(read_quarantine(file, int(shard.about["quarantined"]))))
    texts = sum(int(about["texts"]) for about in abouts)
    return make_coverage(pointed_at, images, texts, reasons, entry["path"])


class _Shard:
    """One shard being filled. ``pointed_at`` counts what the parts hold that ended in it, or just before it."""

    def __init__(self, meta: IndexMeta, start: tuple[int, int], account: Account | None, ended: int) -> None:
        self._account = account
        self.ended = ended
        self.pointed_at = self.texts = 0
        self.written = False
        self.start = self.end = start
        self.levels = [Level.of(meta.image_shape, side) for side in (meta.coarse, meta.fine)]
        self.entries = self.images = 0
        self.sketches: list[list[NDArray[np.uint8]]] = [[], []]
        self.places: list[NDArray[Any]] = []
        self.names: list[str | None] = []
        self.captions: list[str | None] = []
        self.broken: list[QuarantineEntry] = []
        self.files: list[FileContent | None] = []

    def add(
        self, batch: Batch, decoded: Decoded, start: int, stop: int, end: tuple[int, int], threads: int
    ) -> None:
        """Add entries [start, stop) of a batch; the source is read from ``end`` on next."""
        kept = list(range(start, stop))
        if self._account is not None and batch.beside is not None:
            for texts, left_out in batch.beside[start:stop]:
                self.texts += texts
                if left_out:
                    self.broken.extend(left_out)
        if not isinstance(decoded, np.ndarray):
            for i in kept:
                pixels = decoded[i]
                if isinstance(pixels, UnreadableImage):
                    self.broken.append(quarantined(name_of(batch, i), pixels))
            kept = [i for i in kept if not isinstance(decoded[i], UnreadableImage)]
        step = max(1, _SKETCH_BYTES // int(np.prod(self.levels[0].shape)))
        for first in range(0, len(kept), step):
            some = kept[first : first + step]
            if isinstance(decoded, np.ndarray):  # they lie one after another already
                images = decoded[some[0] : some[-1] + 1]
            else:
                images = np.stack([np.asarray(decoded[i]) for i in some])
            for level, parts in zip(self.levels, self.sketches, strict=True):
                parts.append(level.sketch(images, threads))
        if batch.files is not None:
            self.files.extend(batch.files[start:stop])
        self.places.append(batch.places[kept])
        if batch.names is not None:
            self.names.extend(batch.names[i] for i in kept)
        if batch.captions is not None:
            self.captions.extend(batch.captions[i] for i in kept)
        self.entries += stop - start
        self.images += len(kept)
        self.end = end

    def leave_out(self, entries: Sequence[QuarantineEntry]) -> None:
        """Add what lies where the source does and is not part of it."""
        self.pointed_at += len(entries)
        self.broken.extend(entries)

    def end_part(self, part: int, account: Account) -> None:
        """Count what a part holds that has been read to its end."""
        self.pointed_at += account.size_of(part)
        self.ended = part + 1

    def write(self, folder: Path, number: int) -> None:
        files: dict[str, bytes] = {}
        for name, level, parts in zip((layout.COARSE, layout.FINE), self.levels, self.sketches, strict=True):
            empty = np.empty((0, level.numbers), np.uint8)
            files[name] = _npy_bytes(np.concatenate([empty, *parts]))
        files[layout.PLACES] = _npy_bytes(np.concatenate(self.places))
        if self.files:
            files[layout.FILES] = _npy_bytes(make_files(self.files))
        if self.names or self.captions:
            texts = {"name": self.names, "caption": self.captions}
            filled = {k: v or [None] * self.images for k, v in texts.items()}
            files[layout.TEXT] = columns.to_bytes(columns.strings(filled), 8192)
        if self.broken:
            broken = {
                "source": [row["source"] for row in self.broken],
                "reason": [row["reason"] for row in self.broken],
                "detail": [row["detail"] for row in self.broken],
            }
            files[layout.QUARANTINE] = columns.to_bytes(columns.strings(broken))
        meta: dict[str, Any] = {
            "shard": number,
            "images": self.images,
            "quarantined": len(self.broken),
            "start": list(self.start),
            "end": list(self.end),
        }
        if self._account is not None:
            meta |= {"pointed_at": self.pointed_at, "texts": self.texts, "ended": self.ended}
        layout.write_shard(folder, number, files, meta)
        self.written = True


def _npy_bytes(array: NDArray[Any]) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array, allow_pickle=False)
    return sink.getvalue()


def _require_same(
    folder: Path,
    meta: IndexMeta,
    resize: Resize | None,
    background: tuple[int, int, int] | None,
    coarse: int,
    fine: int,
    shard_images: int,
) -> None:
    was = {
        "resize": meta.resize,
        "background": meta.background,
        "coarse": meta.coarse,
        "fine": meta.fine,
        "shard_images": meta.shard_images,
    }
    now = {
        "resize": resize.as_dict() if resize else None,
        "background": list(background) if background else None,
        "coarse": coarse,
        "fine": fine,
        "shard_images": shard_images,
    }
    lines = [f"{name}: {was[name]!r} -> {now[name]!r}" for name in was if was[name] != now[name]]
    versions = decoder_versions()
    unfinished = bool(meta.sources) and "images" not in meta.sources[-1]
    if (meta.resize is not None or unfinished) and versions != meta.decoders:
        lines.append(f"decoders: {meta.decoders} -> {versions}")
    if lines:
        raise ConfigError(
            f"{folder} was made with other settings and is not changed (old -> new):\n  "
            + "\n  ".join(lines)
            + "\nGive the old ones to resume it or to add to it, or another folder to start again."
        )


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file: choose a folder for the index")
    held = folder.is_dir() and any(not p.name.startswith(".") for p in folder.iterdir())
    if held and not (folder / layout.META).exists():
        raise RunError(f"{folder} is not empty and holds no {layout.META}: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with _open_lock(folder / ".lock") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass  # no flock on this system; shards are written atomically all the same
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                yield  # a file system without locks; shards are written atomically all the same
                return
            raise RunError(
                f"another memcore process is working on {folder}: wait for it, or end it"
            ) from None
        yield


def _open_lock(path: Path) -> IO[bytes]:
    """Open the file that is locked. A link would lead out of the folder, a pipe would wait, and neither is written to."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        raise RunError(f"{path} cannot be opened ({error.strerror}): remove it if it is a link") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RunError(f"{path} is no plain file: remove it")
    return os.fdopen(descriptor, "r+b")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
