"""Folders of images, one a prompt."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

from memcore.errors import ConfigError
from memcore.images import IMAGE_SUFFIXES
from memcore.sources.stored.items import Item, read_part, seeds_of, shown

_SUFFIXES = {suffix[1:] for suffix in IMAGE_SUFFIXES}


def images_in(folder: Path) -> list[str]:
    """Names of the files in ``folder`` that are called images, sorted by their bytes."""
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


class ImageFolder:
    """One folder of images: one prompt, called as the folder is."""

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder = folder
        self._root = root
        self.prompts = [shown(folder.name)]
        self._counted: list[str] | None = None

    @property
    def files(self) -> list[Path]:
        return [self._folder / name for name in images_in(self._folder)]

    def count(self, index: int) -> int:
        self._counted = images_in(self._folder)
        return len(self._counted)

    def items(self, index: int) -> Iterator[Item]:
        # Those that were counted, so that room was made for them; once, since a run has many folders.
        names = images_in(self._folder) if self._counted is None else self._counted
        self._counted = None
        seeds = seeds_of([name.rpartition(".")[0] for name in names])
        # Strings, not paths: of a small image those would take as long as a tenth of decoding it
        folder = os.fspath(self._folder)
        within = "" if self._folder == self._root else f"{shown(self._folder.relative_to(self._root))}/"
        for name, seed in zip(names, seeds, strict=True):
            path = os.path.join(folder, name)
            yield Item(within + shown(name), seed, functools.partial(read_part, path))
