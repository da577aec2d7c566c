"""What was received: it is found again by prompt and seed, a cut or damaged record does not count, and money is exact."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from memcore.engine.journal import Journal
from memcore.errors import StoppedError
from memcore.sampling.received import (
    RECEIVED,
    Answer,
    Received,
    Spending,
    Spent,
    count_spent,
    forget_failures,
)
from memcore.storage.local import LocalStorage
from memcore.types import Request

FIRST, SECOND, OTHER = Request(0, "a dog", 7), Request(0, "a dog", 8), Request(1, "a cat", 7)
REFUSED = Answer("", code="refused-image", detail="no", final=True)


def opened(folder: Path) -> Journal:
    return Journal(LocalStorage(folder), "task-1", "a key", sync="record", folder=RECEIVED)


def test_answers_are_found_again_by_another_process(tmp_path: Path) -> None:
    received = Received(opened(tmp_path), Spending(Decimal("0.04")))
    number = received.ask([FIRST, SECOND])
    received.put(number, [FIRST, SECOND], [Answer("file", b"one"), REFUSED])
    received.fail(received.ask([OTHER]), [OTHER], "http-500", "broken", billed=False)
    received.put(received.ask([OTHER]), [OTHER], [Answer("raw", b"two", flagged=True)])
    assert received.answers(FIRST) == [Answer("file", b"one")]
    again = Received(opened(tmp_path))
    assert again.answers(FIRST) == [Answer("file", b"one")]
    assert again.answers(SECOND) == [REFUSED]
    assert again.answers(OTHER) == [Answer("raw", b"two", flagged=True)]
    assert again.answers(Request(1, "a cat", 9)) == []
    assert [(n.prompt_id, n.reason) for n in again.failures([1])] == [(1, "http-500")]
    assert again.failures([1]) == []
    assert count_spent(opened(tmp_path).records) == Spent(2, 0, Decimal("0.08"), None)


def test_every_answer_counts_up_to_the_one_that_a_kill_cut(tmp_path: Path) -> None:
    received = Received(opened(tmp_path))
    for seed in range(3):
        request = Request(0, "a dog", seed)
        received.put(received.ask([request]), [request], [Answer("file", b"x" * 100)])
    received.close()
    (file,) = (tmp_path / RECEIVED).iterdir()
    data = file.read_bytes()
    for cut in range(0, len(data), 7):
        file.write_bytes(data[:cut])
        there = [bool(Received(opened(tmp_path)).answers(Request(0, "a dog", seed))) for seed in range(3)]
        assert there == sorted(there, reverse=True)
        assert sum(there) == cut * 3 // len(data)


def test_a_damaged_answer_is_asked_for_again(tmp_path: Path) -> None:
    received = Received(opened(tmp_path))
    received.put(
        received.ask([FIRST, SECOND]), [FIRST, SECOND], [Answer("file", b"first"), Answer("file", b"second")]
    )
    (file,) = (tmp_path / RECEIVED).iterdir()
    file.write_bytes(file.read_bytes().replace(b"second", b"sec0nd"))
    again = Received(opened(tmp_path))
    assert again.answers(SECOND) == []


def test_failures_are_forgotten_and_pictures_stay(tmp_path: Path) -> None:
    received = Received(opened(tmp_path))
    received.put(received.ask([FIRST, SECOND]), [FIRST, SECOND], [Answer("file", b"one"), REFUSED])
    received.put(received.ask([OTHER]), [OTHER], [REFUSED])
    received.close()
    forget_failures(opened(tmp_path), [0])
    again = Received(opened(tmp_path))
    assert again.answers(FIRST) == [Answer("file", b"one")]
    assert again.answers(SECOND) == []
    assert again.answers(OTHER) == [REFUSED]


def test_nothing_is_asked_for_without_money_and_refusals_cost_none() -> None:
    received = Received(None, Spending(Decimal("0.1"), Decimal("0.3")))
    for _ in range(5):
        received.put(received.ask([FIRST]), [FIRST], [REFUSED])
    for _ in range(3):  # ten times 0.1 is 1.0 here
        received.put(received.ask([FIRST]), [FIRST], [Answer("file", b"one")])
    with pytest.raises(StoppedError, match=r"0\.3 of max-cost=0\.3 is spent"):
        received.ask([FIRST])


def test_what_was_asked_for_before_a_kill_counts_for_the_limit(tmp_path: Path) -> None:
    received = Received(opened(tmp_path), Spending(Decimal("0.1"), Decimal(1)))
    received.put(received.ask([FIRST]), [FIRST], [Answer("file", b"one")])
    received.ask([SECOND, OTHER])  # and then it is killed
    spent = count_spent(opened(tmp_path).records)
    assert spent == Spent(1, 2, Decimal("0.1"), Decimal("0.2"))
    assert Spent.from_dict(spent.as_dict()) == spent
    with pytest.raises(StoppedError):
        Spending(Decimal("0.1"), Decimal("0.35"), spent).reserve(1)
    Spending(Decimal("0.1"), Decimal("0.4"), spent).reserve(1)


def test_nothing_is_written_after_the_end(tmp_path: Path) -> None:
    received = Received(opened(tmp_path))
    received.close()
    with pytest.raises(StoppedError):
        received.put("1", [FIRST], [REFUSED])
