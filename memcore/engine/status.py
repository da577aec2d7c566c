"""How far a job is, from its folder alone: on any machine that sees it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from memcore.engine.task import CHECKPOINTS, finished, read_manifest
from memcore.storage.base import Storage

#: Tasks that the rate is taken from: the last ones, since a job may have been slower or faster before.
RECENT = 64


@dataclasses.dataclass(frozen=True)
class Status:
    """A job's progress. ``checkpointed`` counts the unfinished tasks of which something is kept.

    ``busy_seconds`` is the time in which at least one of the last 64 tasks was at work, so that pauses between two commands
    do not count; ``recent`` are the manifests of these. ``silent_seconds`` is the time since the last task was finished,
    by this machine's clock, and None while none is.
    """

    tasks: int
    done: int
    given_up: int
    checkpointed: int
    busy_seconds: float
    recent: Sequence[Mapping[str, Any]]
    silent_seconds: float | None

    def rate(self, name: str | None = None) -> float | None:
        """Return the recent tasks a second, or the sum of the manifests' entry ``name`` a second; None while unknown."""
        if self.busy_seconds <= 0:
            return None
        return sum(1 if name is None else int(m[name]) for m in self.recent) / self.busy_seconds

    def seconds_left(self, left: float, name: str | None = None) -> float | None:
        """Return the seconds that ``left`` tasks, or units of the entry ``name``, take at the recent rate."""
        if not left:
            return 0.0
        rate = self.rate(name)
        return left / rate if rate else None


def status(
    storage: Storage,
    tasks: int,
    manifests: Sequence[Mapping[str, Any]] | None = None,
    now: float | None = None,
) -> Status:
    """Return how far a job of ``tasks`` tasks is; its manifests are read unless they are given."""
    if manifests is None:
        manifests = [read_manifest(storage, task) for task in finished(storage)]
    timed = sorted(
        (m for m in manifests if "started" in m and "finished" in m), key=lambda m: float(m["finished"])
    )
    recent = timed[-RECENT:]
    return Status(
        tasks=tasks,
        done=len(manifests),
        given_up=sum(bool(m.get("given_up")) for m in manifests),
        checkpointed=len({name.partition(".")[0] for name in storage.names(CHECKPOINTS)}),
        busy_seconds=_busy_seconds(recent),
        recent=recent,
        silent_seconds=max(0.0, (now or time.time()) - float(timed[-1]["finished"])) if timed else None,
    )


def _busy_seconds(manifests: Sequence[Mapping[str, Any]]) -> float:
    """Return the length of the union of the tasks' times."""
    busy, until = 0.0, 0.0
    for start, end in sorted((float(m["started"]), float(m["finished"])) for m in manifests):
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return busy
