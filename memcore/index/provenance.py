"""Whether a source is what an index was made from: its files' names and sizes, then what they hold.

A file whose time of change is the recorded one is taken to be the same, but for a few that are looked into; every other is
looked into (``memcore.sources.content``). docs/formats.md says what is noticed.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.index.checked import damaged
from memcore.index.layout import PartRecord, SourceRecord
from memcore.index.shard_files import FILE, ShardFiles
from memcore.sources.base import FileParts, Source, StoredSource, shown, size_of
from memcore.sources.content import LEAST_BLOCKS, SAMPLE_BYTES, FileContent, count_blocks, read_content
from memcore.sources.folder import FolderSource

#: Files of which the times are the recorded ones, and which are looked into all the same: of a folder, and of archives.
LOOKED_INTO, ARCHIVES_LOOKED_INTO = 1000, 64


@dataclasses.dataclass
class Comparison:
    """What became of a source's files: how many there were, how many are as they were, and the names of the others.

    ``other`` is a difference that lies in none of them.
    """

    total: int
    kept: int = 0
    missing: list[str] = dataclasses.field(default_factory=list)
    changed: list[str] = dataclasses.field(default_factory=list)
    other: str = ""

    @property
    def same(self) -> bool:
        """Whether the source is what it was."""
        return not (self.missing or self.changed or self.other)

    @property
    def text(self) -> str:
        """The differences in words.

        >>> Comparison(5, 3, ["b.tar"], ["a.tar"]).text
        '1 of 5 files is missing (b.tar), 1 of 5 files was changed (a.tar)'
        """
        said = [
            _some(self.missing, self.total, "is missing", "are missing"),
            _some(self.changed, self.total, "was changed", "were changed"),
            self.other,
        ]
        return ", ".join(text for text in said if text)


def record_parts(source: FileParts) -> tuple[int, list[PartRecord]]:
    """Return the number of blocks, and the records of a source's files."""
    blocks = count_blocks(len(source.files))
    records: list[PartRecord] = []
    for part, file in zip(source.parts, source.files, strict=True):
        found = read_content(file, blocks)
        records.append(
            {"name": part.name, "bytes": part.bytes, "modified": found.modified, "sample": found.sample.hex()}
        )
    return blocks, records


def make_files(found: Sequence[FileContent | None]) -> NDArray[Any]:
    """Return the records of a folder's files, as files.npy has them."""
    nothing = FileContent(0, 0, b"")
    known = [content or nothing for content in found]
    records = np.zeros(len(known), FILE)
    records["bytes"] = [content.size for content in known]
    records["modified"] = [content.modified for content in known]
    samples = b"".join(content.sample.ljust(SAMPLE_BYTES, b"\0") for content in known)
    records["sample"] = np.frombuffer(samples, np.uint8).reshape(-1, SAMPLE_BYTES)
    return records


def open_as_recorded(source: StoredSource, entry: SourceRecord) -> StoredSource:
    """Keep of a source only the files that it had when it was indexed, if they are all there."""
    names = [part["name"] for part in entry["parts"]]
    if isinstance(source, FileParts) and not _alone(entry, source) and len(source.parts) > len(names):
        positions = {part.name: i for i, part in enumerate(source.parts)}
        if all(name in positions for name in names):
            source.keep([positions[name] for name in names])
    return source


def compare(
    source: Source, entry: SourceRecord, shards: Sequence[ShardFiles], *, thorough: bool = False
) -> Comparison:
    """Compare a source with what an index recorded of it; ``shards`` are those that were made of it.

    With ``thorough`` every file is looked into, whatever its time of change is. The source may have more files; that it
    has its files in the same order is not compared.
    """
    if isinstance(source, FileParts):
        return _compare_parts(source, entry, thorough)
    if isinstance(source, FolderSource):
        return _compare_folder(source, entry, shards, thorough)
    same = source.identity() == entry["identity"]
    return Comparison(1, int(same), other="" if same else "it is another one by its identity")


def why_not_in_order(source: StoredSource, entry: SourceRecord) -> str:
    """Return why places of an index do not hold for a source whose files are those that were indexed; "" if they do.

    ``source`` is as ``open_as_recorded`` returned it.
    """
    if not isinstance(source, FileParts):
        return ""
    if [part.name for part in source.parts] != [part["name"] for part in entry["parts"]]:
        return "" if _alone(entry, source) else "its files come in another order"
    if "captions" in source.options and source.identity() != entry["identity"]:
        return "its captions were changed"
    return ""


def _alone(entry: SourceRecord, source: FileParts) -> bool:
    """Tell whether both are a single file that was given by itself: its name does not matter."""
    recorded = entry["parts"]
    own = len(recorded) == 1 and Path(entry["path"]).name == recorded[0]["name"]
    return own and len(source.files) == 1 and source.files[0] == Path(source.path)


def _compare_parts(source: FileParts, entry: SourceRecord, thorough: bool) -> Comparison:
    recorded = entry["parts"]
    found = Comparison(len(recorded))
    files = {part.name: file for part, file in zip(source.parts, source.files, strict=True)}
    if _alone(entry, source):
        files = {recorded[0]["name"]: source.files[0]}
    chosen = _spread(len(recorded), ARCHIVES_LOOKED_INTO)
    for i, part in enumerate(recorded):
        if part["name"] not in files:
            found.missing.append(part["name"])
        elif _is_part(part, files[part["name"]], entry.get("blocks", 0), always=thorough or i in chosen):
            found.kept += 1
        else:
            found.changed.append(part["name"])
    return found


def _is_part(part: PartRecord, file: Path, blocks: int, *, always: bool) -> bool:
    if size_of(file) != part["bytes"]:
        return False
    if "sample" not in part or (not always and _modified(file) == part["modified"]):
        return True
    return read_content(file, blocks).sample.hex() == part["sample"]


def _compare_folder(
    source: FolderSource, entry: SourceRecord, shards: Sequence[ShardFiles], thorough: bool
) -> Comparison:
    """Compare by number where there are as many files as there were, else the images that are known by name."""
    total = entry["parts"][0]["bytes"]
    found = Comparison(total)
    if len(source.names) != total:
        _compare_names(source, shards, found)
        found.other = f"it holds {len(source.names)} images where {total} were indexed"
        return found
    chosen = _spread(total, LOOKED_INTO)
    for shard in shards:
        files = _contents(shard)
        names = source.names[shard.first : shard.first + len(files)]
        for i, (name, file) in enumerate(zip(names, files, strict=False), shard.first):
            _count(found, file, source.path, name, thorough or i in chosen)
    if found.same:
        if source.identity() != entry["identity"]:
            found.other = "the names or sizes of its images are others"
        elif not found.kept:  # format 1 records no more than names and sizes
            found.kept = total
    return found


def _compare_names(source: FolderSource, shards: Sequence[ShardFiles], found: Comparison) -> None:
    there = {shown(name): name for name in source.names}
    for shard in shards:
        files = _contents(shard)
        if not files:
            continue
        numbers = shard.places.load()["offset"] - shard.first
        for number, name in zip(numbers.tolist(), shard.names(), strict=False):
            if name is None:
                continue
            if not 0 <= number < len(files):
                raise damaged(shard.places.file.path, "it names places that no source has")
            if name in there:
                _count(found, files[number], source.path, there[name], True)
            else:
                found.missing.append(name)


def _contents(shard: ShardFiles) -> list[FileContent]:
    files = shard.of_folder()
    samples = [sample.tobytes() for sample in files["sample"]]
    columns = files["bytes"].tolist(), files["modified"].tolist(), samples
    return [FileContent(*values) for values in zip(*columns, strict=True)]


def _count(found: Comparison, file: FileContent, folder: str, name: str, always: bool) -> None:
    if _is_file(file, os.path.join(folder, name), always=always):
        found.kept += 1
    else:
        found.changed.append(shown(name))


def _is_file(was: FileContent, path: str, *, always: bool) -> bool:
    try:
        about = os.stat(path)
    except OSError:
        return not was.size and not was.sample.strip(b"\0")  # a link that led nowhere before
    if about.st_size != was.size:
        return False
    if not always and about.st_mtime_ns == was.modified:
        return True
    return read_content(path, LEAST_BLOCKS).sample.ljust(SAMPLE_BYTES, b"\0") == was.sample


def _modified(file: Path) -> int:
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return 0


def _spread(count: int, most: int) -> set[int]:
    """Return at most ``most`` numbers below ``count``, at equal distances."""
    return {count * i // most for i in range(most)} if count > most else set(range(count))


def _some(names: Sequence[str], total: int, one: str, many: str) -> str:
    if not names:
        return ""
    listed = names[0] if len(names) == 1 else f"{names[0]}, {names[1]}{', ...' if len(names) > 2 else ''}"
    return f"{len(names)} of {total} files {one if len(names) == 1 else many} ({listed})"
