"""Which prompts are stored at a path: the layout is told by the files that are there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from memcore.errors import ConfigError
from memcore.images import IMAGE_SUFFIXES, UnreadableImage
from memcore.sources.base import (
    judge_file,
    quarantined,
    shown,
    sorted_by_name,
)
from memcore.sources.captions import METADATA, NO_FILE_NAME, read_metadata
from memcore.sources.entries import QuarantineEntry
from memcore.sources.folder import FolderSource, sort_files, texts_of
from memcore.sources.layouts import LISTING, ArrayPrompts, Collection, FolderPrompt, PackedPrompts
from memcore.sources.open import packed_kinds
from memcore.sources.walk import AGAIN, Folder, compressed, compression, every, head_of, walk
from memcore.system.places import where

_COMPRESSED = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")


AnyPrompts: TypeAlias = "ArrayPrompts | Collection"


class Found(NamedTuple):
    """The prompts at a path, and the files there that belong to no prompt."""

    collections: list[AnyPrompts]
    left_out: list[QuarantineEntry]


def find_prompts(path: Path) -> Found:
    """Return the prompts at ``path``, sorted by name; raise ConfigError if there are none, or two layouts at once."""
    if (single := _find_in_file(path)) is not None:
        return single
    try:
        folders = walk(path)
    except OSError as error:
        raise ConfigError(f"images={shown(path)} cannot be read: {error.strerror}") from None
    if (described := _find_described(path, folders)) is not None:
        return described
    found: dict[str, list[AnyPrompts]] = {}
    for suffix, kind in packed_kinds().items():
        if archives := _with_suffix(folders[0], suffix):
            found[f"{suffix} files"] = [PackedPrompts(kind(path, files=[path / name for name in archives]))]
    arrays = _with_suffix(folders[0], ".npy")
    here = bool(sort_files(folders[0], os.fspath(path)).images)
    if here:
        found["images"] = [FolderPrompt(path, path)]
    with_images = _folders_of_prompts(path, folders, some=bool(arrays), here=here)
    if with_images or arrays:
        names = sorted([*arrays, *with_images], key=os.fsencode)
        alone = set(arrays)
        found[".npy files or folders of images"] = [
            ArrayPrompts(path / name, path, alone=False) if name in alone else FolderPrompt(path / name, path)
            for name in names
        ]
    if not found:
        found = _find_deeper(path, folders)
    if len(found) != 1:
        raise ConfigError(_why_none(path, folders[0], list(found)))
    collections = next(iter(found.values()))
    return Found(collections, _passed_over(path, folders, {""} if here else set(with_images), collections))


def _find_in_file(path: Path) -> Found | None:
    """Return the prompts of a single file; None for a folder. Raises ConfigError for any other file."""
    packed = packed_kinds()
    if path.is_file():
        suffix = path.suffix.lower()
        if suffix == ".npy":
            return Found([ArrayPrompts(path, path, alone=True)], [])
        if suffix in packed:
            return Found([PackedPrompts(packed[suffix](path))], [])
        if (kind := compression(head_of(path))) is not None:
            raise ConfigError(f"images={shown(path)} cannot be read: {compressed(kind)}")
    if path.is_dir():
        return None
    wanted = f"images must be a folder, or an {_either(['.npy', *packed])} file"
    if not path.exists():
        raise ConfigError(f"{wanted}, but {shown(path)} does not exist{where(path)}")
    raise ConfigError(f"{wanted}, got {shown(path)}, which is none of these")


def _with_suffix(folder: Folder, suffix: str) -> list[str]:
    """Return the names of a folder's files with a suffix, sorted."""
    names = [name for name in folder.files if os.path.splitext(name)[1].lower() == suffix]
    return sorted(names, key=os.fsencode)


def _folders_of_prompts(path: Path, folders: list[Folder], *, some: bool, here: bool) -> list[str]:
    """Return the folders in ``path`` that are a prompt each: those with images and, beside such, the empty ones.

    ``some`` says that arrays are prompts beside them, ``here`` that ``path`` itself holds images.
    """
    below = [folder for folder in folders[1:] if "/" not in folder.path]
    chosen = [f.path for f in below if sort_files(f, os.path.join(path, f.path)).images]
    if (chosen or some) and not here:  # an empty folder among those of prompts is a prompt that has no image
        inside = {folder.path.split("/", 1)[0] for folder in folders[1:] if "/" in folder.path}
        chosen += [f.path for f in below if f.path not in inside and not f.files and _is_empty(f.left_out)]
    return chosen


def _why_none(path: Path, top: Folder, layouts: list[str]) -> str:
    """Return why there is not one layout at ``path``."""
    if layouts:
        return f"images={shown(path)} holds {' and '.join(layouts)}: keep one layout in a folder"
    for name in top.files:
        if name.lower().endswith(_COMPRESSED) or compression(head_of(path / name)):
            hint = f"; unpack {shown(name)}: compressed archives cannot be read at random"
            break
    else:
        hint = ""
    kinds = _either([".npy", *packed_kinds()])
    return f"images={shown(path)} holds neither images nor folders of images, {kinds}{hint}"


def _find_described(path: Path, folders: list[Folder]) -> Found | None:
    """Return the prompts that metadata.jsonl or metadata.csv gives the images of a folder, or None without such a file.

    Raises ConfigError if prompts.txt names the prompts as well.
    """
    files = [folder.within(name) for folder in folders for name in folder.files]
    kinds = {os.path.splitext(name)[1].lower() for name in files}
    metadata = sorted(name for name in files if os.path.basename(name) in METADATA)
    if not metadata or kinds & {".npy", *packed_kinds()}:
        return None
    if not any(_describes(path, file) for file in metadata):
        return None
    if LISTING in files:
        raise ConfigError(
            f"images={shown(path)} holds {LISTING} and {shown(metadata[0])}, which both name the prompts: keep one"
        )
    source = FolderSource(path)
    texts = [folder.within(name) for folder in folders for name in texts_of(folder)]
    stored = [(os.path.join(path, name), name) for name in [*source.names, *sorted(texts, key=os.fsencode)]]
    return Found([PackedPrompts(source, stored)], list(source.left_out))


def _describes(path: Path, file: str) -> bool:
    """Tell whether a metadata file gives an image that is there a prompt."""
    folder = os.path.join(path, os.path.dirname(file))
    try:
        names = read_metadata(os.path.join(path, file))
    except UnreadableImage:  # it is left out, as a text or with this reason
        return False
    return any(os.path.exists(os.path.join(folder, name)) for name in names)


def _why_unused(path: str, name: str) -> UnreadableImage:
    """Return why a text in a folder of generations is left out."""
    if name in METADATA:
        try:
            read_metadata(path)
        except UnreadableImage as error:
            if NO_FILE_NAME not in str(error):
                return error
        return UnreadableImage("text", "it gives no image that is here a prompt")
    return UnreadableImage("text", "a text in a folder of generations says nothing")


def _find_deeper(path: Path, folders: list[Folder]) -> dict[str, list[AnyPrompts]]:
    """Return the archives and tables of the folders below, as in a data set of Hugging Face, which has them in data/."""
    found: dict[str, list[AnyPrompts]] = {}
    names, _ = every(folders, lambda name: True)
    for suffix, kind_of in packed_kinds().items():
        own = [path / name for name in names if os.path.splitext(name)[1].lower() == suffix]
        if own:
            found[f"{suffix} files"] = [PackedPrompts(kind_of(path, files=own))]
    return found


def _is_empty(left_out: list[tuple[str, UnreadableImage]]) -> bool:
    return all(why.reason in ("empty", "system") for _, why in left_out)


def _passed_over(
    path: Path, folders: list[Folder], prompts: set[str], collections: list[AnyPrompts]
) -> list[QuarantineEntry]:
    """Return the files below a folder of generations that belong to no prompt."""
    gone: list[tuple[str, UnreadableImage]] = []
    taken = {name for c in collections if not isinstance(c, FolderPrompt) for _, name in c.stored()}
    for folder in folders:
        if folder.path in prompts:  # its other files, except texts, are reported with the prompt
            gone += [
                (full := folder.within(name), _why_unused(os.path.join(path, full), name))
                for name in texts_of(folder)
            ]
            gone += [(folder.within(name), why) for name, why in folder.left_out if str(why) == AGAIN]
            continue
        for name in folder.files:
            full = folder.within(name)
            if full not in taken and full != LISTING:
                gone.append((full, _why_deeper(path / full) if folder.path else judge_file(path / full)))
        gone += [(folder.within(name).rstrip("/"), why) for name, why in folder.left_out]
    return [quarantined(shown(name), why) for name, why in sorted_by_name(gone)]


def _why_deeper(path: Path) -> UnreadableImage:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return UnreadableImage("other", "it lies deeper than the folder of a prompt")
    return judge_file(path)


def _either(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
