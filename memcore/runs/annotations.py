"""RUN/annotations.sqlite: what people said of a run's findings. Events are only appended.

Each event holds the digest of all before it, and the file that of the last: what was changed or lost is noticed.
docs/formats.md describes the tables. An evaluation reads ``labels``; the page writes with ``append``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import shlex
import shutil
import sqlite3
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from memcore.errors import ArgumentValueError, DamagedFileError, RunError
from memcore.runs import layout
from memcore.system.plain_files import open_plain

#: Format 2: events are chained by digests, and the file says what people were shown. Format 1 is read and added to.
FORMAT = 2
READABLE = ("1", "2")
FILE = layout.ANNOTATIONS
#: What an annotator may say of a finding: its images copy a training image, they do not, or that is unclear.
LABELS = ("copy", "no", "unsure")
ANNOTATORS = (1, 2)

#: Seconds that a question waits while an answer is being written.
_READ_SECONDS = 0.5

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
    at TEXT NOT NULL,
    digest TEXT NOT NULL
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
        _check_plain(path)
        connection = _connect(path)
        held = [Item(n, prompt_id, clique) for n, (prompt_id, clique) in enumerate(items)]
        with _errors(path):
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    _make(connection, digest, held, "" if shown is None else shown(held))
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
        _check_plain(path)
        if not path.exists():
            raise RunError(
                f"{run} has no annotations yet: memcore annotate {shlex.quote(str(run))} makes them"
            )
        connection = _connect_to_read(path)
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
        return _link("", [list(row) for row in self._read("SELECT * FROM events ORDER BY id")])

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
                self._insert((key, annotator, item, label, _now()))
        return True

    def _insert(self, event: _Event) -> None:
        """Add an event as the last link of the chain, inside a transaction."""
        execute = self._connection.execute
        if not self._chained:
            execute("INSERT INTO events (key, annotator, item, label, at) VALUES (?, ?, ?, ?, ?)", event)
            return
        before, count = _meta(self._connection, "head"), int(_meta(self._connection, "events"))
        digest = _link(before, list(event))
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
        with self._lock, _errors(self.path):
            self._connection.execute("BEGIN")  # one state of the file, whoever is adding to it
            with self._connection:
                meta = dict(self._connection.execute("SELECT name, value FROM meta").fetchall())
                if meta.get("format") not in READABLE:
                    raise RunError(
                        f"{self.path} has the format {meta.get('format')!r}, this memcore reads {' and '.join(READABLE)}"
                    )
                self._chained = "head" in meta or meta["format"] != "1"
                if self._chained:
                    wrong = _broken_link(self._connection, meta)
                    if wrong:
                        raise DamagedFileError(
                            f"{self.path} is damaged: {wrong}; restore it from a copy, or move it away to annotate again"
                        )
        if digest is not None and meta.get("digest") != digest:
            raise RunError(f"{self.path} belongs to another run: move it away to annotate this one")
        self.shown = meta.get("shown") or None

    def _read(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        if self._lock.acquire(timeout=_READ_SECONDS):
            try:
                with _errors(self.path):
                    return self._connection.execute(query, values).fetchall()
            finally:
                self._lock.release()
        raise RunError(f"{self.path} is locked by another program: try again")


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


def _make(connection: sqlite3.Connection, digest: str, items: Sequence[Item], shown: str) -> None:
    """Fill an empty file, inside a transaction."""
    for statement in _statements(_SCHEMA):
        connection.execute(statement)
    about = {"format": str(FORMAT), "digest": digest, "created": _now(), "shown": shown}
    rows = [(item.item, item.prompt_id, item.clique) for item in items]
    about |= {"events": "0", "head": _first_link(about, rows)}
    connection.executemany("INSERT INTO meta VALUES (?, ?)", about.items())
    connection.executemany("INSERT INTO items VALUES (?, ?, ?)", rows)


def _first_link(meta: Mapping[str, str], items: Sequence[tuple[int, int, int]]) -> str:
    """Return the digest that the first event follows: of all that is fixed when the file is made."""
    fixed = [meta.get(name, "") for name in ("format", "digest", "created", "shown")]
    return _link("", [*fixed, [list(item) for item in items]])


def _link(before: str, entry: Sequence[object]) -> str:
    """Return the digest of an entry that follows another."""
    return hashlib.sha256(json.dumps([before, *entry], default=repr).encode()).hexdigest()


def _broken_link(connection: sqlite3.Connection, meta: Mapping[str, str]) -> str:
    """Return what is wrong with the chain of events, or nothing."""
    items = connection.execute("SELECT item, prompt_id, clique FROM items ORDER BY item").fetchall()
    digest, count = _first_link(meta, items), 0
    first = digest
    events = connection.execute("SELECT key, annotator, item, label, at, digest FROM events ORDER BY id")
    for count, (*event, held) in enumerate(events, 1):
        digest = _link(digest, event)
        if digest != held:
            return f"its event {count} is not the one that was recorded" + (
                ", or its list of items" if count == 1 else ""
            )
    if meta.get("head") != digest or meta.get("events") != str(count):
        lost = f"it has {count} events where {meta.get('events')} were recorded"
        return "its list of items is not the one that was recorded" if digest == first else lost
    return ""


def _meta(connection: sqlite3.Connection, name: str) -> str:
    return str(connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0])


def _check_plain(path: Path) -> None:
    """Raise RunError unless the file, if there is one, is a plain one: SQLite would wait for a pipe's other end."""
    try:
        open_plain(path).close()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise RunError(f"{path} cannot be used: {error.strerror}") from None


def _connect(path: Path) -> sqlite3.Connection:
    with _errors(path):
        connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    return connection


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """Open the file without changing it or its folder, which may be read-only.

    A log beside the file belongs to a writer that is at work, or that was killed: SQLite then reads both. Where the folder
    does not let it, a copy of both is read.
    """
    log = path.with_name(f"{path.name}-wal")
    with _errors(path):
        if not log.exists() or not log.stat().st_size:
            return _open_uri(path, "mode=ro&immutable=1")
        with contextlib.suppress(sqlite3.OperationalError):
            connection = _open_uri(path, "mode=ro")
            try:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            except BaseException:
                connection.close()
                raise
            return connection
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        with tempfile.TemporaryDirectory() as folder:
            for file in (path, log):
                shutil.copyfile(file, Path(folder) / file.name)
            with contextlib.closing(sqlite3.connect(Path(folder) / path.name)) as copy:
                copy.backup(connection)
        return connection


def _open_uri(path: Path, options: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{options}",
        uri=True,
        timeout=10,
        isolation_level=None,
        check_same_thread=False,
    )


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
