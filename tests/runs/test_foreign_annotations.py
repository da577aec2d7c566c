"""annotations.sqlite may come from somebody else: no link is written through, and SQLite runs nothing that it says."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from memcore.errors import DamagedFileError, RunError
from memcore.runs import annotations_file
from memcore.runs.annotations import FILE, Annotations
from memcore.runs.annotations_file import chain_digest, first_link

ITEMS = [(4, 0), (7, 0)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    with Annotations.create(tmp_path / "run", "digest", ITEMS) as opened:
        opened.append("a", 1, 0, "copy")
    return tmp_path / "run"


WAYS: dict[str, Callable[[Path], Annotations]] = {
    "read": lambda run: Annotations.open(run, "digest"),
    "write": lambda run: Annotations.create(run, "digest", ITEMS),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_a_link_is_refused_and_its_end_stays(run: Path, tmp_path: Path, way: str, suffix: str) -> None:
    outside = tmp_path / "mine"
    shutil.copy(run / FILE, outside)
    before = outside.read_bytes()
    (run / f"{FILE}{suffix}").unlink(missing_ok=True)
    (run / f"{FILE}{suffix}").symlink_to(outside)
    with pytest.raises(RunError, match=rf"{FILE}{suffix} is a link"):
        WAYS[way](run)
    assert outside.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "run"]


def test_a_link_to_nothing_makes_no_file(tmp_path: Path) -> None:
    (tmp_path / FILE).symlink_to(tmp_path / "new")
    with pytest.raises(RunError, match="is a link"):
        WAYS["write"](tmp_path)
    assert not (tmp_path / "new").exists()


def test_a_journal_that_names_another_file_removes_nothing(run: Path, tmp_path: Path) -> None:
    """SQLite plays a journal that it finds, and removes the file that this names as its super-journal."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"something of mine")
    # a database in rollback mode: in write-ahead mode SQLite looks at no journal
    with contextlib.closing(sqlite3.connect(run / FILE)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    (run / f"{FILE}-journal").write_bytes(rollback_journal((run / FILE).read_bytes(), bytes(victim)))
    assert is_played(run, tmp_path / "copy", victim)
    with pytest.raises(RunError, match=rf"{FILE}-journal is left of a start"):
        WAYS["write"](run)
    assert victim.exists()
    assert WAYS["read"](run).labels(1) == {0: "copy"}  # a reader looks at no journal
    assert victim.exists()


def rollback_journal(database: bytes, super_journal: bytes) -> bytes:
    """Return a journal of one page, as SQLite's file format has it, that ends with the name of a super-journal."""
    page_size = int.from_bytes(database[16:18], "big")
    nonce, sector = 7, 512
    page = database[:page_size]
    checksum = (nonce + sum(page[i] for i in range(page_size - 200, 0, -200))) & 0xFFFFFFFF
    words = (1, nonce, len(database) // page_size, sector, page_size)
    head = bytes.fromhex("d9d505f920a163d7") + b"".join(word.to_bytes(4, "big") for word in words)
    record = (1).to_bytes(4, "big") + page + checksum.to_bytes(4, "big")
    locking_page = (1 << 30) // page_size + 1
    name = locking_page.to_bytes(4, "big") + super_journal
    name += len(super_journal).to_bytes(4, "big") + sum(super_journal).to_bytes(4, "big")
    return head.ljust(sector, b"\0") + record + name + bytes.fromhex("d9d505f920a163d7")


def is_played(run: Path, copy: Path, victim: Path) -> bool:
    """Tell whether SQLite itself would remove the file, so that the test does not pass for another reason."""
    shutil.copytree(run, copy)
    with contextlib.closing(sqlite3.connect(copy / FILE)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    gone = not victim.exists()
    victim.write_bytes(b"something of mine")
    shutil.rmtree(copy)
    return gone


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("statements", "says"),
    [
        (
            (
                "DROP TABLE meta",
                "CREATE VIEW meta AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) "
                "SELECT n AS name, n AS value FROM r",
            ),
            "its meta is no table",
        ),
        (
            ("CREATE TRIGGER t AFTER INSERT ON events BEGIN UPDATE meta SET value = 'x'; END",),
            "it has a trigger 't', which memcore has not made",
        ),
        (
            (
                "DROP TRIGGER events_stay",
                "CREATE TRIGGER events_stay BEFORE UPDATE ON events BEGIN SELECT 1; END",
            ),
            "it has a trigger 'events_stay'",
        ),
    ],
    ids=["endless view", "trigger", "other trigger"],
)
def test_what_memcore_did_not_make_is_refused(
    run: Path, way: str, statements: tuple[str, ...], says: str
) -> None:
    with contextlib.closing(sqlite3.connect(run / FILE, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
    with pytest.raises(DamagedFileError, match=rf"{FILE} is damaged: {says}"):
        WAYS[way](run)


def make_foreign(run: Path, items: list[tuple[object, ...]], events: list[tuple[object, ...]]) -> None:
    """Make the tables again, without types, and let the chain of digests fit."""
    with contextlib.closing(sqlite3.connect(run / FILE, isolation_level=None)) as connection:
        meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
        for statement in (
            "DROP VIEW labels",
            "DROP TABLE events",
            "DROP TABLE items",
            "CREATE TABLE items (item, prompt_id, clique)",
            "CREATE TABLE events (id INTEGER PRIMARY KEY, key, annotator, item, label, at, digest)",
        ):
            connection.execute(statement)
        connection.executemany("INSERT INTO items VALUES (?, ?, ?)", items)
        held = connection.execute("SELECT * FROM items ORDER BY item").fetchall()
        head = first_link(meta, held)
        for event in events:
            head = chain_digest(head, event)
            connection.execute(
                "INSERT INTO events (key, annotator, item, label, at, digest) VALUES (?, ?, ?, ?, ?, ?)",
                (*event, head),
            )
        connection.execute("UPDATE meta SET value = ? WHERE name = 'head'", (head,))
        connection.execute("UPDATE meta SET value = ? WHERE name = 'events'", (str(len(events)),))


ITEMS_HELD: list[tuple[object, ...]] = [(0, 4, 0), (1, 7, 0)]
ODD: dict[str, tuple[list[tuple[object, ...]], list[tuple[object, ...]], str]] = {
    "text": ([("x", 4, 0)], [], "its items have ('x', 4, 0) in place 0"),
    "bytes": ([(b"\xff", 4, 0)], [], "its items have"),
    "infinite": ([(float("inf"), 4, 0)], [], "its items have"),
    "null": ([(None, None, None)], [], "its items have"),
    "fraction": ([(0, 4.5, 0)], [], "its items have"),
    "many digits": ([("9" * 5000, 4, 0)], [], "its items have"),
    "gap": ([(0, 4, 0), (2, 7, 0)], [], "its items have (2, 7, 0) in place 1"),
    "no such item": (ITEMS_HELD, [("a", 1, 99, "copy", "")], "the item is of another kind"),
    "negative item": (ITEMS_HELD, [("a", 1, -1, "copy", "")], "the item is of another kind"),
    "label": (ITEMS_HELD, [("a", 1, 0, "\x1b[2J", "")], "in its event 1 the label is of another kind"),
    "label in bytes": (ITEMS_HELD, [("a", 1, 0, b"\xff", "")], "the label is of another kind"),
    "annotator": (
        ITEMS_HELD,
        [("a", 1, 0, "copy", ""), ("b", 3, 0, "copy", "")],
        "in its event 2 the annotator is of another kind",
    ),
    "key": (ITEMS_HELD, [(5, 1, 0, "copy", "")], "the key is of another kind"),
    "time": (ITEMS_HELD, [("a", 1, 0, "copy", None)], "the time is of another kind"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("odd", ODD)
def test_values_of_other_kinds_are_refused_by_name(run: Path, way: str, odd: str) -> None:
    """Tables that others made need not have memcore's types, and the digests of anything can fit."""
    items, events, says = ODD[odd]
    make_foreign(run, items, events)
    with pytest.raises(DamagedFileError, match=f"{FILE} is damaged: .*{re.escape(says)}.*move it away"):
        WAYS[way](run)


def test_what_fits_is_read_whoever_made_it(run: Path) -> None:
    make_foreign(run, [(0, 4, 0), (1, 7, 0)], [("a", 1, 1, "copy", ""), ("b", 2, 1, None, "")])
    assert WAYS["read"](run).labels(1) == {1: "copy"}


def test_a_copy_of_file_and_log_is_not_trusted_more(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that lets SQLite make no file beside the log is read from a copy of both."""
    with contextlib.closing(sqlite3.connect(run / FILE, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"UPDATE meta SET value = '{'x' * 2_000_000}' WHERE name = 'created'")
        for suffix in ("", "-wal"):  # while the log is there
            shutil.copy(f"{run / FILE}{suffix}", f"{run}/copy{suffix}")
    for suffix in ("", "-wal"):
        os.replace(f"{run}/copy{suffix}", f"{run / FILE}{suffix}")

    def refuse(*_: object) -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(annotations_file, "_open_uri", refuse)
    with pytest.raises(RunError, match="too big"):
        WAYS["read"](run)


def test_a_row_of_a_gigabyte_is_not_read(run: Path) -> None:
    with contextlib.closing(sqlite3.connect(run / FILE, isolation_level=None)) as connection:
        connection.execute(f"UPDATE meta SET value = '{'x' * 2_000_000}' WHERE name = 'created'")
    with pytest.raises(RunError, match="too big"):
        WAYS["read"](run)


def test_a_view_of_ones_own_does_no_harm(run: Path) -> None:
    """The file is read with any tool, which may add to it."""
    with contextlib.closing(sqlite3.connect(run / FILE, isolation_level=None)) as connection:
        connection.execute("CREATE VIEW mine AS SELECT * FROM labels")
        connection.execute("CREATE INDEX mine_too ON events (at)")
    assert WAYS["read"](run).labels(1) == {0: "copy"}
    assert os.listdir(run) == [FILE]


@pytest.mark.parametrize("way", WAYS)
def test_a_flipped_bit_of_the_tables_texts_is_told_by_name(run: Path, way: str) -> None:
    """Half of the flips make text that is no UTF-8, for which sqlite3 raises errors of several kinds."""
    sound = (run / FILE).read_bytes()
    begins = [at for at in range(len(sound)) if sound.startswith(b"CREATE ", at)]
    assert len(begins) >= 3
    refused = 0
    for at in [begin + offset for begin in begins for offset in (-8, -1, 0, 12, 30)]:
        for bit in (0, 7):
            broken = bytearray(sound)
            broken[at] ^= 1 << bit
            (run / FILE).write_bytes(broken)
            with contextlib.suppress(RunError, DamagedFileError):
                WAYS[way](run).close()
                continue
            refused += 1
    assert refused >= len(begins)
