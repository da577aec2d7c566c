"""Folders of images, one a prompt."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

from memcore.errors import ConfigError
from memcore.images import IMAGE_SUFFIXES
from memcore.jobs.stored.items import Item, read_part, seeds_of, shown


def images_in(folder: Path) -> list[str]:
    """Names of the files in ``folder`` that are called images, sorted by their bytes."""
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if os.path.splitext(e.name)[1].lower() in IMAGE_SUFFIXES]
    except OSError as error:
        raise ConfigError(f"images={shown(folder)} cannot be read: {error.strerror}") from None
    return sorted(names, key=os.fsencode)


class ImageFolder:
    """One folder of images: one prompt, called as the folder is."""

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder = folder
        self._root = root
        self.prompts = [shown(folder.name)]

    @property
    def files(self) -> list[Path]:
        return [self._folder / name for name in images_in(self._folder)]

    def count(self, index: int) -> int:
        return len(images_in(self._folder))

    def items(self, index: int) -> Iterator[Item]:
        names = images_in(self._folder)
        seeds = seeds_of([os.path.splitext(name)[0] for name in names])
        for name, seed in zip(names, seeds, strict=True):
            path = self._folder / name
            yield Item(shown(path.relative_to(self._root)), seed, functools.partial(_read, path))


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
    except OSError:
        size = 0  # opening it says what is wrong
    return read_part(path, 0, size)
