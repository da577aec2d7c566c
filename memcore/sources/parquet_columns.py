"""Which columns of a Parquet file hold images and captions, and the images in a column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from memcore.errors import ConfigError
from memcore.images import UnreadableImage
from memcore.images.payload import Payload
from memcore.sources import arrow
from memcore.sources.base import MAX_SEED, shown
from memcore.sources.names import NAMES

#: Columns of images: the first that exists counts, otherwise the only column of bytes.
IMAGE_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp", "bytes")


#: From here on a float of 64 bits does not tell neighbouring integers apart.
_EXACT = 2**53


def whole_seed(value: int | float | None) -> int | None:
    """Return a seed; libraries that have no null among integers write them as floats, which are whole then."""
    if value is None or not 0 <= value <= MAX_SEED or value != int(value):
        return None
    return int(value) if isinstance(value, int) or value < _EXACT else None


def payload_at(column: Any, row: int) -> Payload:
    """Return the bytes of one row, or why it has none."""
    try:
        return bytes_at(column, row)
    except UnreadableImage as error:
        return error


def bytes_at(column: Any, row: int) -> memoryview:
    """Return the bytes of one row in a column of images, binaries or structs."""
    if row >= len(column):
        raise UnreadableImage("archive", "the group of rows ends before its header says so")
    value = _looked_up(column[row])
    why = "the row holds no image"
    if value.is_valid and hasattr(value, "keys"):
        if "path" in value.keys() and value["path"].is_valid:  # noqa: SIM118  # a scalar of Arrow is no dict
            why = "the row holds the path of an image, and not its bytes: embed them"
        value = _looked_up(value["bytes"])
    if not value.is_valid:
        raise UnreadableImage("no-image", why)
    return memoryview(value.as_buffer())


def _looked_up(value: Any) -> Any:
    """Return a value itself, and of a category what it stands for."""
    return value.value if hasattr(value, "dictionary") and value.is_valid else value


def find_image_column(schema: Any, path: Path) -> str:
    """Return the column that holds the images. Raises ConfigError, with the columns that there are."""
    found = byte_columns(schema)
    named = next((n for n in IMAGE_COLUMNS if n in found), None)
    if named is not None:
        return named
    if len(found) == 1 and not any(name in schema.names for name in IMAGE_COLUMNS):
        return found[0]
    what = f"several columns of bytes ({', '.join(found)})" if found else "no column of image bytes"
    raise ConfigError(f"{shown(path)} has {what} among {list_columns(schema)}: give image-column")


def byte_columns(schema: Any) -> list[str]:
    """Return the columns that may be images; those of a fixed length are digests more often, unless they are called so."""
    return [
        str(field.name)
        for field in schema
        if arrow.holds_bytes(field.type)
        and (field.name in IMAGE_COLUMNS or not arrow.is_fixed_size(field.type))
    ]


def find_caption_column(schema: Any) -> str | None:
    """Return the column of captions, whatever its type: one that is not text is refused, not skipped."""
    exact = next((name for name in NAMES if name in schema.names), None)
    lower = {name.lower(): name for name in reversed(schema.names)}
    return exact or next((lower[name] for name in NAMES if name in lower), None)


def list_columns(schema: Any) -> str:
    """Return all columns with their types, for a message."""
    return ", ".join(f"{field.name} ({field.type})" for field in schema)
