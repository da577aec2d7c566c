"""RUN/annotations.sqlite: what people said of a run's findings. Events are only appended.

docs/formats.md describes the tables. An evaluation reads ``labels``; the page writes with ``append``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from memcore.errors import ArgumentValueError, RunError
from memcore.runs import layout

FORMAT = 1
FILE = layout.ANNOTATIONS
#: What an annotator may say of a finding: its images copy a training image, they do not, or that is unclear.
LABELS = ("copy", "no", "unsure")
ANNOTATORS = (1, 2)

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE items (
    item INTEGER PRIMARY KEY,
    prompt_id INTEGER NOT NULL,
    clique INTEGER NOT NULL,
    UNIQUE (prompt_id, clique)
) STRICT;
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    annotator INTEGER NOT NULL CHECK (annotator IN (1, 2)),
    item INTEGER NOT NULL REFERENCES items (item),
    label TEXT CHECK (label IN ('copy', 'no', 'unsure')),
    at TEXT NOT NULL
) STRICT;
CREATE INDEX events_of ON events (annotator, item, id);
CREATE TRIGGER events_stay BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are only appended'); END;
CREATE TRIGGER events_remain BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are only appended'); END;
CREATE VIEW labels AS
    SELECT e.annotator, e.item, i.prompt_id, i.clique, e.label, e.at
    FROM events e JOIN items i USING (item)
    WHERE e.label IS NOT NULL AND e.id = (
        SELECT max(id) FROM events last WHERE last.annotator = e.annotator AND last.item = e.item
    );
"""


@dataclasses.dataclass(frozen=True)
class Item:
    """One finding to look at; ``item`` counts from 0 in rank order."""

    item: int
    prompt_id: int
    clique: int


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Two annotators compared over the items that both have labelled.

    ``counts`` maps (first's label, second's label) to a number; ``kappa`` is Cohen's, None where it is undefined (no common
    item, or both gave the same label to all). ``disagreements`` lists (item, first, second).
    """

    both: int
    counts: Mapping[tuple[str, str], int]
    observed: float | None
    kappa: float | None
    disagreements: Sequence[tuple[int, str, str]]


class Annotations:
    """The opened file. Every ``append`` is on the disk when it returns: write-ahead log, synchronous=FULL."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._lock = threading.Lock()  # a transaction belongs to the connection, not to a thread
        self.path = path

    def __repr__(self) -> str:
        """Return one line."""
        return f"Annotations({str(self.path)!r})"

    @classmethod
    def create(cls, run: Path, digest: str, items: Sequence[tuple[int, int]]) -> Annotations:
        """Open RUN/annotations.sqlite, or make it for these (prompt_id, clique) in rank order.

        Items are fixed when the file is made, so that a place in the ranking keeps its meaning. Raises RunError if the
        file belongs to another run or ranks other findings.
        """
        path = run / FILE
        connection = _connect(path)
        with _errors(path):
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    for statement in _statements(_SCHEMA):
                        connection.execute(statement)
                    about = {"format": str(FORMAT), "digest": digest, "created": _now()}
                    connection.executemany("INSERT INTO meta VALUES (?, ?)", about.items())
                    rows = [(n, prompt_id, clique) for n, (prompt_id, clique) in enumerate(items)]
                    connection.executemany("INSERT INTO items VALUES (?, ?, ?)", rows)
        opened = cls(connection, path)
        try:
            opened._check(digest)
            held = [(i.prompt_id, i.clique) for i in opened.items()]
            if held[: len(items)] != list(items)[: len(held)]:
                raise RunError(
                    f"{path} ranks other findings than the run does now: it was made before the run was finished or "
                    "matched again. Move it away to annotate again"
                )
        except BaseException:
            connection.close()
            raise
        return opened

    @classmethod
    def open(cls, run: Path, digest: str | None = None) -> Annotations:
        """Open the annotations to read them. Raises RunError if there are none, or none of the run with this ``digest``."""
        path = run / FILE
        if not path.exists():
            raise RunError(f"{run} has no annotations yet: memcore annotate {run} makes them")
        connection = _connect(path)
        opened = cls(connection, path)
        try:
            opened._check(digest)
        except BaseException:
            connection.close()
            raise
        return opened

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Annotations:
        """Return the opened file."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the file."""
        self.close()

    def items(self) -> list[Item]:
        """Return all items in rank order."""
        rows = self._read("SELECT item, prompt_id, clique FROM items ORDER BY item")
        return [Item(int(i), int(p), int(c)) for i, p, c in rows]

    def append(self, key: str, annotator: int, item: int, label: str | None) -> bool:
        """Add an event; a label of None takes one back. Return False if ``key`` was added before, which changes nothing.

        Raises ArgumentValueError for an unknown annotator, item or label, and for a key that was used for another event.
        """
        if annotator not in ANNOTATORS:
            raise ArgumentValueError(f"annotator must be one of {ANNOTATORS}, got {annotator!r}")
        if label is not None and label not in LABELS:
            raise ArgumentValueError(f"label must be one of {', '.join(LABELS)}, or null, got {label!r}")
        if not key or len(key) > 64:
            raise ArgumentValueError("key must have 1 to 64 characters")
        with self._lock, _errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            with self._connection:
                if not self._connection.execute("SELECT 1 FROM items WHERE item = ?", (item,)).fetchone():
                    raise ArgumentValueError(f"item {item!r} does not exist")
                before = self._connection.execute(
                    "SELECT annotator, item, label FROM events WHERE key = ?", (key,)
                ).fetchone()
                if before is not None:
                    if before != (annotator, item, label):
                        raise ArgumentValueError(f"key {key!r} was used for another event")
                    return False
                self._connection.execute(
                    "INSERT INTO events (key, annotator, item, label, at) VALUES (?, ?, ?, ?, ?)",
                    (key, annotator, item, label, _now()),
                )
        return True

    def labels(self, annotator: int) -> dict[int, str]:
        """Return the annotator's label of each item that has one, in the order in which they were given."""
        rows = self._read(
            "SELECT e.item, e.label FROM events e WHERE e.annotator = ? AND e.label IS NOT NULL AND e.id = "
            "(SELECT max(id) FROM events l WHERE l.annotator = e.annotator AND l.item = e.item) ORDER BY e.id",
            (annotator,),
        )
        return {int(item): str(label) for item, label in rows}

    def agreement(self) -> Agreement:
        """Return how far the two annotators agree."""
        first, second = (self.labels(annotator) for annotator in ANNOTATORS)
        return agreement(first, second)

    def _check(self, digest: str | None) -> None:
        with _errors(self.path):
            meta = dict(self._connection.execute("SELECT name, value FROM meta").fetchall())
        if meta.get("format") != str(FORMAT):
            raise RunError(f"{self.path} has the format {meta.get('format')!r}, this memcore reads {FORMAT}")
        if digest is not None and meta.get("digest") != digest:
            raise RunError(f"{self.path} belongs to another run: move it away to annotate this one")

    def _read(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock, _errors(self.path):
            return self._connection.execute(query, values).fetchall()


def agreement(first: Mapping[int, str], second: Mapping[int, str]) -> Agreement:
    """Return Cohen's kappa over the items that both have labelled, "unsure" being a label like the others.

    Source: Cohen 1960, A coefficient of agreement for nominal scales: (observed - expected) / (1 - expected).

    >>> same = agreement({0: "copy", 1: "no", 2: "no", 3: "no"}, {0: "copy", 1: "no", 2: "copy", 3: "no"})
    >>> same.both, same.observed, same.kappa, list(same.disagreements)
    (4, 0.75, 0.5, [(2, 'no', 'copy')])
    """
    both = sorted(first.keys() & second.keys())
    counts = Counter((first[i], second[i]) for i in both)
    n = len(both)
    differ = [(i, first[i], second[i]) for i in both if first[i] != second[i]]
    if not n:
        return Agreement(0, {}, None, None, [])
    rows, columns = Counter(first[i] for i in both), Counter(second[i] for i in both)
    expected = sum(rows[label] * columns[label] for label in LABELS)  # times n^2, an integer
    observed = n - len(differ)
    kappa = (observed * n - expected) / (n * n - expected) if n * n != expected else None
    return Agreement(n, dict(counts), observed / n, kappa, differ)


def _connect(path: Path) -> sqlite3.Connection:
    with _errors(path):
        connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    return connection


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise RunError(f"{path} cannot be used: {error}") from None


def _statements(script: str) -> list[str]:
    """Split the script into statements: executescript would commit between them."""
    found, statement = [], ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            found.append(statement)
            statement = ""
    return found


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
