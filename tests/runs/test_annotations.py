"""The file of annotations: appended only, once each, on the disk when it says so."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memcore.errors import ArgumentValueError, DamagedFileError, RunError
from memcore.runs.annotations import LABELS, Annotations, Item, agreement

ITEMS = [(7, 0), (3, 1), (9, 0)]


@pytest.fixture
def annotations(tmp_path: Path) -> Annotations:
    return Annotations.create(tmp_path, "digest", ITEMS)


def test_labels_are_kept_and_taken_back(annotations: Annotations, tmp_path: Path) -> None:
    assert annotations.append("a", 1, 2, "copy")
    assert annotations.append("b", 1, 0, "no")
    assert annotations.append("c", 2, 0, "unsure")
    assert annotations.append("d", 1, 2, None)
    assert annotations.labels(1) == {0: "no"}
    assert annotations.labels(2) == {0: "unsure"}
    assert annotations.append("e", 1, 2, "no")
    assert list(annotations.labels(1)) == [0, 2]
    annotations.close()
    with Annotations.open(tmp_path, "digest") as again:
        assert again.labels(1) == {0: "no", 2: "no"}
        assert [(i.item, i.prompt_id, i.clique) for i in again.items()] == [(0, 7, 0), (1, 3, 1), (2, 9, 0)]
    view = sqlite3.connect(tmp_path / "annotations.sqlite").execute(
        "SELECT annotator, item, prompt_id, clique, label FROM labels ORDER BY annotator, item"
    )
    assert view.fetchall() == [(1, 0, 7, 0, "no"), (1, 2, 9, 0, "no"), (2, 0, 7, 0, "unsure")]


def test_an_event_counts_once(annotations: Annotations) -> None:
    assert annotations.append("k", 1, 0, "copy")
    assert not annotations.append("k", 1, 0, "copy")
    for changed in ((2, 0, "copy"), (1, 1, "copy"), (1, 0, "no"), (1, 0, None)):
        with pytest.raises(ArgumentValueError, match="was used for another event"):
            annotations.append("k", *changed)
    assert annotations.labels(1) == {0: "copy"}


@pytest.mark.parametrize(
    "event",
    [("k", 3, 0, "copy"), ("k", 1, 3, "copy"), ("k", 1, -1, "copy"), ("k", 1, 0, "yes"), ("", 1, 0, "no")],
)
def test_wrong_events_are_refused(annotations: Annotations, event: tuple) -> None:
    with pytest.raises(ArgumentValueError):
        annotations.append(*event)
    assert annotations.labels(1) == {}


def test_events_cannot_be_changed(annotations: Annotations) -> None:
    annotations.append("k", 1, 0, "copy")
    other = sqlite3.connect(annotations.path)
    for statement in ("UPDATE events SET label = 'no'", "DELETE FROM events"):
        with pytest.raises(sqlite3.IntegrityError, match="only appended"):
            other.execute(statement)


def test_other_runs_and_other_rankings_are_refused(annotations: Annotations, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="belongs to another run"):
        Annotations.create(tmp_path, "other", ITEMS)
    with pytest.raises(RunError, match="ranks other findings"):
        Annotations.create(tmp_path, "digest", [(3, 1), (7, 0), (9, 0)])
    Annotations.create(tmp_path, "digest", ITEMS[:2]).close()
    with pytest.raises(RunError, match="has no annotations yet"):
        Annotations.open(tmp_path / "elsewhere")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "annotations.sqlite").write_bytes(b"no database at all " * 100)
    with pytest.raises(RunError, match="cannot be used"):
        Annotations.open(tmp_path / "bad")


def tamper(path: Path, *statements: str) -> None:
    """Change the file as somebody would who takes its triggers away first."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for name in ("events_stay", "events_remain"):
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE events SET label = 'no' WHERE id = 1", "event 1 is not the one that was recorded"),
        ("UPDATE events SET label = NULL WHERE id = 2", "event 2 is not the one that was recorded"),
        ("UPDATE events SET annotator = 2 WHERE id = 2", "event 2 is not the one that was recorded"),
        ("UPDATE events SET item = 1 WHERE id = 3", "event 3 is not the one that was recorded"),
        ("UPDATE events SET at = 'then' WHERE id = 3", "event 3 is not the one that was recorded"),
        ("UPDATE events SET digest = '0' WHERE id = 3", "event 3 is not the one that was recorded"),
        ("DELETE FROM events WHERE id = 2", "event 2 is not the one that was recorded"),
        ("DELETE FROM events WHERE id = 3", "it has 2 events where 3 were recorded"),
        ("DELETE FROM events", "is not the one that was recorded"),
        ("UPDATE items SET prompt_id = 8 WHERE item = 0", "its list of items"),
        ("UPDATE meta SET value = 'x' WHERE name = 'created'", "event 1 is not the one that was recorded"),
        ("UPDATE meta SET value = 'x' WHERE name = 'shown'", "event 1 is not the one that was recorded"),
        ("UPDATE meta SET value = '1' WHERE name = 'format'", "event 1 is not the one that was recorded"),
        ("UPDATE meta SET value = '2' WHERE name = 'events'", "it has 3 events where 2 were recorded"),
        ("DELETE FROM meta WHERE name = 'events'", "it has 3 events where None were recorded"),
        (
            "INSERT INTO events (key, annotator, item, label, at, digest) VALUES ('z', 1, 1, 'copy', 'now', '0')",
            "event 4 is not the one that was recorded",
        ),
    ],
)
def test_a_log_that_was_changed_is_refused(annotations: Annotations, statement: str, says: str) -> None:
    for n, item in enumerate((0, 1, 2)):
        annotations.append(f"k{n}", 1, item, "copy")
    annotations.close()
    tamper(annotations.path, statement)
    for reopen in (
        lambda: Annotations.open(annotations.path.parent, "digest"),
        lambda: Annotations.create(annotations.path.parent, "digest", ITEMS),
    ):
        with pytest.raises(
            DamagedFileError, match=rf"annotations\.sqlite is damaged: .*{says}.*move it away"
        ):
            reopen()


def test_the_chain_is_the_documented_one(annotations: Annotations, tmp_path: Path) -> None:
    annotations.append("k", 1, 2, "copy")
    annotations.append("l", 2, 2, None)
    connection = sqlite3.connect(annotations.path)
    meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())

    def link(*entry: object) -> str:
        return hashlib.sha256(json.dumps(list(entry)).encode()).hexdigest()

    items = [[n, prompt_id, clique] for n, (prompt_id, clique) in enumerate(ITEMS)]
    last = link("", "2", "digest", meta["created"], "", items)
    rows = connection.execute("SELECT key, annotator, item, label, at, digest FROM events ORDER BY id")
    for *event, digest in rows:
        last = link(last, *event)
        assert digest == last
    assert (meta["events"], meta["head"]) == ("2", last)
    assert annotations.head == last


def test_the_head_changes_with_each_event(annotations: Annotations) -> None:
    heads = [annotations.head]
    for n in range(3):
        annotations.append(f"k{n}", 1, 0, "copy")
        heads.append(annotations.head)
    assert not annotations.append("k2", 1, 0, "copy")
    assert annotations.head == heads[-1]
    assert len(set(heads)) == 4


def test_a_file_of_an_earlier_format_is_read_and_added_to(annotations: Annotations, tmp_path: Path) -> None:
    annotations.append("a", 1, 0, "copy")
    annotations.close()
    tamper(
        annotations.path,
        "DROP VIEW labels",
        "ALTER TABLE events DROP COLUMN digest",
        "DELETE FROM meta WHERE name IN ('events', 'head', 'shown')",
        "UPDATE meta SET value = '1' WHERE name = 'format'",
    )
    heads = set()
    for key, label in (("b", "no"), ("c", None), ("d", "unsure")):
        with Annotations.create(tmp_path, "digest", ITEMS, lambda items: "other pictures") as opened:
            assert opened.append(key, 2, 1, label)
            heads.add(opened.head)
    with Annotations.open(tmp_path, "digest") as opened:
        assert (opened.labels(1), opened.labels(2), opened.shown) == ({0: "copy"}, {1: "unsure"}, None)
        assert opened.head in heads
    assert len(heads) == 3


def test_other_pictures_are_refused(tmp_path: Path) -> None:
    def shown(items: Sequence[Item]) -> str:
        return f"pictures of {len(items)}"

    with Annotations.create(tmp_path, "digest", ITEMS, shown) as opened:
        assert opened.shown == "pictures of 3"
    Annotations.create(
        tmp_path, "digest", ITEMS[:1], shown
    ).close()  # it is asked of all items that the file has
    with pytest.raises(RunError, match="was made with other pictures than the run shows now"):
        Annotations.create(tmp_path, "digest", ITEMS, lambda items: "others")


def test_readers_and_a_writer_at_once(tmp_path: Path) -> None:
    """The chain is checked in one state of the file, while another connection adds to it."""
    writer = Annotations.create(tmp_path, "digest", ITEMS)
    done = threading.Event()

    def write() -> None:
        for n in range(300):
            writer.append(f"k{n}", 1, n % 3, "copy")
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    checked = 0
    while not done.is_set() or not checked:
        with Annotations.open(tmp_path, "digest") as opened:
            assert len(opened.head) == 64
        checked += 1
    thread.join()
    writer.close()


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    Annotations.create(tmp_path, "digest", [(n, 0) for n in range(10_000)]).close()
    script = (
        "import sys, pathlib\nfrom memcore.runs.annotations import Annotations\n"
        "a = Annotations.create(pathlib.Path(sys.argv[1]), 'digest', [(n, 0) for n in range(10_000)])\n"
        "for n in range(10_000):\n    a.append(f'k{n}', 1, n, 'no')\n    print(n, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 100:
            break
    process.kill()
    said = [int(line) for line in process.stdout.read().split()] or [100]
    process.wait()
    with Annotations.open(tmp_path) as annotations:
        assert len(annotations.labels(1)) >= max(said) + 1


def test_kappa_of_a_known_table() -> None:
    """The textbook's 2 x 2: 20 both yes, 5 and 10 apart, 15 both no."""
    pairs = [("copy", "copy")] * 20 + [("copy", "no")] * 5 + [("no", "copy")] * 10 + [("no", "no")] * 15
    found = agreement({i: a for i, (a, _) in enumerate(pairs)}, {i: b for i, (_, b) in enumerate(pairs)})
    assert found.observed == 0.7
    assert found.kappa == pytest.approx(0.4)
    assert len(found.disagreements) == 15
    assert found.counts["copy", "no"] == 5


def test_kappa_says_nothing_where_nothing_can_be_said() -> None:
    assert agreement({0: "no"}, {1: "no"}).kappa is None
    assert agreement({0: "no", 1: "no"}, {0: "no", 1: "no"}).kappa is None


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=30))
def test_kappa_is_symmetric_and_bounded(pairs: list[tuple[str, str]]) -> None:
    a, b = ({i: p[side] for i, p in enumerate(pairs)} for side in (0, 1))
    one, two = agreement(a, b), agreement(b, a)
    assert one.kappa == two.kappa
    assert one.kappa is None or -1 <= one.kappa <= 1
    assert (one.kappa == 1) == (not one.disagreements and one.kappa is not None)
