"""What is in a folder: every file once, with links followed, and what is left out and why."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from memcore.images import IMAGE_SUFFIXES, UnreadableImage, foreign_format, is_image

#: Flags that open a pipe without waiting for its other end, so that it can be refused.
READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
#: Files that operating systems put among those of their users.
_SYSTEM = {".ds_store", "thumbs.db", "desktop.ini"}
#: First bytes of compressed files, and the name of the compression.
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}
_HEAD = 32
#: Why a link to a folder is not followed.
AGAIN = "a link to a folder that is read already, or that holds this one"


@dataclass
class Folder:
    """One folder: its ``path`` from the root, with slashes ("" for the root), its files' names, and what is left out."""

    path: str
    files: list[str] = field(default_factory=list)
    left_out: list[tuple[str, UnreadableImage]] = field(default_factory=list)

    def within(self, name: str) -> str:
        """Return the path, from the root, of a name in this folder."""
        return f"{self.path}/{name}" if self.path else name


def walk(root: str | Path, *, deep: bool = True) -> list[Folder]:
    """Return ``root`` and, if ``deep``, the folders below it, each with its files.

    Files are in no particular order; links to files are among them, and so are broken links, since they must be reported.
    A linked folder is read once, and not at all if it is inside ``root`` or contains it.

    Raises OSError if ``root`` cannot be listed.
    """
    root = os.fspath(root)
    seen = _around(root)
    found: list[Folder] = []
    links: list[tuple[Folder, str]] = []
    _descend(root, "", deep, seen, found, links)
    links.sort(key=_by_name)
    while links:
        folder, name = links.pop(0)
        within = folder.within(name)
        about = os.stat(os.path.join(root, within))
        if (about.st_dev, about.st_ino) in seen:
            folder.left_out.append((name, UnreadableImage("path", AGAIN)))
            continue
        more: list[tuple[Folder, str]] = []
        _descend(root, within, deep, seen, found, more)
        links = sorted(more, key=_by_name) + links
    return found


def _by_name(link: tuple[Folder, str]) -> list[bytes]:
    return by_parts(link[0].within(link[1]))


def _descend(
    root: str,
    begin: str,
    deep: bool,
    seen: set[tuple[int, int]],
    found: list[Folder],
    links: list[tuple[Folder, str]],
) -> None:
    waiting = [begin]
    while waiting:
        folder = Folder(waiting.pop())
        path = os.path.join(root, folder.path) if folder.path else root
        try:
            about = os.stat(path)
            seen.add((about.st_dev, about.st_ino))
            with os.scandir(path) as entries:
                held = list(entries)
        except OSError as error:
            if not folder.path:
                raise
            closed = UnreadableImage("unreadable", f"{type(error).__name__}: {error.strerror}")
            folder.left_out.append(("", closed))
            found.append(folder)
            continue
        found.append(folder)
        if not held and folder.path and not _is_called_image(folder.path):
            folder.left_out.append(("", UnreadableImage("empty", "an empty folder")))
        below: list[str] = []
        for entry in held:
            wrong = _add(entry, folder, below if deep else None, links if deep else None)
            if wrong is not None:
                folder.left_out.append((entry.name, wrong))
        waiting.extend(sorted(below, key=os.fsencode, reverse=True))


def _add(
    entry: os.DirEntry[str],
    folder: Folder,
    below: list[str] | None,
    links: list[tuple[Folder, str]] | None,
) -> UnreadableImage | None:
    """Sort one entry; return why it is left out, or None if it is not."""
    if is_system(entry.name):
        return UnreadableImage("system", "what a system puts beside files")
    if entry.is_file(follow_symlinks=False):
        folder.files.append(entry.name)
    elif entry.is_dir(follow_symlinks=False):
        if below is not None:
            below.append(folder.within(entry.name))
        if _is_called_image(entry.name):
            return UnreadableImage("path", "a folder that is called as an image is")
    elif not entry.is_symlink():
        return UnreadableImage("path", "no plain file")
    else:
        try:
            mode = os.stat(entry.path).st_mode
        except OSError:  # a broken link, or one to itself
            folder.files.append(entry.name)
            return None
        if stat.S_ISREG(mode):
            folder.files.append(entry.name)
        elif not stat.S_ISDIR(mode):
            return UnreadableImage("path", "no plain file")
        elif links is not None:
            links.append((folder, entry.name))
    return None


def _is_called_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _around(root: str) -> set[tuple[int, int]]:
    """Return the folders that contain ``root``: following a link to one of them would never end."""
    found = set()
    for parent in Path(os.path.realpath(root)).parents:
        try:
            about = os.stat(parent)
        except OSError:
            continue
        found.add((about.st_dev, about.st_ino))
    return found


def every(
    folders: list[Folder], wanted: Callable[[str], bool]
) -> tuple[list[str], list[tuple[str, UnreadableImage]]]:
    """Return the paths of the wanted files from the root, sorted name by name, and what is left out."""
    names = [folder.within(name) for folder in folders for name in folder.files if wanted(name)]
    gone = [(folder.within(name).rstrip("/"), why) for folder in folders for name, why in folder.left_out]
    return sorted(names, key=by_parts), gone


def by_parts(name: str) -> list[bytes]:
    """Return the sort key of a file: the names in its path, each as bytes."""
    return os.fsencode(name).split(b"/")


def is_system(name: str) -> bool:
    """Tell whether files or folders of this name are made by an operating system, not by a person."""
    return name.startswith("._") or name == "__MACOSX" or name.lower() in _SYSTEM


def head_of(path: str | Path) -> bytes:
    """Return the first bytes of a regular file; b"" for anything else or if it cannot be read."""
    try:
        descriptor = os.open(path, READ)
        try:
            return os.pread(descriptor, _HEAD, 0) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
        finally:
            os.close(descriptor)
    except OSError:
        return b""


def compression(head: bytes) -> str | None:
    """Return how a file with these first bytes is compressed, or None if it is not."""
    return next((name for magic, name in _COMPRESSED.items() if head.startswith(magic)), None)


def compressed(kind: str) -> UnreadableImage:
    """Return the reason why a compressed archive is not read."""
    return UnreadableImage("archive", f"it is compressed ({kind}), and cannot be read at random: unpack it")


def judge(head: bytes) -> UnreadableImage | None:
    """Return why a file with an unknown suffix is left out; None if its first bytes are those of an image."""
    if is_image(head):
        return None
    if (packed := compression(head)) is not None:
        return compressed(packed)
    if (kind := foreign_format(head)) is not None:
        return UnreadableImage("format", f"an image of a format that is not read ({kind})")
    return UnreadableImage(
        "other", "no image by its suffix, nor by its content" if head else "nothing that is read"
    )
