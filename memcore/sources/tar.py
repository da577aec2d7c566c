"""Tar archives in the manner of webdataset: members of one sample share a name up to its first dot.

Nothing is ever unpacked: names are labels, and images are read at their offsets.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import posixpath
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from memcore.images import IMAGE_SUFFIXES, MAX_BYTES, UnreadableImage
from memcore.images.payload import Content
from memcore.sources import captions
from memcore.sources.base import Entry, FileParts, Place, number, read_bytes, shown
from memcore.sources.captions import Text

_END = tarfile.BLOCKSIZE


class _Image(NamedTuple):
    """A member that is called an image, or one that is refused: then ``wrong`` says why."""

    start: int
    name: str
    stem: str
    offset: int
    size: int
    wrong: str | None


@dataclasses.dataclass
class _Run:
    """Neighbouring members with one key."""

    start: int
    key: str
    images: list[_Image] = dataclasses.field(default_factory=list)


class _Contents:
    """What an archive's headers and texts say: where each image lies, and where the archive is damaged."""

    def __init__(self, path: Path) -> None:
        self.runs: list[_Run] = []
        self.end: int | None = None  # where damage begins
        #: Texts by the name of the image that they go with, and by the sample's key, and by their suffix.
        self._by_stem: dict[str, dict[str, Text]] = {}
        self._by_key: dict[str, dict[str, Text]] = {}
        archive: tarfile.TarFile | None = None
        try:
            with path.open("rb") as stream:
                archive = tarfile.TarFile(fileobj=stream, encoding="utf-8", errors="surrogateescape")
                while (member := archive.next()) is not None:
                    archive.members.clear()  # type: ignore[attr-defined]  # it would keep every header that it has read
                    self._add(member, archive)
                _check_end(stream, archive.offset)
        except (tarfile.TarError, OSError, EOFError, ValueError):
            self.end = archive.offset if archive is not None else 0

    def text(self, image: _Image, key: str) -> Text:
        """Return what the archive says of an image: its own texts first, then those of its sample."""
        own, shared = self._by_stem.get(image.stem), self._by_key.get(key)
        if own is None or own == shared:
            return Text() if shared is None else captions.merge(shared)
        first, second = captions.merge(own), captions.merge(shared or {})
        return Text(
            second.caption if first.caption is None else first.caption,
            second.seed if first.seed is None else first.seed,
        )

    def _add(self, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        stem, suffix = posixpath.splitext(member.name)
        suffix = suffix.lower()
        named = suffix in IMAGE_SUFFIXES or suffix in captions.SUFFIXES
        if not named and not member.isfile():
            return
        key = _key(member.name)
        if not self.runs or self.runs[-1].key != key:
            self.runs.append(_Run(member.offset, key))
        wrong = _trick(member) if named else None
        if suffix in IMAGE_SUFFIXES or wrong is not None:
            self.runs[-1].images.append(
                _Image(member.offset, member.name, stem, member.offset_data, member.size, wrong)
            )
        elif named and member.size <= captions.MAX_TEXT and (file := archive.extractfile(member)) is not None:
            text = captions.parse_text(_read(file), suffix)
            self._by_stem.setdefault(stem, {})[suffix] = text
            self._by_key.setdefault(key, {})[suffix] = text


class TarSource(FileParts):
    """Uncompressed tars as webdataset writes them. Every image of a sample is an entry; its caption stands in a text of
    the same name, or of the same key, anywhere in the archive.
    """

    kind = "tars"
    suffixes = (".tar",)

    #: The archive that was begun to be read, of which the first image may be asked for twice.
    _begun: tuple[Path, _Contents] | None = None

    def entries(self, part: int, position: int = 0) -> Iterator[Entry]:
        path = self.files[part]
        begun, self._begun = self._begun, None
        contents = begun[1] if begun is not None and begun[0] == path else _Contents(path)
        self._begun = (path, contents)
        yield from self._entries(part, position, contents)
        self._begun = None

    def _entries(self, part: int, position: int, contents: _Contents) -> Iterator[Entry]:
        label, size = shown(self.parts[part].name), max(1, self.parts[part].bytes)
        group = last = shown(self.files[part].stem)
        with_images = {run.key for run in contents.runs if run.images}
        for run in reversed(contents.runs):  # what cannot be read goes with the last image that can be
            if good := [image for image in run.images if image.wrong is None]:
                last = contents.text(good[-1], run.key).caption or _folder(run.key) or group
                break
        told: set[str] = set()
        ends = [run.start for run in contents.runs[1:]]
        ends.append(size if contents.end is None else max(0, min(contents.end, size - 1)))
        for run, after in zip(contents.runs, ends, strict=False):
            if not run.images and run.key not in with_images and run.key not in told:
                told.add(run.key)
                if run.start >= position:
                    missing = UnreadableImage("no-image", "a sample without an image")
                    name = f"{label}/{shown(run.key)}"
                    yield Entry(Place(part, 0, 0), after, name, None, None, last, missing)
            begins = [run.start, *(image.start for image in run.images[1:])]
            for image, begin, then in zip(run.images, begins, [*begins[1:], after], strict=False):
                if begin >= position:
                    yield self._entry(part, label, image, run.key, then, contents, group, last)
        if contents.end is not None and position < size:
            damaged = UnreadableImage("archive", "the archive is damaged, or cut short, from here on")
            yield Entry(Place(part, 0, 0), size, f"{label}/(the rest)", None, None, last, damaged)

    def load(self, place: Place) -> Content:
        return read_bytes(self.files[place.part], place.offset, place.bytes)

    def _entry(
        self,
        part: int,
        label: str,
        image: _Image,
        key: str,
        after: int,
        contents: _Contents,
        group: str,
        last: str,
    ) -> Entry:
        name = f"{label}/{shown(image.name)}"
        if image.wrong is not None:
            wrong = UnreadableImage("path", image.wrong)
            return Entry(Place(part, 0, 0), after, name, None, None, last, wrong)
        text = contents.text(image, key)
        seed = number(posixpath.basename(key)) if text.seed is None else text.seed
        place = Place(part, image.size if image.size <= MAX_BYTES else 0, image.offset)
        content = functools.partial(read_bytes, self.files[part], image.offset, image.size)
        return Entry(place, after, name, text.caption, seed, _folder(key) or group, content)


def _key(name: str) -> str:
    """Return what members of one sample share: folder and name up to the first dot."""
    folder, base = posixpath.split(name.removeprefix("./"))
    stem = base.partition(".")[0]
    return posixpath.join(folder, stem) if stem else name


def _folder(key: str) -> str:
    return shown(posixpath.basename(posixpath.dirname(key)))


def _trick(member: tarfile.TarInfo) -> str | None:
    """Return what is wrong with a member that could lead a reader outside of its archive, or is no plain file."""
    if member.name.startswith("/") or ".." in member.name.split("/"):
        return "its name leads out of the archive"
    if member.issym() or member.islnk():
        return "a link"
    if not member.isreg() or member.sparse is not None:
        return "no plain file"
    return None


def _read(file: object) -> bytes:
    try:
        data: bytes = file.read()  # type: ignore[attr-defined]
    except tarfile.ReadError:  # the archive ends within the member
        return b""
    return data


def _check_end(stream: BinaryIO, offset: int) -> None:
    """Raise ReadError unless an empty block, which ends every archive, stands there: tarfile takes anything for an end."""
    stream.seek(offset, os.SEEK_SET)
    block = stream.read(_END)
    if not block or block.strip(b"\0"):
        raise tarfile.ReadError("no end mark")
