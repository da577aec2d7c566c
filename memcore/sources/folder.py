"""Folders of images: searched recursively as one source, or one folder per prompt."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from memcore.errors import ConfigError
from memcore.images import IMAGE_SUFFIXES, UnreadableImage, is_image
from memcore.images.payload import Content
from memcore.sources import captions
from memcore.sources.base import (
    StoredSource,
    WholeFile,
    digest_of,
    judge_file,
    list_files,
    number,
    quarantined,
    read_bytes,
    shown,
    size_of,
    sorted_by_name,
)
from memcore.sources.entries import ALONE, Beside, Entry, Part, Place, QuarantineEntry
from memcore.sources.walk import Folder, by_parts, head_of, is_system, walk

_SUFFIXES = {suffix[1:] for suffix in IMAGE_SUFFIXES}
_TEXTS = {suffix[1:] for suffix in captions.SUFFIXES}
#: The suffixes of images in earlier versions.
_EARLIER = tuple(sorted(IMAGE_SUFFIXES - {".jfif", ".jpe"}))


class FolderSource(StoredSource):
    """A folder of images, searched recursively; captions are in texts of the same stem and in metadata.jsonl.

    Links are followed. A file is an image by its suffix or, if that is unknown, by its first bytes.
    """

    kind = "images"
    suffixes = tuple(sorted(IMAGE_SUFFIXES))

    #: Whether batches say what their files held: to build an index, not to read images.
    recording = False

    def __init__(self, path: Path, *, files: Sequence[Path] | None = None) -> None:
        self.path = str(path)
        self.options = {}
        #: The number of texts that go with the images.
        self._texts = 0
        #: Metadata files by the position of the first image that they may describe.
        self._metadata: dict[int, list[str]] = {}
        self._spoken: dict[str, dict[str, str]] = {}
        if files is None:
            self.names, self.left_out = self._find(path)
        else:
            self.names = [f.relative_to(path).as_posix() for f in files]
        if not self.names:
            left = [entry for entry in self.left_out if entry["reason"] != "text"]
            hint = f": {left[0]['source']} is left out ({left[0]['detail']})" if left else ""
            raise ConfigError(f"{shown(path)} holds not a single image{hint}")
        self.parts = [Part(".", len(self.names))]

    def identity(self) -> str:
        """Return a digest of the images' names and sizes."""
        return digest_of(f"{name}:{size_of(os.path.join(self.path, name))}" for name in self.names)

    def pointed_at(self, part: int) -> int:
        """Return the number of images and of texts that go with them."""
        return len(self.names) + self._texts

    def in_earlier_order(self) -> Self | None:
        """Return the folder with its images in the order of earlier versions, or None if that is the same."""
        root = Path(self.path)
        files = list_files(root, _EARLIER)
        if not files or [f.relative_to(root).as_posix() for f in files] == self.names:
            return None
        return type(self)(root, files=files)

    def entries(self, part: int, position: int = 0) -> Iterator[Entry]:
        """Yield the images in order, from a position on, with their captions."""
        begin = position  # of the position's folder, whose texts may go with earlier images
        if position < len(self.names):
            folder = os.path.dirname(self.names[position])
            while begin and os.path.dirname(self.names[begin - 1]) == folder:
                begin -= 1
        within: str | None = None
        texts: dict[str, list[str]] = {}
        used: set[str] = set()
        path = group = ""
        for at, name in enumerate(self.names[begin:], begin):
            folder, base = os.path.split(name)
            if folder != within:
                within = folder
                path = os.path.join(self.path, folder) if folder else self.path
                texts, group, used = _texts_in(path), shown(os.path.basename(path)), set()
            stem = base.rpartition(".")[0] or base
            own = [*texts.get(base, ()), *texts.get(stem, ())] if texts else []
            new = [text for text in own if text not in used]
            used.update(new)
            if at < position:
                continue
            caption, beside = self._said(at, name, path, own, new) if own or self._metadata else (None, ALONE)
            file = os.path.join(self.path, name)
            content = WholeFile(file) if self.recording else functools.partial(read_bytes, file)
            yield Entry(
                Place(part, 0, at), at + 1, shown(name), caption, number(stem), group, content, beside
            )

    def load(self, place: Place) -> Content:
        """Read the image at a place; raise UnreadableImage if it cannot be read."""
        return read_bytes(os.path.join(self.path, self.names[place.offset]))

    def _said(
        self, at: int, name: str, path: str, own: list[str], new: list[str]
    ) -> tuple[str | None, Beside]:
        """Return an image's caption, and the texts that are counted with it."""
        folder = os.path.dirname(name)
        text, wrong = captions.beside(path, own)
        broken = [(f"{folder}/{t}" if folder else t, why) for t, why in wrong if t in new]
        fresh = len(new) + len(self._metadata.get(at, ()))
        for file in self._metadata.get(at, ()):
            try:
                self._spoken[file] = captions.read_metadata(os.path.join(self.path, file))
            except UnreadableImage as error:
                broken.append((file, error))
        caption = text.caption
        if caption is None and self._metadata:
            caption = self._in_metadata(name)
        return caption, Beside(fresh - len(broken), tuple(quarantined(shown(n), why) for n, why in broken))

    def _in_metadata(self, name: str) -> str | None:
        for files in self._metadata.values():
            for file in files:
                folder = os.path.dirname(file)
                if folder and not name.startswith(f"{folder}/"):
                    continue
                if file not in self._spoken:  # a build that is resumed after its first image
                    try:
                        self._spoken[file] = captions.read_metadata(os.path.join(self.path, file))
                    except UnreadableImage:
                        self._spoken[file] = {}
                said = self._spoken[file].get(name[len(folder) + 1 :] if folder else name)
                if said is not None:
                    return said
        return None

    def _find(self, path: Path) -> tuple[list[str], list[QuarantineEntry]]:
        """Return the images below a folder, and the files that are left out."""
        try:
            folders = walk(path)
        except OSError as error:
            raise ConfigError(f"{shown(path)} cannot be read: {error.strerror}") from None
        names: list[str] = []
        gone: list[tuple[str, UnreadableImage]] = []
        metadata: list[str] = []
        for folder in folders:
            found = sort_files(folder, os.path.join(path, folder.path))
            names += map(folder.within, found.images)
            gone += [(folder.within(name).rstrip("/"), why) for name, why in found.left_out]
            metadata += map(folder.within, found.metadata)
            self._texts += found.texts
        names.sort(key=by_parts)
        for file in metadata:
            folder_of = os.path.dirname(file)
            first = next(
                (i for i, n in enumerate(names) if not folder_of or n.startswith(f"{folder_of}/")), None
            )
            if first is None:
                gone.append((file, UnreadableImage("text", "it speaks of no image in its folder")))
            else:
                self._metadata.setdefault(first, []).append(file)
                self._texts += 1
        return names, [quarantined(shown(name), why) for name, why in sorted_by_name(gone)]


class Sorted:
    """The files of one folder by what they are: images, the number of their texts, metadata, and those left out."""

    def __init__(self) -> None:
        self.images: list[str] = []
        self.texts = 0
        self.metadata: list[str] = []
        self.left_out: list[tuple[str, UnreadableImage]] = []


def sort_files(folder: Folder, path: str) -> Sorted:
    """Sort a folder's files: images by their suffixes, files with unknown suffixes by their content."""
    found = Sorted()
    found.left_out = list(folder.left_out)
    texts: list[str] = []
    for name in folder.files:
        if _is_image(name):
            found.images.append(name)
        elif name in captions.METADATA:
            found.metadata.append(name)
        elif os.path.splitext(name)[1].lower() in captions.SUFFIXES:
            texts.append(name)
        else:
            wrong = judge_unknown(os.path.join(path, name))
            if wrong is None:
                found.images.append(name)
            else:
                found.left_out.append((name, wrong))
    if texts:
        stems = {stem for name in found.images for stem in (name, name.rpartition(".")[0])}
        for name in texts:
            if os.path.splitext(name)[0] in stems:
                found.texts += 1
            else:
                found.left_out.append((name, UnreadableImage("text", "there is no image of this name")))
    return found


def judge_unknown(path: str) -> UnreadableImage | None:
    """Return why a file with an unknown suffix is left out; None for an image."""
    return None if is_image(head_of(path)) else judge_file(path)


def _texts_in(folder: str) -> dict[str, list[str]]:
    """Return the names of the texts in a folder by their stems, sorted."""
    texts: dict[str, list[str]] = {}
    try:
        with os.scandir(folder) as found:
            entries = [
                entry for entry in found if os.path.splitext(entry.name)[1].lower() in captions.SUFFIXES
            ]
    except OSError:
        return texts
    for entry in entries:
        name = entry.name
        stem = os.path.splitext(name)[0]
        plain = entry.is_file(follow_symlinks=False)  # known without asking the system
        if not is_system(name) and (plain or not os.path.exists(entry.path) or os.path.isfile(entry.path)):
            texts.setdefault(stem, []).append(name)
    for own in texts.values():
        own.sort(key=os.fsencode)
    return texts


def texts_of(folder: Folder) -> list[str]:
    """Return the texts in a folder."""
    return [
        name
        for name in folder.files
        if name.rpartition(".")[2].lower() in _TEXTS or name in captions.METADATA
    ]


def files_in(folder: Path) -> Sorted:
    """Sort the files of one folder of generations; its texts, which have no meaning there, are not among them."""
    try:
        if (plain := _plain_images(folder)) is not None:
            return plain
        only = walk(folder, deep=False)[0]
    except OSError as error:
        raise ConfigError(f"images={shown(folder)} cannot be read: {error.strerror}") from None
    texts = set(texts_of(only))
    only.files = [name for name in only.files if name not in texts]
    found = sort_files(only, os.fspath(folder))
    if not (found.images or found.left_out or texts):
        found.left_out.append(("", UnreadableImage("empty", "an empty folder")))
    return found


def _plain_images(folder: Path) -> Sorted | None:
    """Return the images of a folder that holds nothing else, as most do: names alone are enough to tell."""
    found = Sorted()
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if not _is_image(name) or name.startswith("._") or not entry.is_file(follow_symlinks=False):
                return None
            found.images.append(name)
    return found if found.images else None


def _is_image(name: str) -> bool:
    """Tell whether a name has the suffix of an image.

    As in os.path.splitext, a name with nothing but dots before the last one has no suffix; this takes a third of the time.
    """
    stem, _, suffix = name.rpartition(".")
    return suffix.lower() in _SUFFIXES and stem.strip(".") != ""
