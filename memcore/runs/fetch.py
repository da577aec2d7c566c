"""Copies a run out of an object store, for what needs a folder: match, annotate, evaluate, report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memcore.errors import ConfigError
from memcore.runs.folder import RunFolder
from memcore.storage.base import LocalStorage, Storage, is_url, open_storage

#: What a run consists of, run.toml and the manifests after what they vouch for. Checkpoints stay behind.
_FOLDERS = ("findings", "quarantine", "images", "training", "manifest")
_FILES = ("prompts.parquet", "matches.parquet", "match.json", "evaluation.json", "run.toml")


def fetch(url: str, folder: Path) -> dict[str, Any]:
    """Copies what is not there yet; can be given again while the run goes on. Returns counts.

    Raises ConfigError unless ``url`` is a URL and ``folder`` is empty or holds the same run, and RunError.
    """
    if not is_url(url):
        raise ConfigError(f"run must be a URL such as s3://bucket/run, got {url!r}: a folder needs no copy")
    source = open_storage(url)
    digest = RunFolder.open(url).digest
    target = LocalStorage(folder)
    if target.exists("run.toml") and RunFolder.open(folder).digest != digest:
        raise ConfigError(f"folder={folder} holds another run")
    copied = present = 0
    with target.lock():
        # the manifests as they were before anything was copied: a shard that is finished meanwhile waits for the next time
        names = [*_names(source, "manifest")]
        for name in [n for f in _FOLDERS[:-1] for n in _names(source, f)] + names + list(_FILES):
            if name not in _FILES and target.exists(name) and not name.startswith("manifest/"):
                present += 1
            elif name not in _FILES or source.exists(name):
                target.write(name, source.read(name))
                copied += 1
    return {"run": url, "folder": str(folder), "copied": copied, "present": present}


def _names(storage: Storage, folder: str) -> Iterator[str]:
    for name in storage.names(folder):
        if "." in name:
            yield f"{folder}/{name}"
        else:
            yield from _names(storage, f"{folder}/{name}")
