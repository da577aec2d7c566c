"""Tar archives in the manner of webdataset: members of one sample share a name up to its first dot.

Nothing is ever unpacked: names are labels, and images are read at their offsets.
"""

from __future__ import annotations

import functools
import json
import posixpath
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.images import IMAGE_SUFFIXES, UnreadableImage
from memcore.sources.stored.items import Item, number, read_part, seeds_of, shown

_CAPTIONS = (".txt", ".json")
#: Bytes of the longest caption that is read.
_CAPTION_BYTES = 1 << 16
_PROMPT_NAMES = ("prompt", "caption", "text")


class TarSet:
    """All prompts of some tars. A sample's prompt is its .txt, or ``prompt`` or ``caption`` of its .json; without
    either the folder in its name, and without that the archive's own name.
    """

    def __init__(self, archives: Sequence[Path], root: Path) -> None:
        self.files = list(archives)
        self._root = root
        found: dict[str, list[tuple[int, int, int, int | None]]] = {}
        self._names: dict[str, list[str]] = {}
        self._broken: dict[str, list[Item]] = {}
        for number_, archive in enumerate(self.files):
            self._scan(number_, archive, found)
        if not found and not self._broken:
            raise ConfigError(f"images={root}: its tar archives hold not one image")
        self.prompts = list(dict.fromkeys([*found, *self._broken]))
        self._places: list[NDArray[np.int64]] = []
        self._seeds: list[list[int]] = []
        for prompt in self.prompts:
            rows = found.get(prompt, [])
            self._places.append(np.array([row[:3] for row in rows], dtype=np.int64).reshape(-1, 3))
            given = [row[3] for row in rows]
            self._seeds.append(seeds_of(["" if seed is None else str(seed) for seed in given]))

    def count(self, index: int) -> int:
        return len(self._places[index]) + len(self._broken.get(self.prompts[index], []))

    def items(self, index: int) -> Iterator[Item]:
        prompt = self.prompts[index]
        names = self._names.get(prompt, [])
        for (archive, offset, size), seed, name in zip(
            self._places[index].tolist(), self._seeds[index], names, strict=True
        ):
            yield Item(name, seed, functools.partial(read_part, self.files[archive], offset, size))
        yield from self._broken.get(prompt, [])

    def _scan(
        self, archive_id: int, archive: Path, found: dict[str, list[tuple[int, int, int, int | None]]]
    ) -> None:
        """Notes where each image of the archive lies. What follows a damaged header is lost, and is said."""
        label = shown(archive.relative_to(self._root))
        samples: dict[str, dict[str, tarfile.TarInfo]] = {}
        last = shown(archive.stem)
        trouble: list[tuple[str, str, str]] = []
        texts: dict[str, dict[str, Any]] = {}
        try:
            with tarfile.open(archive, "r:", encoding="utf-8", errors="surrogateescape") as tar:
                for member in tar:
                    setattr(tar, "members", [])  # noqa: B010 - tarfile would keep them all; its stub does not know them
                    suffix = posixpath.splitext(member.name)[1].lower()
                    if suffix not in IMAGE_SUFFIXES and suffix not in _CAPTIONS:
                        continue
                    if (wrong := _trick(member)) is not None:
                        trouble.append((f"{label}/{shown(member.name)}", "path", wrong))
                        continue
                    key = _key(member.name)
                    if suffix in _CAPTIONS:
                        texts.setdefault(key, {}).update(_caption(tar, member, suffix))
                    else:
                        samples.setdefault(key, {})[member.name] = member
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            trouble.append(
                (label, "truncated" if samples else "unreadable", f"{type(error).__name__}: {error}")
            )
        for key, members in samples.items():
            about = texts.get(key, {})
            folder = posixpath.basename(posixpath.dirname(key))
            prompt = str(about.get("prompt") or shown(folder) or shown(archive.stem))
            last = prompt
            for name, member in members.items():
                seed = about.get("seed")
                seed = seed if seed is not None else number(posixpath.basename(key))
                found.setdefault(prompt, []).append((archive_id, member.offset_data, member.size, seed))
                self._names.setdefault(prompt, []).append(f"{label}/{shown(name)}")
        for source, reason, detail in trouble:
            self._broken.setdefault(last, []).append(
                Item(source, 0, functools.partial(_refuse, reason, detail))
            )


def _refuse(reason: str, detail: str) -> bytes:
    raise UnreadableImage(reason, detail)


def _key(name: str) -> str:
    folder, base = posixpath.split(name.removeprefix("./"))
    return posixpath.join(folder, base.partition(".")[0])


def _trick(member: tarfile.TarInfo) -> str | None:
    """What is wrong with a member that could lead a reader outside of its archive, or is no plain file."""
    if member.name.startswith("/") or ".." in member.name.split("/"):
        return "its name leads out of the archive"
    if member.issym() or member.islnk():
        return "a link"
    if not member.isreg() or member.sparse is not None:
        return "no plain file"
    return None


def _caption(tar: tarfile.TarFile, member: tarfile.TarInfo, suffix: str) -> dict[str, Any]:
    """{"prompt", "seed"} as far as a sample's text says them; a text that cannot be used says nothing."""
    file = tar.extractfile(member) if member.size <= _CAPTION_BYTES else None
    if file is None:
        return {}
    try:
        text = file.read().decode("utf-8")
        if suffix == ".txt":
            return {"prompt": text.strip()} if text.strip() else {}
        values = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    prompt = next((values[n] for n in _PROMPT_NAMES if isinstance(values.get(n), str) and values[n]), None)
    seed = values.get("seed")
    whole = isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**63
    return {k: v for k, v in (("prompt", prompt), ("seed", seed if whole else None)) if v is not None}
