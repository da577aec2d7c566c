"""A pool of one worker in the test's own process: a command does in it what its processes do, without starting any."""

from __future__ import annotations

from typing import Generic

from memcore.engine.launchers.base import Event, Pool, Resources
from memcore.engine.task import F, Work, ignore_progress
from memcore.engine.worker import Worker


def make_pool(name: str, work: Work[F], resources: Resources) -> Pool[F]:
    """Return the pool, whatever launcher is asked for."""
    return InlinePool(work, resources.threads)


class InlinePool(Generic[F]):
    """Events are made when they are asked for; a task runs when it is assigned."""

    def __init__(self, work: Work[F], threads: int | None) -> None:
        self._worker: Worker[F] = Worker(work, threads)
        self._events: list[Event] = []

    def start(self) -> None:
        self._events.append(Event(0, *self._worker.prepare()))

    def assign(self, worker: int, folder: F, task: str, checkpoint_seconds: float) -> None:
        self._events.append(
            Event(worker, *self._worker.do(folder, task, ignore_progress, checkpoint_seconds))
        )

    def events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def end(self, worker: int) -> None:
        pass

    def close(self) -> None:
        pass
