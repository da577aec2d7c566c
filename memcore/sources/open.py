"""The kinds of stored images, and which of them is at a path."""

from __future__ import annotations

import os
from pathlib import Path

from memcore.errors import ConfigError
from memcore.images import is_image
from memcore.sources.base import FileParts, Source, StoredSource, shown
from memcore.sources.entries import Batch, Part, make_places
from memcore.sources.folder import FolderSource
from memcore.sources.npy import ArraySource
from memcore.sources.parquet import ParquetSource
from memcore.sources.tar import TarSource
from memcore.sources.walk import compression, head_of, walk
from memcore.system.places import where

__all__ = ["KINDS", "Batch", "Part", "Source", "find_kind", "make_places", "open_source", "packed_kinds"]

#: Every kind of stored images; a new one is added here.
KINDS: dict[str, type[StoredSource]] = {
    source.kind: source for source in (FolderSource, ArraySource, TarSource, ParquetSource)
}


def open_source(path: str | Path, kind: str | None = None, **options: str) -> StoredSource:
    """Open the images at ``path``.

    That is a folder of images; a .tar (webdataset), .parquet, .npy or .npz file; or a folder of such files. ``kind``
    chooses if a folder holds several kinds.

    Raises ConfigError.
    """
    path = Path(path)
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if kind is not None and not os.path.lexists(path):
        raise ConfigError(f"{shown(path)} does not exist: give a folder, or a file of this kind ({kind})")
    found = kind or find_kind(path)
    unused = set(options) - set(KINDS[found].option_names)
    if unused:
        raise ConfigError(f"{', '.join(sorted(unused))} means nothing for a source of {found} ({path})")
    return KINDS[found].open(path.resolve(), options)


def packed_kinds() -> dict[str, type[FileParts]]:
    """Return the kinds of files that hold images of several prompts, by their suffixes."""
    kinds = [kind for kind in KINDS.values() if issubclass(kind, FileParts) and kind is not ArraySource]
    return {suffix: kind for kind in kinds for suffix in kind.suffixes}


def find_kind(path: Path) -> str:
    """Return the kind of stored images at ``path``; raise ConfigError if there is none, or several."""
    of_files = {s: kind.kind for kind in KINDS.values() if kind is not FolderSource for s in kind.suffixes}
    suffixes = list(of_files)
    named = f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"
    if path.is_file():
        if path.suffix.lower() in of_files:
            return of_files[path.suffix.lower()]
        if (packed := compression(head_of(path))) is not None:
            raise ConfigError(
                f"{shown(path)} is compressed ({packed}), and cannot be read at random: unpack it"
            )
        raise ConfigError(f"{shown(path)} is no {named} file; images are given by their folder")
    if not path.is_dir():
        if path.exists():
            raise ConfigError(f"{shown(path)} is no plain file: give a folder, or a {named} file")
        raise ConfigError(f"{shown(path)} does not exist{where(path)}: give a folder, or a {named} file")
    try:
        names = [name for folder in walk(path) for name in folder.files]
        kinds, unknown = set(), []
        for name in names:
            suffix = os.path.splitext(name)[1].lower()
            if suffix in of_files:
                kinds.add(of_files[suffix])
            elif suffix in FolderSource.suffixes:
                kinds.add(FolderSource.kind)
        if not kinds:
            unknown = [os.path.join(path, f.within(name)) for f in walk(path) for name in f.files]
    except OSError as error:
        raise ConfigError(f"{shown(path)} cannot be read: {error.strerror}") from None
    if not kinds and any(is_image(head_of(name)) for name in unknown):
        kinds.add(FolderSource.kind)
    if len(kinds) != 1:
        what = f"several kinds ({', '.join(sorted(kinds))}): choose with kind" if kinds else "nothing to read"
        packed = next((n for n in unknown if compression(head_of(n))), None)
        hint = f": {shown(os.path.relpath(packed, path))} is compressed: unpack it" if packed else ""
        raise ConfigError(f"{shown(path)} holds {what}{hint}")
    return kinds.pop()
