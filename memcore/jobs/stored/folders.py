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
        # Strings, not paths: of a small image those would take as long as a tenth of decoding it
        folder = os.fspath(self._folder)
        within = "" if self._folder == self._root else f"{shown(self._folder.relative_to(self._root))}/"
        for name, seed in zip(names, seeds, strict=True):
            path = os.path.join(folder, name)
            yield Item(within + shown(name), seed, functools.partial(read_part, path))
