"""The one table of where captions stand: columns, names in JSON, and files beside an image."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from memcore.images import UnreadableImage
from memcore.sources.base import MAX_SEED, read_bytes

#: Columns of tables and names in JSON; the first that is there counts.
NAMES = ("prompt", "caption", "text")
#: Suffixes of texts beside an image, in a folder or an archive; the first that says something counts.
SUFFIXES = (".txt", ".json", ".caption")
#: Bytes of the longest text that is read.
MAX_TEXT = 1 << 20


class Text(NamedTuple):
    """What a text says of its image."""

    caption: str | None = None
    seed: int | None = None


def parse_text(data: bytes, suffix: str) -> Text:
    """Return what a text says; one that cannot be used says nothing.

    >>> parse_text(b'{"caption": "a fox", "seed": 7}', ".json"), parse_text(b"a fox\\n", ".txt")
    (Text(caption='a fox', seed=7), Text(caption='a fox', seed=None))
    """
    try:
        text = data.decode("utf-8")
        values: Any = json.loads(text) if suffix == ".json" else {NAMES[0]: text.strip()}
    except (ValueError, RecursionError):
        return Text()
    if not isinstance(values, dict):
        return Text()
    caption = next((values[n] for n in NAMES if isinstance(values.get(n), str) and values[n].strip()), None)
    seed = values.get("seed")
    whole = isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed <= MAX_SEED
    return Text(caption, seed if whole else None)


def merge(texts: Mapping[str, Text]) -> Text:
    """Return what an image's texts say together; ``texts`` has them by their suffixes."""
    ordered = [texts[suffix] for suffix in SUFFIXES if suffix in texts]
    caption = next((text.caption for text in ordered if text.caption is not None), None)
    return Text(caption, next((text.seed for text in ordered if text.seed is not None), None))


def beside(stem: str, suffixes: Iterable[str]) -> str | None:
    """Return the caption of an image in a folder: that of its texts, ``stem`` and each of ``suffixes``."""
    texts = {}
    for suffix in suffixes:
        try:
            data = read_bytes(stem + suffix)
        except UnreadableImage:
            continue
        if len(data) <= MAX_TEXT:
            texts[suffix] = parse_text(data, suffix)
    return merge(texts).caption


def text_column(schema: Any) -> str | None:
    """Return the column of captions of an Arrow schema: the first of ``NAMES`` that holds text."""
    return next((n for n in NAMES if n in schema.names and _is_text(schema.field(n).type)), None)


def _is_text(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))
