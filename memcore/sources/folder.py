"""Folders of images: searched through as one source, or one folder a prompt."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from memcore.errors import ConfigError
from memcore.images import IMAGE_SUFFIXES
from memcore.images.payload import Content
from memcore.sources import captions
from memcore.sources.base import (
    Entry,
    Part,
    Place,
    StoredSource,
    digest_of,
    list_files,
    number,
    read_bytes,
    shown,
    size_of,
)

_SUFFIXES = {suffix[1:] for suffix in IMAGE_SUFFIXES}


class FolderSource(StoredSource):
    """A folder of images, searched through; a caption stands in a text of the same stem."""

    kind = "images"
    suffixes = tuple(sorted(IMAGE_SUFFIXES))

    def __init__(self, path: Path, *, files: Sequence[Path] | None = None) -> None:
        self.path = str(path)
        self.options = {}
        listed = list_files(path, self.suffixes) if files is None else files
        if not listed:
            raise ConfigError(f"{path} holds not a single image")
        self.names = [f.relative_to(path).as_posix() for f in listed]
        self.parts = [Part(".", len(self.names))]

    def identity(self) -> str:
        root = Path(self.path)
        return digest_of(f"{name}:{size_of(root / name)}" for name in self.names)

    def in_earlier_order(self) -> Self | None:
        root = Path(self.path)
        files = list_files(root, self.suffixes, earlier=True)
        if not files or [f.relative_to(root).as_posix() for f in files] == self.names:
            return None
        return type(self)(root, files=files)

    def entries(self, part: int, position: int = 0) -> Iterator[Entry]:
        within: str | None = None
        texts: dict[str, list[str]] = {}
        group = ""
        for at, name in enumerate(self.names[position:], position):
            folder, base = os.path.split(name)
            if folder != within:
                within = folder
                path = os.path.join(self.path, folder) if folder else self.path
                texts, group = _texts_in(path), shown(os.path.basename(path))
            stem = base.rpartition(".")[0]
            path = os.path.join(self.path, name)
            caption = None
            if stem in texts:
                caption = captions.beside(os.path.join(self.path, folder, stem), texts[stem])
            content = functools.partial(read_bytes, path)
            yield Entry(Place(part, 0, at), at + 1, shown(name), caption, number(stem), group, content)

    def load(self, place: Place) -> Content:
        return read_bytes(os.path.join(self.path, self.names[place.offset]))


def _texts_in(folder: str) -> dict[str, list[str]]:
    """Return the suffixes of the texts in a folder, by their stems."""
    texts: dict[str, list[str]] = {}
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        for entry in found:
            stem, suffix = os.path.splitext(entry.name)
            if suffix in captions.SUFFIXES:
                texts.setdefault(stem, []).append(suffix)
    return texts


def images_in(folder: Path) -> list[str]:
    """Return the names of the files in ``folder`` that are called images, sorted by their bytes."""
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if _is_image(e.name)]
    except OSError as error:
        raise ConfigError(f"images={shown(folder)} cannot be read: {error.strerror}") from None
    return sorted(names, key=os.fsencode)


def _is_image(name: str) -> bool:
    """As os.path.splitext, a name of nothing but dots before the last one having no suffix, in a third of its time."""
    stem, _, suffix = name.rpartition(".")
    return suffix.lower() in _SUFFIXES and stem.strip(".") != ""
