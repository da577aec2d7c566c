"""Check the records of an index: damaged ones may still be JSON, and would end a command in the middle of its work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from memcore.sources.coverage import Coverage
from memcore.system.parsing import check_shape

#: Blocks a side of a level, which is seldom more than eight.
_MOST_BLOCKS = 1 << 12


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
    if min(data["image_shape"]) < 1 or data["shard_images"] < 1:
        raise ValueError("it.image_shape and it.shard_images must be at least 1")
    for number, source in enumerate(data["sources"]):
        ended = [name for name in ("shards", "images", "quarantined") if name in source]
        if len(ended) not in (0, 3):
            raise ValueError(f"it.sources[{number}] has {' and '.join(ended)} alone")


def check_shard(data: Mapping[str, Any]) -> None:
    """Raise ValueError unless this is the content of a shard.json."""
    check_shape(data, _Shard)
    if min(data["images"], data["quarantined"]) < 0:
        raise ValueError("it.images and it.quarantined must not be negative")
    if data.get("bytes", {}).keys() != data.get("sha256", {}).keys() or not (
        "bytes" in data or "files" in data
    ):
        raise ValueError("it.bytes and it.sha256 must have the same files")
