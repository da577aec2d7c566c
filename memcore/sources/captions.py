"""Where the captions of images come from: names in JSON, files beside an image, and a folder's metadata.jsonl."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from memcore.images import UnreadableImage
from memcore.sources.base import MAX_SEED, read_bytes
from memcore.sources.names import NAMES
from memcore.sources.text import read_lines, read_table
from memcore.system.parsing import parse_json

#: Suffixes of texts beside an image, in a folder or an archive; the first with a caption counts.
SUFFIXES = (".txt", ".json", ".caption")
#: Files that name and describe the images of a folder and its subfolders.
METADATA = ("metadata.jsonl", "metadata.csv")
#: What is wrong with a metadata file that describes something else than images.
NO_FILE_NAME = "no row has a file_name"
#: What a value of JSON is called.
_CALLED = {dict: "an object", list: "a list", int: "a number", float: "a number", bool: "true or false"}
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
        values: Any = parse_json(text)
    except ValueError as error:
        return _wrong(f"it is not JSON: {error}")
    return _of_values(values if isinstance(values, dict) else {NAMES[0]: values})


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
        found = _captions(_rows(read_bytes(path, most=_MAX_METADATA), Path(path).suffix.lower()))
    except ValueError as error:
        raise UnreadableImage("caption", f"{type(error).__name__}: {error}") from None
    except UnreadableImage as error:
        raise UnreadableImage("caption", str(error)) from None
    return found


def _captions(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    found: dict[str, str] = {}
    named = row = 0
    for row, values in enumerate(rows, 1):
        name, said = values.get("file_name"), _of_values(values)
        if not isinstance(name, str):
            continue
        named += 1
        if said.wrong is not None:
            raise ValueError(f"row {row}: {said.wrong}")
        if said.caption is not None:
            found[os.path.normpath(name)] = said.caption
    if row and not named:
        raise ValueError(NO_FILE_NAME)
    return found


def _rows(data: bytes, suffix: str) -> Iterator[dict[str, Any]]:
    lines = read_lines(io.BytesIO(data))
    if suffix == ".csv":
        rows = read_table(lines, ",")
        header = next(rows, [])
        yield from (dict(zip(header, row, strict=False)) for row in rows)
        return
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        row = parse_json(line)
        if not isinstance(row, dict):
            raise ValueError(f"entry {number} is no object")
        yield row


def _of_values(values: Mapping[str, Any]) -> Text:
    """Return what named values say: the first of NAMES that is a text counts, and a list's first text.

    A value of another type is wrong, unless a later name has a text: some programs keep other things under these names.
    """
    wrong: UnreadableImage | None = None
    caption: str | None = None
    for name in NAMES:
        value = values.get(name)
        if isinstance(value, list):
            value = next((item for item in value if not _is_blank(item)), None)
        if _is_blank(value):
            continue
        if isinstance(value, str):
            caption = value
            break
        what = _CALLED.get(type(value), type(value).__name__)
        wrong = wrong or UnreadableImage("caption", f"its {name!r} is {what}, not a text")
    if caption is None and wrong is not None:
        return Text(wrong=wrong)
    if caption is not None and not _is_utf8(caption):
        return _wrong("its caption has half a character (a lone surrogate)")
    seed = values.get("seed")
    whole = isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed <= MAX_SEED
    return Text(caption, seed if whole else None)


def _is_blank(value: Any) -> bool:
    """Tell whether a value says nothing: null, a blank text, or NaN, which some libraries write for null."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _is_utf8(text: str) -> bool:
    """Tell whether UTF-8 can hold a text: JSON may write half a character of UTF-16."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
