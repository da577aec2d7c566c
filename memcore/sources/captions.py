"""Where the captions of images come from: names in JSON, files beside an image, and a folder's metadata.jsonl."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from memcore.images import UnreadableImage
from memcore.sources.base import MAX_SEED, read_bytes
from memcore.sources.names import NAMES

#: Suffixes of texts beside an image, in a folder or an archive; the first with a caption counts.
SUFFIXES = (".txt", ".json", ".caption")
#: Files that name and describe the images of a folder and its subfolders.
METADATA = ("metadata.jsonl", "metadata.csv")
#: Bytes of the longest text that is read: workflows stored as JSON are long.
MAX_TEXT = 1 << 24
#: Bytes of the longest metadata file that is read.
_MAX_METADATA = 1 << 28


class Text(NamedTuple):
    """What a text says about its image; ``wrong`` says why it cannot be read."""

    caption: str | None = None
    seed: int | None = None
    wrong: UnreadableImage | None = None


def parse_text(data: bytes, suffix: str) -> Text:
    """Return what a text says, or why it cannot be read.

    >>> parse_text(b'{"caption": "a fox", "seed": 7}', ".json"), parse_text(b"a fox\\n", ".txt").caption
    (Text(caption='a fox', seed=7, wrong=None), 'a fox')
    """
    try:
        text = data.decode().removeprefix("\ufeff")  # the codec utf-8-sig takes ten times as long
    except UnicodeDecodeError as error:
        return _wrong(f"it is not UTF-8 (byte {error.start})")
    if "\0" in text:
        return _wrong("it holds bytes of 0, as no text does")
    if suffix != ".json":
        return Text(text.strip() or None)
    try:
        values: Any = json.loads(text)
    except RecursionError:
        return _wrong("it is JSON that is nested too deep")
    except ValueError as error:
        return _wrong(f"it is not JSON: {error}")
    return _of_values(values) if isinstance(values, dict) else Text()


def merge(texts: Mapping[str, Text]) -> Text:
    """Return what an image's texts, given by their suffixes, say together."""
    if len(texts) == 1:
        return next(iter(texts.values()))
    ordered = [texts[suffix] for suffix in SUFFIXES if suffix in texts]
    caption = next((text.caption for text in ordered if text.caption is not None), None)
    return Text(caption, next((text.seed for text in ordered if text.seed is not None), None))


def read_text(path: str) -> Text:
    """Return what the text in a file says, or why it cannot be read."""
    try:
        data = read_bytes(path, most=MAX_TEXT)
    except UnreadableImage as error:
        return _wrong(str(error))
    return parse_text(data, os.path.splitext(path)[1].lower())


def read_metadata(path: str) -> dict[str, str]:
    """Return the captions of a metadata file by the names of their images, relative to its folder.

    Raises UnreadableImage if the file cannot be read.
    """
    try:
        rows = list(_rows(read_bytes(path, most=_MAX_METADATA), Path(path).suffix.lower()))
    except (ValueError, RecursionError) as error:
        raise UnreadableImage("caption", f"{type(error).__name__}: {error}") from None
    except UnreadableImage as error:
        raise UnreadableImage("caption", str(error)) from None
    found = {}
    for row in rows:
        name, caption = row.get("file_name"), _of_values(row).caption
        if isinstance(name, str) and caption is not None:
            found[os.path.normpath(name)] = caption
    return found


def _rows(data: bytes, suffix: str) -> Iterator[dict[str, Any]]:
    import csv

    lines = [line for line in data.decode("utf-8-sig").replace("\r\n", "\n").split("\n") if line.strip()]
    if suffix == ".csv":
        yield from csv.DictReader(line + "\n" for line in lines)
        return
    for number, line in enumerate(lines, 1):
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError(f"entry {number} is no object")
        yield row


def _of_values(values: Mapping[str, Any]) -> Text:
    caption = next((said for name in NAMES if (said := _first(values.get(name)))), None)
    seed = values.get("seed")
    whole = isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed <= MAX_SEED
    return Text(caption, seed if whole else None)


def _first(value: Any) -> str | None:
    """Return a text, or the first of a list of texts."""
    if isinstance(value, list):
        value = value[0] if value else None
    return value if isinstance(value, str) and value.strip() else None


def _wrong(what: str) -> Text:
    return Text(wrong=UnreadableImage("caption", what))


def beside(folder: str, names: Iterable[str]) -> tuple[Text, list[tuple[str, UnreadableImage]]]:
    """Return what the texts of an image in a folder say, and those that cannot be read."""
    texts: dict[str, Text] = {}
    wrong = []
    for name in names:
        text = read_text(os.path.join(folder, name))
        if text.wrong is not None:
            wrong.append((name, text.wrong))
        else:
            texts.setdefault(os.path.splitext(name)[1].lower(), text)
    return merge(texts), wrong
