"""Rows as a table that fits a terminal, or as CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from memcore.report.wording import tidy

WIDTH = 80
#: The least that a column of texts is cut to.
_LEAST = 8


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of the table: its title, how a row's cell is written, and what gives way where the row is too long.

    ``shorten`` "end" cuts the end off a text, "start" the start of a path, whose end tells more; without it the
    column has the width of its longest cell, and its cells are on the right.
    """

    title: str
    write: Callable[[Mapping[str, Any]], str]
    shorten: str = ""


def table_lines(
    columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], width: int = WIDTH
) -> list[str]:
    """Return the titles and a line for each row, none wider than ``width`` columns of a terminal.

    >>> columns = [Column("n", lambda row: str(row["n"])), Column("text", lambda row: row["text"], "end")]
    >>> table_lines(columns, [{"n": 7, "text": "a red fox in the snow"}], 16)
    [' n  text', ' 7  a red fox i…']
    """
    cells = [[column.title for column in columns]]
    cells += [[tidy(column.write(row), 4 * width) for column in columns] for row in rows]
    wanted = [max(_width(line[i]) for line in cells) for i in range(len(columns))]
    widths = _fit(columns, wanted, width - 2 * len(columns) + 1)
    lines = []
    for line in cells:
        shown = (_place(text, column, w) for text, column, w in zip(line, columns, widths, strict=True))
        lines.append(f" {'  '.join(shown)}".rstrip())
    return lines


def csv_text(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Return rows as CSV with a header; lists as JSON, and nothing where there is no value.

    >>> csv_text([{"a": 1.5, "b": None}, {"a": True, "b": "x, y"}], ["a", "b"]).splitlines()
    ['a,b', '1.5,', 'true,"x, y"']
    """
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
    return sink.getvalue().removesuffix("\n")


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, bool | list | dict) else value


def _fit(columns: Sequence[Column], wanted: Sequence[int], room: int) -> list[int]:
    """Take from the widest of the columns that may be cut, until all fit."""
    widths = list(wanted)
    while sum(widths) > room:
        able = [i for i, column in enumerate(columns) if column.shorten and widths[i] > _LEAST]
        if not able:
            break
        widest = max(able, key=lambda i: widths[i])
        widths[widest] -= 1
    return widths


def _place(text: str, column: Column, width: int) -> str:
    if column.shorten:
        text = _cut(text, width, column.shorten)
        return text + " " * (width - _width(text))
    return " " * (width - _width(text)) + text


def _cut(text: str, width: int, shorten: str) -> str:
    if _width(text) <= width:
        return text
    while _width(text) > width - 1:
        text = text[:-1] if shorten == "end" else text[1:]
    return f"{text}…" if shorten == "end" else f"…{text}"


def _width(text: str) -> int:
    """Return the columns that a terminal gives a text: two for wide letters, none for marks on another letter."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )
