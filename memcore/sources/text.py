"""The reader of lists of texts: prompts, captions and names of prompts, one per line or row depending on the suffix.

UTF-8 with or without a byte order mark; lines end at \\n, with or without \\r before it, and nowhere else.
"""

from __future__ import annotations

import csv
import itertools
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from memcore.errors import ConfigError, MissingExtraError
from memcore.sources import arrow
from memcore.sources.names import NAMES
from memcore.system import places
from memcore.system.parsing import parse_json

#: What is read; anything else is refused.
SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl", ".parquet")
_ROWS = 4096
#: Characters of the longest field of a table.
_FIELD = 1 << 24
#: Bytes of the longest line.
_LINE = 1 << 24
_OPEN = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


@dataclass
class ListCounts:
    """What a list of texts holds, once it has been read to its end."""

    pointed_at: int = 0
    used: int = 0
    blank: int = 0
    repeated: int = 0


class TextList:
    """The texts of a file, read on each iteration; ``counts`` describes the last one that reached the end.

    ``column`` names the column of a table; by default the first of prompt, caption and text that exists. The first of a
    list of texts is used. ``what`` is the option that named the file, for messages. ``blank`` decides about lines without
    a text: "skip" them (and count them), or "keep" them as "" if the number of a line matters.

    Raises ConfigError for a file that cannot be read, with the line, and for a column of another type than text.
    """

    def __init__(self, path: Path, what: str = "prompts", *, column: str = "", blank: str = "skip") -> None:
        self.path, self.what, self.column, self._blank = path, what, column, blank
        self.counts = ListCounts()

    def __repr__(self) -> str:
        """Return one line."""
        return f"{type(self).__name__}({str(self.path)!r})"

    def __iter__(self) -> Iterator[str]:
        """Yield the texts; raise ConfigError if the file cannot be read."""
        counts = ListCounts()
        seen: set[int] = set()
        for text in self._texts():
            counts.pointed_at += 1
            if not (text or "").strip():
                counts.blank += 1
                if self._blank == "keep":
                    yield ""
                continue
            assert text is not None
            counts.used += 1
            seen.add(hash(text))
            yield text
        counts.repeated = counts.used - len(seen)
        self.counts = counts

    def _texts(self) -> Iterator[str | None]:
        suffix = self.path.suffix.lower()
        if suffix not in SUFFIXES:
            raise ConfigError(
                f"{self._named} is a {suffix or 'file without a suffix'}: give {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
            )
        try:
            if suffix == ".parquet":
                yield from self._of_parquet()
                return
            with open_plain(self.path) as file:
                if suffix == ".txt":
                    yield from _plain_lines(file)
                elif suffix == ".jsonl":
                    yield from self._of_jsonl(file)
                else:
                    yield from self._of_table(file, "," if suffix == ".csv" else "\t")
        except ConfigError:
            raise
        except UnicodeDecodeError as error:
            raise ConfigError(f"{self._named} is not UTF-8: {error}") from None
        except FileNotFoundError:
            raise ConfigError(f"{self._named} does not exist{places.where(self.path)}") from None
        except (OSError, ValueError, csv.Error) as error:
            raise ConfigError(f"{self._named} cannot be read: {error}") from None

    def _of_jsonl(self, file: IO[bytes]) -> Iterator[str | None]:
        for number, line in enumerate(read_lines(file), 1):
            if not line.strip():
                yield None
                continue
            try:
                row = parse_json(line)
            except ValueError as error:
                raise ConfigError(f"{self._named} line {number} is not JSON: {error}") from None
            if isinstance(row, str):
                yield row
                continue
            if not isinstance(row, dict):
                raise ConfigError(
                    f"{self._named} line {number} is a {type(row).__name__}, not an object or a text"
                )
            name = self._choose(list(row), f"line {number}")
            yield self._value(row[name], name, f"line {number}")

    def _of_table(self, file: IO[bytes], delimiter: str) -> Iterator[str | None]:
        rows = read_table(read_lines(file), delimiter)
        header = next(rows, None)
        if header is None:
            return
        at = header.index(self._choose(header, "the header"))
        for row in rows:
            yield row[at] if at < len(row) else None

    def _of_parquet(self) -> Iterator[str | None]:
        try:
            import pyarrow

            from memcore.system.claims import check_listed
            from memcore.system.parquet import ParquetTable
        except ImportError:
            raise MissingExtraError("pyarrow", "audit", "Reading Parquet") from None
        try:
            # opened here, since pyarrow takes no path that is not UTF-8
            with open_plain(self.path) as opened, ParquetTable(opened, pre_buffer=False) as file:
                name = self._choose(file.schema_arrow.names, "the file")
                kind = file.schema_arrow.field(name).type
                if not arrow.says_text(kind):
                    raise ConfigError(f"{self._named}: the column {name!r} holds {kind}, not text")
                try:
                    check_listed(file, opened, [name])
                except (OSError, ValueError) as error:
                    raise ConfigError(f"{self._named} cannot be read: {error}") from None
                try:
                    for batch in file.iter_batches(_ROWS, columns=[name], use_threads=False):
                        yield from arrow.texts(batch.column(0))
                except OSError as error:
                    raise ConfigError(f"{self._named} cannot be read: {error}") from None
        except pyarrow.ArrowException as error:
            raise ConfigError(f"{self._named} cannot be read: {error}") from None

    def _choose(self, names: list[str], where: str) -> str:
        if self.column:
            found = self.column if self.column in names else None
        else:
            lower = {name.strip().lower(): name for name in reversed(names)}
            found = next((lower[name] for name in NAMES if name in lower), None)
        if found is not None and names.count(found) > 1:
            raise ConfigError(f"{self._named}: {where} has several columns called {found!r}")
        if found is None:
            wanted = self.column or ", ".join(NAMES)
            raise ConfigError(
                f"{self._named} has none of the columns {wanted}: {where} has {', '.join(map(repr, names[:20]))}"
            )
        return found

    def _value(self, value: Any, name: str, where: str) -> str | None:
        if isinstance(value, list):
            value = next((text for text in value if text is not None and text != ""), None)
        if value is None or isinstance(value, str):
            return value
        raise ConfigError(f"{self._named}: {name!r} in {where} is a {type(value).__name__}, not a text")

    @property
    def _named(self) -> str:
        return f"{self.what}={os.fsencode(self.path).decode('utf-8', 'backslashreplace')}"


def decode_text(data: bytes) -> str:
    """Return UTF-8 text without its byte order mark; raise UnicodeDecodeError for other bytes."""
    return data.decode("utf-8-sig")


def read_table(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    """Yield the header and the rows of a CSV or TSV, given by its lines without their ends.

    Raises ValueError, with the line, for a row that cannot be told apart: more fields than the header has, text behind a
    quote, or a quote that is never closed, which would take everything after it into one field.
    """
    csv.field_size_limit(_FIELD)
    rows = csv.reader((line + "\n" for line in lines), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    try:
        for row in rows:
            header = row if header is None else header
            if len(row) > len(header):
                raise ValueError(
                    f"line {rows.line_num} has {len(row)} fields where the header has {len(header)}: quote a text that has "
                    f"the separator {delimiter!r} in it"
                )
            yield row
    except csv.Error as error:
        raise ValueError(f"line {rows.line_num}: {error}") from None


def read_lines(file: IO[bytes]) -> Iterator[str]:
    """Yield lines without their ends and without the byte order mark; raise ValueError for what is no text."""
    encoding = "utf-8-sig"
    for number in itertools.count(1):
        line = file.readline(_LINE)
        if not line:
            return
        if len(line) == _LINE and not line.endswith(b"\n"):
            raise ValueError(f"line {number} has more than {_LINE:,} bytes")
        try:
            text = line.removesuffix(b"\n").removesuffix(b"\r").decode(encoding)
        except UnicodeDecodeError as error:
            raise ValueError(f"line {number} is not UTF-8 (byte {error.start + 1} of it)") from None
        if "\0" in text:
            raise ValueError(
                f"line {number} holds bytes of 0, as no text does; UTF-16 has them: save it as UTF-8"
            )
        yield text
        encoding = "utf-8"


def _plain_lines(file: IO[bytes]) -> Iterator[str]:
    """Yield the lines of a plain text; raise ValueError for one whose lines end as on early Macintosh computers."""
    first = True
    for line in read_lines(file):
        if first and "\r" in line and file.tell() == os.fstat(file.fileno()).st_size:
            raise ValueError("its only line has carriage returns in it: write line feeds between its lines")
        first = False
        yield line


def open_plain(path: Path) -> IO[bytes]:
    """Open a regular file; raise OSError for anything else, which might block or never end."""
    descriptor = os.open(path, _OPEN)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is no plain file")
    return open(descriptor, "rb")
