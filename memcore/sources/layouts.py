"""How stored generations are laid out: which prompts there are, and where the images of each are."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from memcore.errors import ConfigError
from memcore.images import UnreadableImage
from memcore.images.payload import Content
from memcore.sources.base import (
    FileParts,
    StoredSource,
    number,
    read_bytes,
    shown,
    sorted_by_name,
)
from memcore.sources.entries import PLACE, Place, QuarantineEntry
from memcore.sources.folder import Sorted, files_in
from memcore.sources.npy_file import Header, read_header
from memcore.sources.text import TextList

#: The file in a folder of generations that names its prompts.
LISTING = "prompts.txt"


class Item(NamedTuple):
    """One stored generation: its name for people, its seed, and a function that reads it or raises UnreadableImage."""

    source: str
    seed: int
    read: Callable[[], Content]


class Collection(Protocol):
    """Prompts whose images are stored in one layout."""

    @property
    def prompts(self) -> Sequence[str]:
        """Return the names of the prompts, in order."""
        ...

    def stored(self) -> Iterator[tuple[str, str]]:
        """Yield the files that the fingerprint is made of: their paths, and their names within the set's own folder."""
        ...

    def count(self, index: int) -> int:
        """Return how many images prompt ``index`` of this collection has, broken ones included."""
        ...

    def items(self, index: int) -> Iterator[Item]:
        """Yield the prompt's images in order."""
        ...


class ArrayPrompts:
    """One .npy file: the prompts in it, and its header, read on demand."""

    def __init__(self, path: Path, root: Path, *, alone: bool) -> None:
        self.path = path
        self._within = os.fspath(path.relative_to(root)) if path != root else ""
        self._label = shown(path.relative_to(root)) if path != root else shown(path.name)
        prompts = 1
        if alone:  # of many files each is one prompt; only a single one may hold an array of prompts
            try:
                prompts = read_header(path).prompts
            except UnreadableImage as error:
                raise ConfigError(f"images={shown(path)} cannot be read: {error}") from None
        stem = shown(path.stem)
        self.prompts = [stem] if prompts == 1 else [f"{stem} {i}" for i in range(prompts)]

    def stored(self) -> Iterator[tuple[str, str]]:
        """Yield the file; one that is given by itself has no name."""
        yield os.fspath(self.path), self._within

    def header(self) -> Header:
        """Return the file's header; raise UnreadableImage if it cannot be read or has another number of prompts."""
        header = read_header(self.path)
        if header.prompts != len(self.prompts):
            raise UnreadableImage(
                "wrong-size",
                f"{header.shape} where (N, H, W, C) is expected: one file of several is one prompt",
            )
        return header

    def label(self, first: int | None = None, last: int | None = None) -> str:
        """Return the file's name, or that of a range of its images."""
        return self._label if first is None else f"{self._label}[{first}:{last}]"


class FolderPrompt:
    """One folder of images: one prompt, named after the folder."""

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder = folder
        self._root = root
        # the folder that was given may be called ".", or be a link to it
        named = os.path.realpath(folder) if folder == root else os.fspath(folder)
        self.prompts = [shown(os.path.basename(named))]
        self._counted: Sorted | None = None
        #: The number of files in it, except texts, once they have been listed.
        self._size: int | None = None

    def stored(self) -> Iterator[tuple[str, str]]:
        """Yield the folder's images, sorted by name."""
        found = files_in(self._folder)
        self._size = len(found.images) + len(found.left_out)
        folder, within = os.fspath(self._folder), os.fspath(self._folder.relative_to(self._root))
        for name in sorted(found.images, key=os.fsencode):
            yield os.path.join(folder, name), name if within == "." else f"{within}/{name}"

    def count(self, index: int) -> int:
        """Return how many files the folder holds, except texts."""
        self._counted = files_in(self._folder)
        self._size = len(self._counted.images) + len(self._counted.left_out)
        return self._size

    def size(self) -> int:
        """Return ``count``, listing the folder only if that was not done before."""
        if self._size is None:
            self.count(0)
            self._counted = None
        assert self._size is not None
        return self._size

    def items(self, index: int) -> Iterator[Item]:
        """Yield the folder's images, sorted by name, then the files that are left out."""
        # Those that were counted, for which there is memory; listed once, since a run has many folders.
        found = files_in(self._folder) if self._counted is None else self._counted
        self._counted = None
        names = sorted(found.images, key=os.fsencode)
        seeds = choose_seeds([number(name.rpartition(".")[0] or name) for name in names])
        # Strings, not paths: for a small image a path would take a tenth of the time of decoding it
        folder = os.fspath(self._folder)
        within = "" if self._folder == self._root else f"{shown(self._folder.relative_to(self._root))}/"
        for name, seed in zip(names, seeds, strict=True):
            content = functools.partial(read_bytes, os.path.join(folder, name))
            yield Item(within + shown(name), seed, content)
        for name, why in sorted_by_name(found.left_out):
            yield Item((within + shown(name)).rstrip("/"), 0, functools.partial(_refuse, why))


class PackedPrompts:
    """The prompts of files that hold images of several prompts: equal captions are one prompt, across all files.

    Each image takes 16 bytes of memory, its seed, and its name if that does not follow from its place.
    """

    def __init__(self, source: StoredSource, stored: Sequence[tuple[str, str]] | None = None) -> None:
        """Read what all images say. ``stored`` are the source's files and their names, where they are not its parts."""
        self._source = source
        self._stored = stored
        source.check_random_access()
        places: dict[str, list[Place]] = {}
        seeds: dict[str, list[int | None]] = {}
        self._names: dict[str, list[str]] = {}
        self._broken: dict[str, list[Item]] = {}
        without: list[Item] = []
        last = ""
        self.texts = self.pointed_at = 0
        labelled = type(source).label is not StoredSource.label  # then names need not be kept
        for part in range(len(source.parts)):
            for entry in source.entries(part):
                prompt = entry.caption or entry.group
                self.texts += entry.beside.texts
                if entry.beside.left_out:
                    self._broken.setdefault(prompt, []).extend(
                        Item(row["source"], 0, functools.partial(_refuse_as, row))
                        for row in entry.beside.left_out
                    )
                if entry.uncaptioned is not None and not isinstance(entry.content, UnreadableImage):
                    why = UnreadableImage("caption", f"its text cannot be read: {entry.uncaptioned}")
                    entry = entry._replace(content=why)
                if isinstance(entry.content, UnreadableImage):
                    item = Item(entry.name, 0, functools.partial(_refuse, entry.content))
                    if entry.content.reason == "no-image" and prompt not in places:
                        without.append(item)
                    else:
                        self._broken.setdefault(prompt, []).append(item)
                    continue
                last = prompt
                places.setdefault(prompt, []).append(entry.place)
                seeds.setdefault(prompt, []).append(entry.seed)
                if not labelled:
                    self._names.setdefault(prompt, []).append(entry.name)
            self.pointed_at += source.pointed_at(part)
        if without:  # a sample without an image is no prompt
            self._broken.setdefault(last, []).extend(without)
        self.prompts = list(dict.fromkeys([*places, *self._broken]))
        self._places = [np.array([tuple(p) for p in places.get(q, [])], PLACE) for q in self.prompts]
        self._seeds = [choose_seeds(seeds.get(prompt, [])) for prompt in self.prompts]

    def stored(self) -> Iterator[tuple[str, str]]:
        """Yield the files; one that is given by itself has no name."""
        if self._stored is not None:
            yield from self._stored
            return
        source = self._source
        assert isinstance(source, FileParts)
        named = len(source.files) > 1 or Path(source.path).is_dir()
        for file, part in zip(source.files, source.parts, strict=True):
            yield os.fspath(file), part.name if named else ""

    def count(self, index: int) -> int:
        """Return the number of images of a prompt, broken ones included."""
        return len(self._places[index]) + len(self._broken.get(self.prompts[index], []))

    def items(self, index: int) -> Iterator[Item]:
        """Yield a prompt's images in order, then those that cannot be read."""
        prompt = self.prompts[index]
        names = self._names.get(prompt)
        places = map(Place._make, self._places[index].tolist())
        for i, (place, seed) in enumerate(zip(places, self._seeds[index], strict=True)):
            name = names[i] if names is not None else self._source.label(place) or ""
            try:
                yield Item(name, seed, self._source.reader(place))
            except UnreadableImage as error:
                yield Item(name, seed, functools.partial(_refuse, error))
        yield from self._broken.get(prompt, [])


def choose_seeds(seeds: Sequence[int | None]) -> list[int]:
    """Return the seeds of a prompt's images if all have one and none is repeated, otherwise their positions.

    >>> choose_seeds([7, 10]), choose_seeds([7, None]), choose_seeds([7, 7])
    ([7, 10], [0, 1], [0, 1])
    """
    known = [seed for seed in seeds if seed is not None]
    if len(known) == len(seeds) == len(set(known)):
        return known
    return list(range(len(seeds)))


def check_listing(listing: Path, count: int, place: Path) -> list[str] | None:
    """Return the lines of ``listing``, one per prompt, or None if the file does not exist.

    A line's number is its prompt's, so blank lines are refused, except at the end.
    """
    if not listing.exists():
        return None
    names = list(TextList(listing, "images", blank="keep"))
    while len(names) > count and not names[-1]:
        names.pop()
    if "" in names:
        raise ConfigError(
            f"{shown(listing)}: line {names.index('') + 1} is blank, but line by line it names the prompts of {shown(place)}"
        )
    if len(names) != count:
        raise ConfigError(f"{shown(listing)} has {len(names)} lines for {count} prompts in {shown(place)}")
    return names


def _refuse(error: UnreadableImage) -> Content:
    raise error


def _refuse_as(entry: QuarantineEntry) -> Content:
    code, detail = entry["reason"], entry["detail"]
    raise UnreadableImage(code, detail)
