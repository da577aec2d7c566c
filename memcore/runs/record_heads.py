"""Check the heads of records in a run's journals: in a stranger's run they may be anything, although the digests fit."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypedDict

from memcore.errors import DamagedFileError
from memcore.runs.rows import ImagesNotKept, KeptImages
from memcore.sampling.received import ReceivedImage
from memcore.storage.digests import read_digest
from memcore.system.parsing import check_shape

#: Devices that hold pixels: one of the kind "meta" holds none.
_DEVICE = re.compile(r"(?!meta)[a-z]{0,20}(:[0-9]{1,3})?", re.ASCII)


class _Asked(TypedDict):
    asked: str
    images: list[list[int]]
    price: str


class _Answered(TypedDict):
    answered: str
    images: list[ReceivedImage]


class _Failed(TypedDict):
    failed: str
    prompts: list[int]
    code: str
    detail: str
    billed: bool


class _Forgotten(TypedDict):
    forgotten: list[int]


def check_images_head(head: Mapping[str, Any], prompt_ids: Collection[int]) -> None:
    """Check the head of a record of partial/*.journal, of a shard with these prompts. Raises ValueError."""
    if "not_kept" in head:
        check_shape(head, ImagesNotKept)
        _require(head["not_kept"] >= 0 and head["budget"] >= 0, "a count is negative")
        return
    check_shape(head, KeptImages)
    seeds, flags, shape = head["seeds"], head["flags"], head["shape"]
    _require(head["prompt_id"] in prompt_ids, "its prompt is of another shard")
    _require(
        len(seeds) == len(flags) and min(seeds, default=0) >= 0,
        "its seeds are negative, or not one for each flag",
    )
    _require(set(flags) <= set("0123"), "it has a flag other than 0 to 3")
    _require(len(shape) == 3 and min(shape) > 0, "its shape is not that of images")
    _require(_DEVICE.fullmatch(head["device"]) is not None, "its device holds no pixels")
    if "files" in head:
        _require(len(head["files"]) == len(seeds), "its digests are not one for each image")
        for digest in head["files"]:
            try:
                read_digest(digest, "it")
            except DamagedFileError as error:
                raise ValueError(str(error)) from None


def check_answer_head(head: Mapping[str, Any], prompt_ids: Collection[int]) -> None:
    """Check the head of a record of received/*.journal, of a shard with these prompts. Raises ValueError."""
    if "asked" in head:
        check_shape(head, _Asked)
        _require(
            all(len(key) == 2 and key[0] in prompt_ids for key in head["images"]),
            "an image is of another shard, or is no prompt and number",
        )
        try:
            price = Decimal(head["price"])
        except InvalidOperation:
            raise ValueError("its price is no number") from None
        _require(price.is_finite() and 0 < price < Decimal("1e12"), "its price is not above 0")
    elif "answered" in head:
        check_shape(head, _Answered)
        for image in head["images"]:
            _require(image["prompt_id"] in prompt_ids, "its prompt is of another shard")
            _require(image["kind"] in ("file", "raw", ""), "an image is of an unknown kind")
            _require(image["length"] >= 0, "an image has a negative length")
    elif "failed" in head:
        check_shape(head, _Failed)
        _require(all(i in prompt_ids for i in head["prompts"]), "its prompts are of another shard")
    else:
        check_shape(head, _Forgotten)


def _require(right: bool, what: str) -> None:
    if not right:
        raise ValueError(what)
