"""The files of an index, each written whole or not at all. docs/formats.md describes them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from memcore.errors import RunError
from memcore.index.records import check_meta, check_shard
from memcore.sources.coverage import Coverage
from memcore.system.atomic_files import TEMPORARY, sync_folder, write_atomic
from memcore.system.parsing import parse_json
from memcore.system.plain_files import read_plain

FORMAT = 1
META = "index.json"
SHARD_META = "shard.json"
COARSE, FINE, PLACES, TEXT, QUARANTINE = (
    "coarse.npy",
    "fine.npy",
    "places.npy",
    "text.parquet",
    "quarantine.parquet",
)


class PartRecord(TypedDict):
    """One file of a source, as ``index.json`` has it."""

    name: str
    bytes: int


class SourceRecord(TypedDict):
    """One source, as ``index.json`` has it; the last three once it has been read to its end."""

    kind: str
    path: str
    identity: str
    options: dict[str, str]
    skipped: int
    parts: list[PartRecord]
    first_shard: int
    #: Whether its shards count what they were pointed at; sources of earlier versions do not.
    counted: NotRequired[bool]
    coverage: NotRequired[Coverage]
    shards: NotRequired[int]
    images: NotRequired[int]
    quarantined: NotRequired[int]


@dataclasses.dataclass
class IndexMeta:
    """``index.json``: what the whole index has in common, and its sources in the order in which they were added."""

    image_shape: tuple[int, int, int]
    coarse: int
    fine: int
    shard_images: int
    resize: dict[str, Any] | None
    background: list[int] | None
    decoders: dict[str, str]
    sources: list[SourceRecord]

    def write(self, folder: Path) -> None:
        """Write ``index.json``."""
        data = {"format": FORMAT, **dataclasses.asdict(self)}
        write_atomic(folder / META, json.dumps(data, indent=1).encode())

    @classmethod
    def read(cls, folder: Path) -> IndexMeta:
        """Read ``index.json``. Raises RunError if it is missing, damaged or of another format."""
        try:
            data = parse_json(read_plain(folder / META))
            found = data.pop("format")
            if found == FORMAT:
                check_meta(data)
                meta = cls(**data)
                meta.image_shape = (
                    int(meta.image_shape[0]),
                    int(meta.image_shape[1]),
                    int(meta.image_shape[2]),
                )
                return meta
        except (FileNotFoundError, NotADirectoryError):
            raise RunError(
                f"{folder} is not an index: it holds no {META} (memcore index makes one)"
            ) from None
        except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise RunError(f"{folder / META} is damaged: {type(error).__name__}: {error}") from None
        raise RunError(f"{folder} has the index format {found!r}, this memcore reads format {FORMAT}")


def shard_name(number: int) -> str:
    """Return the name of a shard's folder."""
    return f"shard-{number:06d}"


def write_shard(folder: Path, number: int, files: Mapping[str, bytes], meta: Mapping[str, Any]) -> None:
    """Write a shard's folder under a temporary name, sync it, and move it into place."""
    temporary = folder / f"{TEMPORARY}{shard_name(number)}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        sizes = {name: len(data) for name, data in files.items()}
        text = json.dumps({"format": FORMAT, **meta, "bytes": sizes, "sha256": sums}, indent=1)
        for name, data in {**files, SHARD_META: text.encode()}.items():
            with (temporary / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        sync_folder(temporary)
        os.rename(temporary, folder / shard_name(number))
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(folder)


def read_shard_meta(folder: Path, number: int) -> dict[str, Any]:
    """Read ``shard.json``. Raises RunError if it is damaged or of another format."""
    path = folder / shard_name(number) / SHARD_META
    try:
        data: dict[str, Any] = parse_json(read_plain(path))
        if data["format"] == FORMAT and data["shard"] == number:
            check_shard(data)
            return data
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(
            f"{path} is damaged ({type(error).__name__}): remove {path.parent}, and every later shard, and give the "
            "memcore index command again"
        ) from None
    raise RunError(f"{path} is not shard {number} of index format {FORMAT}")


def shard_count(folder: Path) -> int:
    """Count the shards, numbered from 0. Raises RunError where one is missing."""
    numbers = sorted(int(p.name[6:]) for p in folder.glob("shard-*") if p.name[6:].isdecimal())
    if numbers != list(range(len(numbers))):
        missing = next(n for n in range(len(numbers) + 1) if n not in numbers)
        raise RunError(
            f"{folder} lacks {shard_name(missing)}: remove the later shards, and give memcore index again"
        )
    return len(numbers)
