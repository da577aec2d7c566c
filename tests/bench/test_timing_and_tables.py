"""The benchmarks' times and tables: pairs of the same work, our own seconds, and what a target says of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest

import memcore
from memcore import bench
from memcore.bench import knn, rows, timing


def test_ratios_are_of_pairs() -> None:
    pairs = timing.Pairs([1.0, 10.0, 1.0], [3.0, 20.0, 4.0])
    assert pairs.times_faster == (3.0, 2.0, 4.0)
    assert pairs.times_the_time == pytest.approx((1 / 3, 1 / 4, 1 / 2))


def test_both_sides_are_called_in_turn() -> None:
    order: list[str] = []
    pairs = timing.in_turn(lambda: order.append("a"), lambda: order.append("b"), 4)
    assert len(pairs.ours_s) == len(pairs.other_s) == 4
    assert {"a", "b"} == set(order)


def test_a_budget_ends_the_rounds_but_never_before_three() -> None:
    spent = timing.in_turn(lambda: None, lambda: None, 9, budget_s=0.0)
    assert len(spent.ours_s) == len(spent.other_s) == timing.LEAST_ROUNDS == 3


def test_each_row_is_told_when_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def two(quick: bool) -> Iterator[rows.Row]:
        for name in ("one", "other"):
            yield rows.Row("knn", "work", name)
            assert told[-1] == f"knn: work: {name}"  # before the next is measured

    monkeypatch.setattr(knn, "run", two)
    results = bench.run_all(True, parts=["knn"], progress=told.append)
    assert [result["name"] for result in results[1:]] == ["one", "other"]
    assert len(told) == 2


@pytest.mark.parametrize(
    ("wall", "busy", "seconds", "samples"),
    [
        ([0.0, 0.2, 1.0, 1.1], [0.0, 0.1, 1.0, 1.1], 0.1, 2),  # disturbed, then clean
        ([0.0, 0.1], [0.0, 0.2], 0.1, 1),  # two threads
        ([0.0, 5.0], [0.0, 4.0], 4.0, 1),  # too long to be taken again
    ],
)
def test_seconds_are_ours_alone(
    wall: list[float], busy: list[float], seconds: float, samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    walls, busies = iter(wall), iter(busy)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(walls))
    monkeypatch.setattr(timing.time, "process_time", lambda: next(busies))
    assert timing.measure(lambda: calls.append(1)) == pytest.approx(seconds)
    assert len(calls) == samples


def test_a_rate_by_the_wall_clock_is_corrected(monkeypatch: pytest.MonkeyPatch) -> None:
    walls, busies = iter([0.0, 2.0]), iter([0.0, 1.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(walls))
    monkeypatch.setattr(timing.time, "process_time", lambda: next(busies))
    assert timing.measured_rate(lambda: 100.0) == pytest.approx(200.0)


def row(**changes: Any) -> dict[str, Any]:
    whole = rows.Row(
        "dense",
        "4 images",
        "numkong",
        "avx2",
        value=timing.Spread(2.4, 2.1, 2.6),
        ours_s=timing.Spread(0.5, 0.4, 0.6),
        other_s=timing.Spread(1.2, 1.1, 1.3),
        rounds=3,
        largest_error=0.0,
        target=rows.Target("dense against numkong", ">=", 2.2),
    )
    return dataclasses.replace(whole, **changes).as_dict()


def test_a_table_is_aligned_and_says_what_holds() -> None:
    missed = row(name="a peer with a long name", value=timing.Spread(1.9, 1.0, 2.0), largest_error=7e-4)
    lines = bench.table([row(), missed, row(work="others", value=None, note="> 10 s")])
    assert lines[1] == "dense: 4 images [avx2]"
    assert lines[2].split()[:5] == ["against", "memcore", "ms", "other", "ms"]
    head = lines[2].index("(lowest-highest)")
    assert lines[3].index("(2.10-2.60)") == lines[4].index("(1.00-2.00)") == head
    assert lines[3].split()[:4] == ["numkong", "500", "1200", "2.40"]
    assert lines[3].endswith("exact")
    assert lines[4].endswith("7e-04")
    assert lines[7] == "  numkong: > 10 s"
    assert lines[-4:] == [
        "targets: 1 of 3 hold on this machine",
        "  dense against numkong: target >= 2.2: 2.40 holds",
        "  dense against numkong: target >= 2.2: 1.90 missed",
        "  dense against numkong: target >= 2.2: not measured (> 10 s)",
    ]


def test_a_bound_holds_or_stays_open_but_is_never_missed() -> None:
    lines = bench.table([row(at_least=True), row(at_least=True, value=timing.Spread(1.0, 1.0, 1.0))])
    assert lines[-2].endswith("at least 2.40 holds")
    assert lines[-1].endswith("at least 1.00, open")


def test_results_are_plain_json() -> None:
    from memcore.bench import machine

    results = [machine.describe(quick=True), row()]
    assert json.loads(json.dumps(results)) == results
    first = bench.table(results)[0]
    assert memcore.isa.active() in first
    assert memcore.__version__ in first


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1234"), (12.34, "12.3"), (1.234, "1.23"), (0.951, "0.95"), (0.0123, "0.012")],
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert rows.figure(value) == text
