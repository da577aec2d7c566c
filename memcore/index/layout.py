"""The files of an index, each written whole or not at all. docs/formats.md describes them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

from memcore.errors import DamagedFileError, RunError
from memcore.index.records import SHARD_FILES, check_meta, check_shard
from memcore.sources.coverage import Coverage
from memcore.storage.digests import SEAL, FileDigest, check_seal, digest_bytes, read_digest, seal
from memcore.system.atomic_files import TEMPORARY, sync_folder, write_atomic
from memcore.system.parsing import parse_json
from memcore.system.plain_files import read_plain

#: Format 3: every file has its digest, and what the source's files held is recorded. There is no format 2 of an index:
#: from 3 on a run and an index have one number.
FORMAT = 3
READABLE = (1, 3)
#: From this one on JSON files hold the digest of their content.
_SEALED = 3
META = "index.json"
SHARD_META = "shard.json"
COARSE, FINE, PLACES, FILES, TEXT, QUARANTINE = SHARD_FILES
_AGAIN = "restore it from a copy, or index again in another folder"


class PartRecord(TypedDict):
    """One file of a source, as ``index.json`` has it; the last two are missing in sources of format 1.

    ``modified`` is in nanoseconds since 1970, and ``sample`` the digest of the file's blocks in hexadecimal.
    """

    name: str
    bytes: int
    modified: NotRequired[int]
    sample: NotRequired[str]


class SourceRecord(TypedDict):
    """One source, as ``index.json`` has it; the last three once it has been read to its end."""

    kind: str
    path: str
    identity: str
    options: dict[str, str]
    skipped: int
    parts: list[PartRecord]
    first_shard: int
    #: The blocks of each part that ``sample`` covers.
    blocks: NotRequired[int]
    #: The sha256 of each of its shards' shard.json, once it has been read to its end.
    made: NotRequired[list[str]]
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
        data = seal({"format": FORMAT, **dataclasses.asdict(self)})
        write_atomic(folder / META, json.dumps(data, indent=1).encode())

    @classmethod
    def read(cls, folder: Path) -> IndexMeta:
        """Read ``index.json``. Raises RunError if it is missing, damaged or of another format."""
        try:
            data = parse_json(read_plain(folder / META))
            found = data["format"]
            if found in READABLE:
                check_seal(data, str(folder / META), _AGAIN, required=found >= _SEALED)
                check_meta(data)
                meta = cls(**{name: value for name, value in data.items() if name not in ("format", SEAL)})
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
        reads = " and ".join(map(str, READABLE))
        raise RunError(f"{folder} has the index format {found!r}, this memcore reads the formats {reads}")


def shard_name(number: int) -> str:
    """Return the name of a shard's folder."""
    return f"shard-{number:06d}"


def write_shard(folder: Path, number: int, files: Mapping[str, bytes], meta: Mapping[str, Any]) -> None:
    """Write a shard's folder under a temporary name, sync it, and move it into place."""
    temporary = folder / f"{TEMPORARY}{shard_name(number)}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        digests = {name: digest_bytes(data) for name, data in files.items()}
        text = json.dumps(seal({"format": FORMAT, **meta, "files": digests}), indent=1)
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


class ShardMeta(NamedTuple):
    """The content of a ``shard.json``, the digest of each of the shard's files, and the sha256 of ``shard.json`` itself."""

    about: dict[str, Any]
    files: dict[str, FileDigest]
    sha256: str


def read_shard_meta(folder: Path, number: int) -> ShardMeta:
    """Read ``shard.json``. Raises RunError if it is damaged or of another format."""
    path = folder / shard_name(number) / SHARD_META
    try:
        raw = read_plain(path)
        data: dict[str, Any] = parse_json(raw)
        if data["format"] in READABLE and data["shard"] == number:
            check_seal(data, str(path), _AGAIN, required=data["format"] >= _SEALED)
            check_shard(data)
            if data["format"] < _SEALED:
                files = {
                    n: FileDigest(bytes=size, sha256=data["sha256"][n]) for n, size in data["bytes"].items()
                }
            else:
                files = {str(n): read_digest(value, str(path)) for n, value in data["files"].items()}
            for name in (COARSE, FINE, PLACES, *([QUARANTINE] if data["quarantined"] else [])):
                if name not in files:
                    raise ValueError(f"it does not name {name}")
            return ShardMeta(data, files, hashlib.sha256(raw).hexdigest())
    except (OSError, ValueError, TypeError, KeyError, AttributeError, DamagedFileError) as error:
        what = (
            "its digest differs"
            if isinstance(error, DamagedFileError)
            else f"{type(error).__name__}: {error}"
        )
        raise DamagedFileError(
            f"{path} is damaged ({what}): remove {path.parent}, and every later shard, and give the "
            "memcore index command again"
        ) from None
    raise RunError(
        f"{path} is not shard {number} of an index of the formats {' and '.join(map(str, READABLE))}"
    )


def shard_count(folder: Path) -> int:
    """Count the shards, numbered from 0. Raises RunError where one is missing."""
    numbers = sorted(int(p.name[6:]) for p in folder.glob("shard-*") if p.name[6:].isdecimal())
    if numbers != list(range(len(numbers))):
        missing = next(n for n in range(len(numbers) + 1) if n not in numbers)
        raise RunError(
            f"{folder} lacks {shard_name(missing)}: remove the later shards, and give memcore index again"
        )
    return len(numbers)
