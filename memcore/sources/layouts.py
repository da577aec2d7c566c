"""How stored generations are laid out: which prompts there are, and where the images of each lie."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from memcore.errors import ConfigError
from memcore.images import UnreadableImage
from memcore.images.payload import Content
from memcore.sources.base import PLACE, FileParts, Place, number, read_bytes, shown
from memcore.sources.folder import images_in
from memcore.sources.npy_file import Header, read_header
from memcore.sources.open import packed_kinds

_COMPRESSED = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")


class Item(NamedTuple):
    """One stored generation: its name for people, its seed, and what reads it (or raises UnreadableImage)."""

    source: str
    seed: int
    read: Callable[[], Content]


class Collection(Protocol):
    """Prompts whose images are stored alike. ``files`` are what the fingerprint is made of."""

    @property
    def prompts(self) -> Sequence[str]: ...

    @property
    def files(self) -> Sequence[Path]: ...

    def count(self, index: int) -> int:
        """Return the images of the prompt ``index`` of this collection, broken ones included."""
        ...

    def items(self, index: int) -> Iterator[Item]:
        """Yield the prompt's images in order."""
        ...


class ArrayPrompts:
    """One .npy file: the prompts in it, and its header, read when it is first needed."""

    def __init__(self, path: Path, root: Path, *, alone: bool) -> None:
        self.path = path
        self.files = [path]
        self._label = shown(path.relative_to(root)) if path != root else shown(path.name)
        prompts = 1
        if alone:  # of many files each is one prompt; only a single one may hold an array of prompts
            try:
                prompts = read_header(path).prompts
            except UnreadableImage as error:
                raise ConfigError(f"images={shown(path)} cannot be read: {error}") from None
        stem = shown(path.stem)
        self.prompts = [stem] if prompts == 1 else [f"{stem} {i}" for i in range(prompts)]

    def header(self) -> Header:
        """Return the file's header; UnreadableImage where its images are not those of these prompts."""
        header = read_header(self.path)
        if header.prompts != len(self.prompts):
            raise UnreadableImage(
                "wrong-size",
                f"{header.shape} where (N, H, W, C) is expected: one file of several is one prompt",
            )
        return header

    def label(self, first: int | None = None, last: int | None = None) -> str:
        """Return the file's name, or that of some of its images."""
        return self._label if first is None else f"{self._label}[{first}:{last}]"


class FolderPrompt:
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
        seeds = choose_seeds([number(name.rpartition(".")[0]) for name in names])
        # Strings, not paths: of a small image those would take as long as a tenth of decoding it
        folder = os.fspath(self._folder)
        within = "" if self._folder == self._root else f"{shown(self._folder.relative_to(self._root))}/"
        for name, seed in zip(names, seeds, strict=True):
            content = functools.partial(read_bytes, os.path.join(folder, name))
            yield Item(within + shown(name), seed, content)


class PackedPrompts:
    """All prompts of some files that hold images of several: a caption is a prompt, over all files.

    Of each image 16 bytes are held, its seed, and its name where its place does not tell it.
    """

    def __init__(self, source: FileParts) -> None:
        self.files = list(source.files)
        self._source = source
        source.check_random_access()
        places: dict[str, list[Place]] = {}
        seeds: dict[str, list[int | None]] = {}
        self._names: dict[str, list[str]] = {}
        self._broken: dict[str, list[Item]] = {}
        without: list[Item] = []
        last = ""
        for part in range(len(source.parts)):
            for entry in source.entries(part):
                prompt = entry.caption or entry.group
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
                if source.label(entry.place) is None:
                    self._names.setdefault(prompt, []).append(entry.name)
        if without:  # a sample without an image is no prompt
            self._broken.setdefault(last, []).extend(without)
        self.prompts = list(dict.fromkeys([*places, *self._broken]))
        self._places = [np.array([tuple(p) for p in places.get(q, [])], PLACE) for q in self.prompts]
        self._seeds = [choose_seeds(seeds.get(prompt, [])) for prompt in self.prompts]

    def count(self, index: int) -> int:
        return len(self._places[index]) + len(self._broken.get(self.prompts[index], []))

    def items(self, index: int) -> Iterator[Item]:
        prompt = self.prompts[index]
        names = self._names.get(prompt)
        for i, (record, seed) in enumerate(zip(self._places[index], self._seeds[index], strict=True)):
            place = Place(*record.tolist())
            name = names[i] if names is not None else self._source.label(place) or ""
            try:
                yield Item(name, seed, self._source.reader(place))
            except UnreadableImage as error:
                yield Item(name, seed, functools.partial(_refuse, error))
        yield from self._broken.get(prompt, [])


AnyPrompts: TypeAlias = "ArrayPrompts | Collection"


def find_prompts(path: Path) -> list[AnyPrompts]:
    """Return what lies at ``path``, sorted by name; ConfigError where there is nothing, or two layouts at once."""
    packed = packed_kinds()
    if path.is_file():
        if path.suffix == ".npy":
            return [ArrayPrompts(path, path, alone=True)]
        if path.suffix in packed:
            return [PackedPrompts(packed[path.suffix](path))]
    if not path.is_dir():
        raise ConfigError(
            f"images must be a folder, or an {_either(['.npy', *packed])} file, got {shown(path)}, which is none of these"
        )
    files = sorted(path.iterdir(), key=lambda p: os.fsencode(p.name))
    found: dict[str, list[AnyPrompts]] = {}
    for suffix, kind in packed.items():
        if archives := [f for f in files if f.suffix == suffix]:
            found[f"{suffix} files"] = [PackedPrompts(kind(path, files=archives))]
    entries: list[AnyPrompts] = []
    for file in files:
        if file.suffix == ".npy":
            entries.append(ArrayPrompts(file, path, alone=False))
        elif file.is_dir() and images_in(file):
            entries.append(FolderPrompt(file, path))
    if entries:
        found[".npy files or folders of images"] = entries
    if images_in(path):
        found["images"] = [FolderPrompt(path, path)]
    if len(found) > 1:
        raise ConfigError(f"images={shown(path)} holds {' and '.join(found)}: keep one layout in a folder")
    if not found:
        compressed = next((f.name for f in files if f.name.endswith(_COMPRESSED)), None)
        hint = f"; unpack {compressed}: compressed archives cannot be read at random" if compressed else ""
        raise ConfigError(
            f"images={shown(path)} holds neither images nor folders of images, {_either(['.npy', *packed])}{hint}"
        )
    return next(iter(found.values()))


def choose_seeds(seeds: Sequence[int | None]) -> list[int]:
    """Return the seeds of a prompt's images, if all have one and none comes twice; otherwise positions.

    >>> choose_seeds([7, 10]), choose_seeds([7, None]), choose_seeds([7, 7])
    ([7, 10], [0, 1], [0, 1])
    """
    known = [seed for seed in seeds if seed is not None]
    if len(known) == len(seeds) == len(set(known)):
        return known
    return list(range(len(seeds)))


def check_listing(listing: Path, count: int, place: Path) -> list[str] | None:
    """Return the lines of ``listing``, one a prompt; None if there is none."""
    if not listing.exists():
        return None
    try:
        names = listing.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{listing} cannot be read: {error}") from None
    if len(names) != count:
        raise ConfigError(f"{listing} has {len(names)} lines for {count} prompts in {place}")
    return names


def _either(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _refuse(error: UnreadableImage) -> Content:
    raise error
