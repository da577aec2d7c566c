"""Check the records of an index: damaged ones may still be JSON, and would end a command in the middle of its work.

A stranger's may also contradict themselves, and say that more was compared than was.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from memcore.sources.coverage import Coverage
from memcore.system.parsing import check_shape

#: Blocks a side of a level, which is seldom more than eight.
_MOST_BLOCKS = 1 << 12
#: Bytes of the largest image, which are those of the largest picture that is read at all.
_IMAGE_BYTES, _MOST_CHANNELS = 1 << 28, 4
#: Bytes of the longest path that a system opens.
_PATH_BYTES = 4096
#: All files that a shard may have: another name may lead out of its folder.
SHARD_FILES = ("coarse.npy", "fine.npy", "places.npy", "files.npy", "text.parquet", "quarantine.parquet")
#: What counts something, of a source.
_COUNTS = ("skipped", "first_shard", "shards", "images", "quarantined", "blocks")


class _Resize(TypedDict):
    height: int
    width: int
    method: str
    fit: str


class _Part(TypedDict):
    name: str
    bytes: int
    modified: NotRequired[int]
    sample: NotRequired[str]


class _Source(TypedDict):
    kind: str
    path: str
    identity: str
    options: dict[str, str]
    skipped: int
    parts: list[_Part]
    first_shard: int
    counted: NotRequired[bool]
    coverage: NotRequired[Coverage]
    shards: NotRequired[int]
    images: NotRequired[int]
    quarantined: NotRequired[int]
    blocks: NotRequired[int]
    made: NotRequired[list[str]]


class _Meta(TypedDict):
    image_shape: tuple[int, int, int]
    coarse: int
    fine: int
    shard_images: int
    resize: _Resize | None
    background: tuple[int, int, int] | None
    decoders: dict[str, str]
    sources: list[_Source]


class _Shard(TypedDict):
    shard: int
    images: int
    quarantined: int
    start: tuple[int, int]
    end: tuple[int, int]
    bytes: NotRequired[dict[str, int]]
    sha256: NotRequired[dict[str, str]]
    pointed_at: NotRequired[int]
    texts: NotRequired[int]
    ended: NotRequired[int]


def check_meta(data: Mapping[str, Any]) -> None:
    """Raise ValueError unless this is the content of an index.json; keys of later versions are not looked at."""
    check_shape(data, _Meta)
    for name in ("coarse", "fine"):
        if not 1 <= data[name] <= _MOST_BLOCKS:
            raise ValueError(f"it.{name} is {data[name]}, not 1 to {_MOST_BLOCKS}")
    shape = data["image_shape"]
    if min(shape) < 1 or data["shard_images"] < 1:
        raise ValueError("it.image_shape and it.shard_images must be at least 1")
    if shape[2] > _MOST_CHANNELS or shape[0] * shape[1] * shape[2] > _IMAGE_BYTES:
        raise ValueError(
            f"it.image_shape is {list(shape)}, of more than {_MOST_CHANNELS} channels or {_IMAGE_BYTES} bytes"
        )
    resize = data["resize"]
    if resize is not None:
        if extra := resize.keys() - _Resize.__annotations__:
            raise ValueError(f"it.resize has {', '.join(sorted(map(repr, extra)))}, which no resize has")
        if [resize["height"], resize["width"]] != list(shape[:2]):
            raise ValueError("it.resize makes images of another size than it.image_shape")
    if any(not 0 <= value <= 255 for value in data["background"] or ()):
        raise ValueError("it.background must be three numbers from 0 to 255")
    next_shard = 0
    for number, source in enumerate(data["sources"]):
        _check_source(source, f"it.sources[{number}]")
        if source["first_shard"] != next_shard:
            raise ValueError(f"it.sources[{number}].first_shard is {source['first_shard']}, not {next_shard}")
        if "shards" not in source and number + 1 < len(data["sources"]):
            raise ValueError(f"it.sources[{number}] was not read to its end, and another follows it")
        next_shard += source.get("shards", 0)


def _check_source(source: Mapping[str, Any], name: str) -> None:
    """Raise ValueError unless what is said of a source can be, and does not contradict itself."""
    ended = [key for key in ("shards", "images", "quarantined") if key in source]
    if len(ended) not in (0, 3):
        raise ValueError(f"{name} has {' and '.join(ended)} alone")
    for key in _COUNTS:
        if source.get(key, 0) < 0:
            raise ValueError(f"{name}.{key} is negative")
    for path in (source["path"], *source["options"].values()):
        try:
            right = len(os.fsencode(path)) < _PATH_BYTES and "\0" not in path
        except UnicodeEncodeError:
            right = False
        if not right:
            raise ValueError(f"{name} has a path that no file can have")
    if not source["parts"]:
        raise ValueError(f"{name}.parts names no file")
    if any(part["bytes"] < 0 for part in source["parts"]):
        raise ValueError(f"{name}.parts has a file of a negative size")
    if (account := source.get("coverage")) is None:
        return
    counts = (account["pointed_at"], account["images"], account["texts"], *account["left_out"].values())
    if min(counts) < 0 or counts[0] != sum(counts[1:]):
        raise ValueError(f"{name}.coverage does not add up")
    # one that is read further is counted at its end
    if "images" in source and account["images"] != source["images"]:
        raise ValueError(f"{name}.coverage counts {account['images']} images, not {source['images']}")


def check_shard(data: Mapping[str, Any]) -> None:
    """Raise ValueError unless this is the content of a shard.json."""
    check_shape(data, _Shard)
    if min(data["images"], data["quarantined"]) < 0:
        raise ValueError("it.images and it.quarantined must not be negative")
    for name in (*data.get("bytes", ()), *data.get("files", ())):
        if name not in SHARD_FILES:
            raise ValueError(f"it names {name!r}, which no shard has")
    for name in ("pointed_at", "texts", "ended"):
        if data.get(name, 0) < 0:
            raise ValueError(f"it.{name} is negative")
    if min(*data["start"], *data["end"]) < 0:
        raise ValueError("it.start and it.end must be places of a source")
    if data.get("bytes", {}).keys() != data.get("sha256", {}).keys() or not (
        "bytes" in data or "files" in data
    ):
        raise ValueError("it.bytes and it.sha256 must have the same files")
