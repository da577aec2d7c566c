"""Copy a run from an object store to a folder, which match, annotate, evaluate and report need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memcore.errors import ConfigError
from memcore.runs import layout
from memcore.runs.folder import RunFolder
from memcore.runs.start import check_startable
from memcore.storage.base import Storage
from memcore.storage.local import LocalStorage
from memcore.storage.open import is_url, open_storage


def fetch(url: str, folder: Path) -> dict[str, Any]:
    """Copy the files that ``folder`` lacks, and return counts. It may be called again while the run continues.

    Raises ConfigError unless ``url`` is a URL and ``folder`` is empty or holds the same run, and RunError.
    """
    if not is_url(url):
        raise ConfigError(f"run must be a URL such as s3://bucket/run, got {url!r}: a folder needs no copy")
    source = open_storage(url)
    digest = RunFolder.open_storage(source).digest
    target = LocalStorage(folder)
    if target.exists(layout.RUN) and RunFolder.open(folder).digest != digest:
        raise ConfigError(f"folder={folder} holds another run")
    copied = present = 0
    check_startable(target)
    with target.lock():
        # the manifests as they were before anything was copied: a shard that is finished meanwhile is left to the next call
        manifests = [*_names(source, layout.MANIFESTS)]
        others = [n for f in layout.FOLDERS if f != layout.MANIFESTS for n in _names(source, f)]
        kept = {*manifests, *layout.FILES, *_changed(source, target, manifests, others)}
        for name in [*others, *manifests, *layout.FILES]:
            if name not in kept and target.exists(name):
                present += 1
            elif name not in layout.FILES or source.exists(name):
                target.write(name, source.read(name))
                copied += 1
    return {"run": url, "folder": str(folder), "copied": copied, "present": present}


def _changed(source: Storage, target: Storage, manifests: list[str], names: list[str]) -> Iterator[str]:
    """Yield the names of files that may have changed since they were copied: an image never does.

    The findings of a shard change with its manifest, where failed prompts were sampled again, what was received grows until
    then, and the training images change with each match.
    """
    changed = {name for name in manifests if not _same(source, target, name)}
    matched_again = not _same(source, target, layout.MATCH)
    for name in names:
        folder, _, file = name.partition("/")
        if folder in (layout.FINDINGS, layout.QUARANTINE, layout.RECEIVED):
            if layout.manifest_name(file.partition(".")[0]) in changed:
                yield name
        elif folder == layout.TRAINING and matched_again:
            yield name


def _same(source: Storage, target: Storage, name: str) -> bool:
    if not source.exists(name) or not target.exists(name):
        return False
    return source.read(name) == target.read(name)


def _names(storage: Storage, folder: str) -> Iterator[str]:
    for name in storage.names(folder):
        if "." in name:
            yield f"{folder}/{name}"
        else:
            yield from _names(storage, f"{folder}/{name}")
