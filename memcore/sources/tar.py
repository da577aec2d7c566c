"""Tar archives as webdataset defines them: members of one sample share a name up to its first dot.

Nothing is ever unpacked: names are labels, and images are read at their offsets.
"""

from __future__ import annotations

import functools
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from memcore.images import IMAGE_SUFFIXES, MAX_BYTES, UnreadableImage
from memcore.images.payload import Content
from memcore.sources import captions
from memcore.sources.base import FileParts, number, quarantined, read_bytes, shown
from memcore.sources.captions import Text
from memcore.sources.entries import ALONE, Beside, Entry, Place
from memcore.sources.tar_members import Member, Members
from memcore.sources.walk import READ, compressed, compression, is_system, judge

_END = tarfile.BLOCKSIZE
#: Bytes that are read at a time to find what follows the end of an archive.
_LOOKED_THROUGH = 1 << 20
_ONE_TEXT = Beside(1)


class _Image(NamedTuple):
    """A member that is an image, or one that is refused, in which case ``wrong`` says why."""

    start: int
    name: str
    stem: str
    offset: int
    size: int
    wrong: str | None


class _Run(NamedTuple):
    """Consecutive members with the same key."""

    start: int
    key: str
    images: list[_Image]


class _Texts:
    """The texts of a sample: how many there are, and which are not used and why."""

    __slots__ = ("count", "left_out")

    def __init__(self) -> None:
        self.count = 0
        self.left_out: list[tuple[str, UnreadableImage]] = []


class _Contents:
    """What an archive's headers and texts say: where each image is, and where the archive is damaged."""

    def __init__(self, path: Path) -> None:
        self.runs: list[_Run] = []
        self.end: int | None = None  # where damage begins
        self.damage = UnreadableImage("archive", "the archive is damaged, or cut short, from here on")
        #: Members that are not folders, and those of them that are neither images nor texts.
        self.members = 0
        self.others: list[tuple[str, UnreadableImage]] = []
        #: Texts by the name of their image or by the sample's key, and by their suffix.
        self._by_stem: dict[str, dict[str, Text]] = {}
        self._by_key: dict[str, dict[str, Text]] = {}
        self.texts: dict[str, _Texts] = {}
        archive: Members | None = None
        begin: int | None = 0
        try:
            with open(os.open(path, READ), "rb") as stream:
                about = os.fstat(stream.fileno())
                if not stat.S_ISREG(about.st_mode):
                    self.damage = UnreadableImage("path", "no plain file")
                    raise OSError("no plain file")
                if (packed := compression(stream.read(8))) is not None:
                    self.damage = compressed(packed)
                elif not about.st_size:
                    self.damage = UnreadableImage("archive", "an archive of no bytes")
                while begin is not None:  # archives may follow one another in a file
                    stream.seek(begin)
                    archive = None
                    archive = Members(stream)
                    while (member := archive.next()) is not None:
                        self._add(member, archive)
                    begin = _find_more(stream, archive.offset)
        except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, RecursionError, MemoryError):
            self.end = archive.offset if archive is not None else begin or 0

    def text(self, image: _Image, key: str) -> Text:
        """Return what the archive says about an image: its own texts first, then those of its sample."""
        own, shared = self._by_stem.get(image.stem), self._by_key.get(key)
        if own is None or own == shared:
            return Text() if shared is None else captions.merge(shared)
        first, second = captions.merge(own), captions.merge(shared or {})
        return Text(
            second.caption if first.caption is None else first.caption,
            second.seed if first.seed is None else first.seed,
        )

    def unread(self, key: str) -> UnreadableImage | None:
        """Return why a text of a sample cannot be read, or None if all can."""
        held = self.texts.get(key)
        return (
            next((why for _, why in held.left_out if why.reason == "caption"), None)
            if held is not None
            else None
        )

    def _add(self, member: Member, archive: Members) -> None:
        if member.is_folder:
            return
        self.members += 1
        name, wrong = member.name, member.wrong
        stem, suffix = posixpath.splitext(name)
        suffix = suffix.lower()
        if _is_system(name):
            self.others.append((name, UnreadableImage("system", "what a system puts beside files")))
            return
        is_text = suffix in captions.SUFFIXES
        if not is_text and suffix not in IMAGE_SUFFIXES:
            what = judge(archive.head(member)) if wrong is None else UnreadableImage("path", wrong)
            if what is not None:
                self.others.append((name, what))
                return
        key = _key(name)
        if not self.runs or self.runs[-1].key != key:
            self.runs.append(_Run(member.offset, key, []))
        if not is_text or wrong is not None:
            self.runs[-1].images.append(_Image(member.offset, name, stem, member.data, member.size, wrong))
            return
        held = self.texts.get(key)
        if held is None:
            held = self.texts[key] = _Texts()
        held.count += 1
        if member.size > captions.MAX_TEXT:
            text = Text(wrong=UnreadableImage("caption", f"a text of {member.size:,} bytes"))
        else:
            text = captions.parse_text(archive.read(member), suffix)
        if text.wrong is not None:
            held.left_out.append((name, text.wrong))
            return
        own = self._by_stem.setdefault(stem, {})
        if suffix in own:
            again = UnreadableImage("text", "the archive has a later text of this name")
            held.left_out.append((name, again))
        own[suffix] = text
        self._by_key.setdefault(key, {})[suffix] = text


class TarSource(FileParts):
    """Uncompressed tar archives as webdataset writes them.

    Every image of a sample is an entry; its caption is in a text of the same name, or of the same key, anywhere in the
    archive.
    """

    kind = "tars"
    suffixes = (".tar",)

    #: The archive that is being read: its first image may be requested twice.
    _begun: tuple[Path, _Contents] | None = None

    def __init__(self, path: Path, *, files: Sequence[Path] | None = None) -> None:
        super().__init__(path, files=files)
        self._members: dict[Path, int] = {}

    def pointed_at(self, part: int) -> int:
        """Return how many members an archive holds, except folders; damage, or having no sample, counts as one more."""
        return self._members[self.files[part]]

    def entries(self, part: int, position: int = 0) -> Iterator[Entry]:
        """Yield the images of one archive from a position on, then its damage, if any."""
        path = self.files[part]
        begun, self._begun = self._begun, None
        contents = begun[1] if begun is not None and begun[0] == path else _Contents(path)
        self._begun = (path, contents)
        self._members[path] = contents.members + (contents.end is not None)
        yield from self._entries(part, position, contents)
        self._begun = None

    def _entries(self, part: int, position: int, contents: _Contents) -> Iterator[Entry]:
        label, size = shown(self.parts[part].name), max(1, self.parts[part].bytes)
        group = last = shown(self.files[part].stem)
        with_images = {run.key for run in contents.runs if run.images}
        for run in reversed(contents.runs):  # what cannot be read is counted with the last readable image
            if good := [image for image in run.images if image.wrong is None]:
                last = contents.text(good[-1], run.key).caption or _folder(run.key) or group
                break
        waiting = _Waiting(label, contents)
        told: set[str] = set()
        ends = [run.start for run in contents.runs[1:]]
        ends.append(size if contents.end is None else max(0, min(contents.end, size - 1)))
        for run, after in zip(contents.runs, ends, strict=False):
            if not run.images and run.key not in with_images and run.key not in told:
                told.add(run.key)
                beside = waiting.beside(run.key, used=False)
                if run.start >= position:
                    missing = UnreadableImage("no-image", "a sample without an image")
                    name = f"{label}/{shown(run.key)}"
                    yield Entry(Place(part, 0, 0), after, name, None, None, last, missing, beside)
            begins = [run.start, *(image.start for image in run.images[1:])]
            for image, begin, then in zip(run.images, begins, [*begins[1:], after], strict=False):
                beside = waiting.beside(run.key, used=True)
                if begin >= position:
                    yield self._entry(part, label, image, run.key, then, contents, group, last, beside)
        if contents.end is not None and position < size:
            beside = waiting.beside(None, used=False)
            yield Entry(
                Place(part, 0, 0), size, f"{label}/(the rest)", None, None, last, contents.damage, beside
            )
        elif not contents.runs and position < size:  # nothing but members that are left out
            beside = waiting.beside(None, used=False)
            self._members[self.files[part]] += 1
            nothing = UnreadableImage("no-image", "an archive without an image")
            yield Entry(Place(part, 0, 0), size, label, None, None, last, nothing, beside)

    def load(self, place: Place) -> Content:
        """Read the image at a place; raise UnreadableImage if it cannot be read."""
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
        beside: Beside,
    ) -> Entry:
        name = f"{label}/{shown(image.name)}"
        if image.wrong is not None:
            wrong = UnreadableImage("path", image.wrong)
            return Entry(Place(part, 0, 0), after, name, None, None, last, wrong, beside)
        text = contents.text(image, key)
        seed = number(key.rpartition("/")[2]) if text.seed is None else text.seed
        place = Place(part, image.size if image.size <= MAX_BYTES else 0, image.offset)
        content = functools.partial(read_bytes, self.files[part], image.offset, image.size)
        unread = contents.unread(key) if text.caption is None else None
        return Entry(place, after, name, text.caption, seed, _folder(key) or group, content, beside, unread)


class _Waiting:
    """What to report with the next entry of an archive: other members once, a sample's texts with its first image."""

    def __init__(self, label: str, contents: _Contents) -> None:
        self._label = label
        self._others = contents.others
        self._texts = dict(contents.texts)

    def beside(self, key: str | None, *, used: bool) -> Beside:
        """Return what is counted with an entry. If a sample has no image, the entry itself counts as one of its texts."""
        held = self._texts.pop(key, None) if key is not None else None
        if not self._others:
            if held is None:
                return ALONE
            if used and held.count == 1 and not held.left_out:
                return _ONE_TEXT
        others, self._others = self._others, []
        gone = [*others, *(held.left_out if held is not None else ())]
        count = held.count - len(held.left_out) if held is not None else 0
        if not used and held is not None:
            spare = UnreadableImage("text", "a text of a sample without an image")
            more = held.count - 1 - len(held.left_out)
            gone += [(f"{key} (text {i + 2})", spare) for i in range(more)]
            if more < 0:  # all of them are reported by name: the entry counts as the last
                gone.pop()
            count = 0
        told = tuple(quarantined(f"{self._label}/{shown(name)}", why) for name, why in gone)
        return Beside(count, told)


def _is_system(name: str) -> bool:
    """Tell whether ``is_system`` is true for any part of the name."""
    return is_system(name) if "/" not in name else any(map(is_system, name.split("/")))


def _key(name: str) -> str:
    """Return what the members of one sample share: the folder, and the name up to the first dot."""
    if "/" not in name:  # as most names are
        return name.partition(".")[0] or name
    folder, base = posixpath.split(name.removeprefix("./"))
    stem = base.partition(".")[0]
    return posixpath.join(folder, stem) if stem else name


def _folder(key: str) -> str:
    return "" if "/" not in key else shown(posixpath.basename(posixpath.dirname(key)))


def _find_more(stream: BinaryIO, offset: int) -> int | None:
    """Return where the first block that is not empty begins after the end of an archive, or None if none does.

    Raises ReadError unless an empty block is at ``offset``: tarfile accepts anything as an end, and reads no further.
    """
    stream.seek(offset)
    block = stream.read(_END)
    if not block or block.strip(b"\0"):
        raise tarfile.ReadError("no end mark")
    at = offset + len(block)
    while block := stream.read(_LOOKED_THROUGH):
        if rest := len(block.lstrip(b"\0")):
            return at + (len(block) - rest) // _END * _END
        at += len(block)
    return None
