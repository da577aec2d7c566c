"""RUN/annotations.sqlite: what people said of a run's findings. Events are only appended.

Each event holds the digest of all before it, and the file that of the last: what was changed or lost is noticed.
docs/formats.md describes the tables. An evaluation reads ``labels``; the page writes with ``append``.
"""

from __future__ import annotations

import dataclasses
import shlex
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from memcore.errors import ArgumentValueError, DamagedFileError, RunError
from memcore.runs import layout
from memcore.runs.annotations_file import (
    READABLE,
    chain_digest,
    connect,
    connect_to_read,
    find_broken_link,
    find_foreign,
    make_tables,
    read_meta_value,
    time_now,
    translated_errors,
)
from memcore.system.console import printable

FILE = layout.ANNOTATIONS
#: What an annotator may say of a finding: its images copy a training image, they do not, or that is unclear.
LABELS = ("copy", "no", "unsure")
ANNOTATORS = (1, 2)

#: Seconds that a question waits while an answer is being written.
_READ_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class Item:
    """One finding to look at; ``item`` counts from 0 in rank order."""

    item: int
    prompt_id: int
    clique: int


#: An event as it is added: key, annotator, item, label, at.
_Event = tuple[str, int, int, str | None, str]


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
        self._chained = True
        self.path = path
        #: The digest of the pictures that people were shown; None in a file of format 1.
        self.shown: str | None = None

    def __repr__(self) -> str:
        """Return one line."""
        return f"Annotations({str(self.path)!r})"

    @classmethod
    def create(
        cls,
        run: Path,
        digest: str,
        items: Sequence[tuple[int, int]],
        shown: Callable[[Sequence[Item]], str] | None = None,
    ) -> Annotations:
        """Open RUN/annotations.sqlite, or make it for these (prompt_id, clique) in rank order.

        Items are fixed when the file is made, so that a place in the ranking keeps its meaning. ``shown`` returns the
        digest of the pictures that are shown of some items. Raises RunError if the file belongs to another run, ranks other
        findings or was made with other pictures, and DamagedFileError.
        """
        path = run / FILE
        connection = connect(path)
        held = [Item(n, prompt_id, clique) for n, (prompt_id, clique) in enumerate(items)]
        with translated_errors(path):
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    rows = [(item.item, item.prompt_id, item.clique) for item in held]
                    make_tables(connection, digest, rows, "" if shown is None else shown(held))
        opened = cls(connection, path)
        try:
            opened._check(digest)
            there = opened.items()
            if [(i.prompt_id, i.clique) for i in there][: len(items)] != list(items)[: len(there)]:
                raise RunError(
                    f"{path} ranks other findings than the run does now: it was made before the run was finished or "
                    "matched again. Move it away to annotate again"
                )
            if opened.shown is not None and shown is not None and opened.shown != shown(there):
                raise RunError(
                    f"{path} was made with other pictures than the run shows now: give memcore match as it was when it was "
                    "made, or move it away to annotate again"
                )
        except BaseException:
            connection.close()
            raise
        return opened

    @classmethod
    def open(cls, run: Path, digest: str | None = None) -> Annotations:
        """Open the annotations to read them.

        Raises RunError if there are none, or none of the run with this ``digest``, and DamagedFileError.
        """
        path = run / FILE
        if not path.exists():
            raise RunError(
                f"{run} has no annotations yet: memcore annotate {shlex.quote(str(run))} makes them"
            )
        connection = connect_to_read(path)
        opened = cls(connection, path)
        try:
            opened._check(digest)
        except BaseException:
            connection.close()
            raise
        return opened

    @property
    def head(self) -> str:
        """Return what tells this state of the annotations from others: the digest of its last event."""
        if self._chained:
            return str(self._read("SELECT value FROM meta WHERE name = 'head'")[0][0])
        return chain_digest("", [list(row) for row in self._read("SELECT * FROM events ORDER BY id")])

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
        with self._lock, translated_errors(self.path):
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
                self._insert((key, annotator, item, label, time_now()))
        return True

    def _insert(self, event: _Event) -> None:
        """Add an event as the last link of the chain, inside a transaction."""
        execute = self._connection.execute
        if not self._chained:
            execute("INSERT INTO events (key, annotator, item, label, at) VALUES (?, ?, ?, ?, ?)", event)
            return
        before = read_meta_value(self._connection, "head")
        count = int(read_meta_value(self._connection, "events"))
        digest = chain_digest(before, list(event))
        execute(
            "INSERT INTO events (key, annotator, item, label, at, digest) VALUES (?, ?, ?, ?, ?, ?)",
            (*event, digest),
        )
        execute("UPDATE meta SET value = ? WHERE name = 'head'", (digest,))
        execute("UPDATE meta SET value = ? WHERE name = 'events'", (str(count + 1),))

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
        with self._lock, translated_errors(self.path):
            self._connection.execute("BEGIN")  # one state of the file, whoever is adding to it
            with self._connection:
                if foreign := find_foreign(self._connection):
                    raise DamagedFileError(
                        f"{self.path} is damaged: {foreign}; restore it from a copy, or move it away to annotate again"
                    )
                meta = dict(self._connection.execute("SELECT name, value FROM meta").fetchall())
                if meta.get("format") not in READABLE:
                    raise RunError(
                        f"{self.path} has the format {meta.get('format')!r}, this memcore reads {' and '.join(READABLE)}"
                    )
                self._chained = "head" in meta or meta["format"] != "1"
                if self._chained:
                    wrong = find_broken_link(self._connection, meta)
                    if wrong:
                        raise DamagedFileError(
                            f"{self.path} is damaged: {wrong}; restore it from a copy, or move it away to annotate again"
                        )
                if odd := _find_odd_row(self._connection):
                    raise DamagedFileError(
                        f"{self.path} is damaged: {odd}, which memcore never writes; restore it from a copy, or move it "
                        "away to annotate again"
                    )
        if digest is not None and meta.get("digest") != digest:
            raise RunError(f"{self.path} belongs to another run: move it away to annotate this one")
        self.shown = meta.get("shown") or None

    def _read(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        if self._lock.acquire(timeout=_READ_SECONDS):
            try:
                with translated_errors(self.path):
                    return self._connection.execute(query, values).fetchall()
            finally:
                self._lock.release()
        raise RunError(f"{self.path} is locked by another program: try again")


def _find_odd_row(connection: sqlite3.Connection) -> str:
    """Return which row is none of memcore's, or nothing: where others made the tables, these may hold anything."""
    items = 0
    for row in connection.execute("SELECT item, prompt_id, clique FROM items ORDER BY item"):
        if row[0] != items or any(type(value) is not int for value in row):
            return f"its items have {printable(repr(row))[:80]} in place {items}"
        items += 1
    events = connection.execute("SELECT key, annotator, item, label, at FROM events ORDER BY id")
    for number, (key, annotator, item, label, at) in enumerate(events, 1):
        wrong = {
            "key": not isinstance(key, str),
            "annotator": annotator not in ANNOTATORS,
            "item": type(item) is not int or not 0 <= item < items,
            "label": label is not None and label not in LABELS,
            "time": not isinstance(at, str),
        }
        if any(wrong.values()):
            name = next(name for name, is_wrong in wrong.items() if is_wrong)
            return f"in its event {number} the {name} is of another kind"
    return ""


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
