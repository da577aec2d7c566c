"""Who is at work on a job: a note in the lock that a launcher holds, which whoever sees the folder can read."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import time
from collections.abc import Mapping

from memcore.storage.base import Holder, Lock, Storage
from memcore.system.parsing import parse_json

#: Seconds between two notes at least; a launcher at work writes one at least that often.
NOTE_SECONDS = 2.0
#: Seconds after which the launcher of another machine counts as gone, whose lock cannot be seen.
GONE_SECONDS = 120.0


class Presence:
    """The note of this process in the lock that it holds."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._started = self._moved = time.time()
        self._written = 0.0
        self._done = 0
        self.update({}, 0)

    def update(self, units: Mapping[str, int], done: int) -> None:
        """Note the units that are done of each task at work, and that ``done`` units more were done by this process."""
        now = time.time()
        self._done += done
        if done:
            self._moved = now
        if 0 <= now - self._written < NOTE_SECONDS:
            return
        self._written = now
        note = {
            "host": socket.gethostname(),
            "process": os.getpid(),
            "started": round(self._started, 3),
            "written": round(now, 3),
            "moved": round(self._moved, 3),
            "done": self._done,
            "tasks": dict(units),
        }
        self._lock.note(json.dumps(note).encode())


@dataclasses.dataclass(frozen=True)
class Present:
    """A launcher, by its note: where it is or was, and when (seconds since 1970).

    ``tasks`` are the units done of each of its unfinished tasks, ``done`` those that it did in all, the last one at
    ``moved``. ``alive``: it is at work now.
    """

    host: str
    process: int
    started: float
    written: float
    moved: float
    done: int
    tasks: Mapping[str, int]
    alive: bool


def read_presence(storage: Storage, now: float | None = None) -> list[Present]:
    """Return the launchers that left a note, those at work first, then the last one that wrote.

    A launcher of this machine is at work if it holds its lock. Of another machine's the lock may not be seen: it is at
    work if it wrote within two minutes, by this machine's clock.
    """
    now = time.time() if now is None else now
    found = [p for holder in storage.holders() if (p := _parse(holder, now)) is not None]
    return sorted(found, key=lambda p: (p.alive, p.written), reverse=True)


def _parse(holder: Holder, now: float) -> Present | None:
    """Return what a note says; None for one that is being written in this moment, or by something else."""
    try:
        note = parse_json(holder.note)
        host, written = str(note["host"]), float(note["written"])
        alive = holder.held or (host != socket.gethostname() and abs(now - written) < GONE_SECONDS)
        tasks = {str(task): int(units) for task, units in dict(note["tasks"]).items()}
        return Present(
            host,
            int(note["process"]),
            float(note["started"]),
            written,
            float(note["moved"]),
            int(note["done"]),
            tasks,
            alive,
        )
    except (ValueError, KeyError, TypeError):
        return None
