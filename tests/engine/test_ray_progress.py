"""On Ray a launcher hears of a task's progress while it is done, so that others can see how far a run is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from memcore.engine.launchers.base import Event, Resources
from memcore.engine.launchers.ray import RayPool
from memcore.engine.task import Counts, Identity, OnProgress, Progressed
from memcore.storage.local import LocalStorage
from tests.support.toy_job import SquareFolder

pytest.importorskip("ray", reason="the extra ray is not installed")


class GatedWork:
    """A task of five units: the last three wait until a file is there."""

    def __init__(self, gate: Path) -> None:
        self.gate = gate

    def prepare(self, threads: int | None) -> Identity:
        return Identity("gated", {})

    def run(
        self, folder: SquareFolder, task: str, on_progress: OnProgress, checkpoint_seconds: float
    ) -> Counts:
        on_progress(kept=1)
        on_progress(1)
        while not self.gate.exists():
            on_progress(0)
            time.sleep(0.01)
        on_progress(3)
        if task == "bad":
            raise ValueError("no")
        return Counts(5)


def following(pool: RayPool[SquareFolder]) -> Iterator[Event]:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        yield from pool.events()
    raise AssertionError("Ray did not answer")


def test_progress_arrives_before_the_task_is_done(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    pool: RayPool[SquareFolder] = RayPool(GatedWork(gate), Resources(threads=1))
    try:
        pool.start()
        events = following(pool)
        (worker,) = {event.worker for event in [next(events)] if event.kind == "ready"}
        told = Progressed()
        pool.assign(worker, SquareFolder(LocalStorage(tmp_path)), "good", 60.0)
        while told != Progressed(1, 1, 0):
            event = next(events)
            assert event.kind == "progress"
            told = told.plus(event.value)
        gate.touch()
        while (event := next(events)).kind == "progress":
            told = told.plus(event.value)
        assert (event.kind, event.value) == ("done", Counts(5))
        assert told == Progressed(4, 1, 0), "each unit is counted once"
        pool.assign(worker, SquareFolder(LocalStorage(tmp_path)), "bad", 60.0)
        while (event := next(events)).kind == "progress":
            pass
        assert event.kind == "failed"
        assert "ValueError: no" in event.value
    finally:
        pool.close()
