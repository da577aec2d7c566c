"""Which source of an index a given one is: complete, to be resumed, grown, moved to another place, or new."""

from __future__ import annotations

import os
from pathlib import Path

from memcore.errors import ConfigError
from memcore.index import layout
from memcore.index.layout import IndexMeta, SourceRecord
from memcore.index.provenance import compare, record_parts
from memcore.index.shard_files import ShardFiles
from memcore.sources.base import FileParts, Source, StoredSource, shown
from memcore.sources.entries import Part
from memcore.sources.folder import FolderSource


def find_entry(folder: Path, meta: IndexMeta, source: Source) -> tuple[SourceRecord | None, Source]:
    """Return the source's entry in ``meta`` (None if it is complete), and the source as the index reads it.

    The index reads it with the options and the order of files that it was begun with, which earlier versions chose
    differently.
    """
    _reopen(meta, layout.shard_count(folder))
    if isinstance(source, StoredSource):
        _follow(folder, meta, source)
    held = [entry for entry in meta.sources if entry["path"] == source.path]
    if held and isinstance(source, StoredSource):
        source = source.as_recorded(held[-1]["options"])
    earlier = source.in_earlier_order() if held and isinstance(source, StoredSource) else None
    try:
        return _find_or_add(folder, meta, source), source
    except ConfigError as error:
        if earlier is None:
            raise
        try:
            return _find_or_add(folder, meta, earlier), earlier
        except ConfigError:
            raise error from None


def _follow(folder: Path, meta: IndexMeta, source: StoredSource) -> None:
    """Write down where a source is now, if another place is given that holds all its files as they were.

    Raises ConfigError if the old place is gone and the new one holds some of them alone: to add it would count these twice.
    """
    old = list(dict.fromkeys(entry["path"] for entry in meta.sources))
    for path in old if source.path not in old else []:
        entries = [entry for entry in meta.sources if entry["path"] == path]
        gone = not os.path.exists(path)
        if entries[0]["kind"] != source.kind or not (gone or _may_be_all(source, entries[0])):
            continue
        found = [compare(source, entry, _shards(folder, meta, entry), thorough=True) for entry in entries]
        why = ", ".join(one.text for one in found if not one.same)
        if not any(one.kept for one in found) or (why and not gone):
            continue
        if why:
            raise ConfigError(
                f"{shown(source.path)} holds files of {shown(path)}, which was indexed and is gone, but not all of "
                f"them as they were: {why}; give a place with all of them, or index this one in another folder"
            )
        for entry in entries:
            _move(entry, source)
        meta.write(folder)
        return


def _may_be_all(source: StoredSource, entry: SourceRecord) -> bool:
    """Tell, without looking at files, whether a source may hold all files of a recorded one."""
    return not isinstance(source, FolderSource) or len(source.names) == entry["parts"][0]["bytes"]


def _move(entry: SourceRecord, source: StoredSource) -> None:
    """Change the place of a source in its entry."""
    entry["path"] = source.path
    if "captions" in source.options:
        entry["options"] = dict(source.options)
    if isinstance(source, FileParts):
        files = {part.name: file for part, file in zip(source.parts, source.files, strict=True)}
        for part in entry["parts"]:
            file = files.get(part["name"], source.files[0])  # a single file may have another name
            if "modified" in part:
                part["modified"] = file.stat().st_mtime_ns
            if part["name"] not in files:
                part["name"], entry["identity"] = source.parts[0].name, source.identity()


def _shards(folder: Path, meta: IndexMeta, entry: SourceRecord) -> list[ShardFiles]:
    """Return the shards that are there of a source."""
    first = entry["first_shard"]
    end = first + entry["shards"] if "shards" in entry else layout.shard_count(folder)
    return ShardFiles.read(folder, meta, range(first, end))


def _find_or_add(folder: Path, meta: IndexMeta, source: Source) -> SourceRecord | None:
    """Return the source's entry, found or added; None if it is complete. A grown source is cut to what is new."""
    if meta.sources and "images" not in meta.sources[-1]:
        return _resume(folder, meta, source)
    skipped = 0
    for held in meta.sources:
        if held["path"] != source.path:
            continue
        grown = isinstance(source, FileParts) and held["skipped"] == skipped
        if why := compare(source, held, _shards(folder, meta, held)).text:
            raise _changed(source, why)
        if not grown:
            if held["identity"] != source.identity():
                raise _changed(source, "its files have other names or sizes")
            return None
        assert isinstance(source, FileParts)
        parts = [Part(part["name"], part["bytes"]) for part in held["parts"]]
        if list(source.parts[skipped : skipped + len(parts)]) != parts:
            raise _changed(source, "its files come in another order")
        skipped += len(parts)
    if skipped and isinstance(source, FileParts):
        if skipped == len(source.parts):
            return None
        source.keep(range(skipped, len(source.parts)))
    entry = _new_entry(source, skipped, layout.shard_count(folder))
    meta.sources.append(entry)
    return entry


def _resume(folder: Path, meta: IndexMeta, source: Source) -> SourceRecord:
    """Return the entry of the source that has not been read to its end, which must be this one."""
    last = meta.sources[-1]
    if last["path"] == source.path and isinstance(source, FileParts) and last["skipped"]:
        source.keep(range(last["skipped"], len(source.parts)))
    why = "" if last["path"] == source.path else "it is another source"
    if not why:
        why = compare(source, last, _shards(folder, meta, last)).text
    if not why and last["identity"] != source.identity():
        why = "its files have other names or sizes"
    if why:
        raise ConfigError(
            f"{folder} was begun with {last['path']}, which has not been read to its end, and {source.path} is "
            f"another source or has changed since ({why}): give the old one to resume, or another folder to start again"
        )
    if last["options"] != source.options:
        raise ConfigError(f"{folder} reads {source.path} with {last['options']}, got {source.options}")
    return last


def _new_entry(source: Source, skipped: int, first_shard: int) -> SourceRecord:
    entry: SourceRecord = {
        "kind": source.kind,
        "path": source.path,
        "identity": source.identity(),
        "options": dict(source.options),
        "skipped": skipped,
        "parts": [{"name": part.name, "bytes": part.bytes} for part in source.parts],
        "first_shard": first_shard,
    }
    if isinstance(source, FileParts):
        entry["blocks"], entry["parts"] = record_parts(source)
    if isinstance(source, StoredSource):
        entry["counted"] = True
    return entry


def _changed(source: Source, why: str) -> ConfigError:
    return ConfigError(
        f"{source.path} has changed since it was indexed: {why}; only files that sort after the old ones may be added; "
        "index it again in another folder"
    )


def _reopen(meta: IndexMeta, shards: int) -> None:
    """Mark a source as unfinished if its last shards were removed as damaged, and drop the sources after it."""
    for i, held in enumerate(meta.sources):
        if "images" in held and held["first_shard"] + held["shards"] > shards:
            del held["images"], held["shards"], held["quarantined"]
            held.pop("coverage", None)
            held.pop("made", None)
            del meta.sources[i + 1 :]
            return
