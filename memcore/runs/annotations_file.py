"""The SQLite file of annotations: its tables, its connections, and the chain of digests over its events.

It may be damaged, or come from somebody else: SQLite is told to believe nothing of it.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from memcore.errors import DamagedFileError, RunError
from memcore.system.plain_files import open_plain

#: Format 2: events are chained by digests, and the file says what people were shown. Format 1 is read and added to.
FORMAT = 2
READABLE = ("1", "2")
#: Bytes of the longest row that is read.
_MOST_VALUE = 1 << 20

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


def make_tables(
    connection: sqlite3.Connection, digest: str, items: Sequence[tuple[int, int, int]], shown: str
) -> None:
    """Fill an empty file with the tables and the items (item, prompt_id, clique), inside a transaction."""
    for statement in _statements(_SCHEMA):
        connection.execute(statement)
    about = {"format": str(FORMAT), "digest": digest, "created": time_now(), "shown": shown}
    about |= {"events": "0", "head": first_link(about, items)}
    connection.executemany("INSERT INTO meta VALUES (?, ?)", about.items())
    connection.executemany("INSERT INTO items VALUES (?, ?, ?)", items)


def first_link(meta: Mapping[str, str], items: Sequence[tuple[int, int, int]]) -> str:
    """Return the digest that the first event follows: of all that is fixed when the file is made."""
    fixed = [meta.get(name, "") for name in ("format", "digest", "created", "shown")]
    return chain_digest("", [*fixed, [list(item) for item in items]])


def chain_digest(before: str, entry: Sequence[object]) -> str:
    """Return the digest of an entry that follows another."""
    return hashlib.sha256(json.dumps([before, *entry], default=repr).encode()).hexdigest()


def find_broken_link(connection: sqlite3.Connection, meta: Mapping[str, str]) -> str:
    """Return what is wrong with the chain of events, or nothing."""
    items = connection.execute("SELECT item, prompt_id, clique FROM items ORDER BY item").fetchall()
    digest, count = first_link(meta, items), 0
    first = digest
    events = connection.execute("SELECT key, annotator, item, label, at, digest FROM events ORDER BY id")
    for count, (*event, held) in enumerate(events, 1):
        digest = chain_digest(digest, event)
        if digest != held:
            return f"its event {count} is not the one that was recorded" + (
                ", or its list of items" if count == 1 else ""
            )
    if meta.get("head") != digest or meta.get("events") != str(count):
        lost = f"it has {count} events where {meta.get('events')} were recorded"
        return "its list of items is not the one that was recorded" if digest == first else lost
    return ""


def find_foreign(connection: sqlite3.Connection) -> str:
    """Return what of a file's tables memcore would not have made, or nothing.

    A file may come from somebody else: of what is called as a table of memcore's, SQLite might run what the file says.
    """
    triggers = {_tidy(statement) for statement in _statements(_SCHEMA) if "CREATE TRIGGER" in statement}
    for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master"):
        plain = kind == "table" and str(sql).startswith("CREATE TABLE ")
        if name in ("meta", "items", "events") and not plain:
            return f"its {name} is no table"
        if kind == "trigger" and _tidy(sql) not in triggers:
            return f"it has a trigger {name!r}, which memcore has not made"
    return ""


def _tidy(statement: str) -> str:
    return " ".join(str(statement).rstrip().rstrip(";").split())


def read_meta_value(connection: sqlite3.Connection, name: str) -> str:
    """Return one value of the table meta."""
    return str(connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0])


def _require_plain(path: Path) -> None:
    """Raise RunError unless the file, if there is one, is a plain one: SQLite would wait for a pipe's other end."""
    try:
        open_plain(path).close()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise RunError(f"{path} cannot be used: {error.strerror}") from None


def connect(path: Path) -> sqlite3.Connection:
    """Open the file to add to it; make an empty one where there is none. Raises RunError."""
    _require_plain(path)
    _check_beside(path)
    if os.path.lexists(f"{path}-journal"):  # it may name other files, which SQLite would remove
        raise RunError(
            f"{path}-journal is left of a start that was killed, or memcore did not write it: remove it, or move it with "
            f"{path.name}"
        )
    with translated_errors(path):
        connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        _distrust(connection)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open the file without changing it or its folder, which may be read-only.

    A log beside the file belongs to a writer that is at work, or that was killed: SQLite then reads both. Where the folder
    does not let it, a copy of both is read.
    """
    _require_plain(path)
    _check_beside(path)
    log = path.with_name(f"{path.name}-wal")
    with translated_errors(path):
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
        _distrust(connection)
        with tempfile.TemporaryDirectory() as folder:
            for file in (path, log):
                shutil.copyfile(file, Path(folder) / file.name)
            with contextlib.closing(sqlite3.connect(Path(folder) / path.name)) as copy:
                _distrust(copy)
                copy.backup(connection)
        return connection


def _check_beside(path: Path) -> None:
    """Raise RunError where the file, or one that SQLite keeps beside it, is a link: SQLite would write to its end."""
    for suffix in ("", "-wal", "-shm"):
        if os.path.islink(f"{path}{suffix}"):
            raise RunError(
                f"{path}{suffix} is a link: put a file in its place, or move it away to annotate again"
            )


def _distrust(connection: sqlite3.Connection) -> None:
    """Let SQLite believe nothing of a file that may be damaged or somebody else's."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_VALUE)


def _open_uri(path: Path, options: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{options}",
        uri=True,
        timeout=10,
        isolation_level=None,
        check_same_thread=False,
    )
    _distrust(connection)
    return connection


@contextlib.contextmanager
def translated_errors(path: Path) -> Iterator[None]:
    """Raise RunError or DamagedFileError, with the path, for what SQLite raises."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise RunError(f"{path} cannot be used: {error}") from None
    except UnicodeDecodeError as error:  # sqlite3 raises it for some texts, and its own errors for others
        raise DamagedFileError(
            f"{path} is damaged: it holds text that is not UTF-8 ({error.reason}); restore it from a copy, or move it "
            "away to annotate again"
        ) from None


def _statements(script: str) -> list[str]:
    """Split the script into statements: executescript would commit between them."""
    found, statement = [], ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            found.append(statement)
            statement = ""
    return found


def time_now() -> str:
    """Return the time of an event, as it is stored."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
