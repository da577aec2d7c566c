"""The kinds of stored images, and which of them lies at a path."""

from __future__ import annotations

from pathlib import Path

from memcore.errors import ConfigError
from memcore.sources.base import Batch, FileParts, Part, Source, StoredSource, make_places
from memcore.sources.folder import FolderSource
from memcore.sources.npy import ArraySource
from memcore.sources.parquet import ParquetSource
from memcore.sources.tar import TarSource

__all__ = ["KINDS", "Batch", "Part", "Source", "find_kind", "make_places", "open_source", "packed_kinds"]

#: Every kind of stored images; a new one is added here.
KINDS: dict[str, type[StoredSource]] = {
    source.kind: source for source in (FolderSource, ArraySource, TarSource, ParquetSource)
}


def open_source(path: str | Path, kind: str | None = None, **options: str) -> StoredSource:
    """Open the images at ``path``: a folder of images, a .tar or a folder of them (webdataset), a .parquet or a folder of
    them, an .npy or .npz file or a folder of them. ``kind`` decides where a folder holds several kinds.

    Raises ConfigError.
    """
    path = Path(path)
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
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
    """Return the one kind of stored images at ``path``; ConfigError if there is none, or several."""
    of_files = {s: kind.kind for kind in KINDS.values() if kind is not FolderSource for s in kind.suffixes}
    suffixes = list(of_files)
    named = f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"
    if path.is_file():
        if path.suffix.lower() in of_files:
            return of_files[path.suffix.lower()]
        raise ConfigError(f"{path} is no {named} file; images are given by their folder")
    if not path.is_dir():
        raise ConfigError(f"{path} does not exist: give a folder, or a {named} file")
    kinds = {
        kind
        for f in path.rglob("*")
        if (kind := of_files.get(f.suffix.lower()))
        or (kind := FolderSource.kind if f.suffix.lower() in FolderSource.suffixes else None)
    }
    if len(kinds) != 1:
        what = f"several kinds ({', '.join(sorted(kinds))}): choose with kind" if kinds else "nothing to read"
        raise ConfigError(f"{path} holds {what}")
    return kinds.pop()
