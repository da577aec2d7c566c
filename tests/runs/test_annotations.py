"""The file of annotations: appended only, once each, on the disk when it says so."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memcore.errors import ArgumentValueError, RunError
from memcore.runs.annotations import LABELS, Annotations, agreement

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


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    Annotations.create(tmp_path, "digest", [(n, 0) for n in range(10_000)]).close()
    script = (
        "import sys, pathlib\nfrom memcore.runs.annotations import Annotations\n"
        "a = Annotations.open(pathlib.Path(sys.argv[1]))\n"
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
