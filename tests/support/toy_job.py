"""A job that squares numbers: a user of the engine that has nothing to do with audits.

Run as a program it does the job in a folder, which may be killed and run again:

    python -m tests.support.toy_job FOLDER --workers 2 --fail 13
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from memcore.engine.launchers import make_pool
from memcore.engine.launchers.base import Resources
from memcore.engine.scheduler import run_here, run_pool
from memcore.engine.task import (
    CHECKPOINTS,
    Counts,
    Identity,
    OnProgress,
    Progressed,
    sign_manifest,
    tidy,
    write_manifest,
)
from memcore.errors import ConfigError, MemcoreError
from memcore.storage.base import Storage
from memcore.storage.open import open_storage

#: Numbers a task.
STEP = 5
#: What a process that runs the engine must not have loaded.
FOREIGN = ("memcore.audit", "memcore.runs", "memcore.images", "memcore.sources", "memcore.sampling", "torch")


def foreign_modules() -> list[str]:
    """Return the modules of this process that a scheduler of tasks has no use for."""
    return [
        name for name in sys.modules if name in FOREIGN or name.startswith(tuple(f"{f}." for f in FOREIGN))
    ]


class SquareFolder:
    """The folder of the squares: squares/TASK.json."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage


class SquareWork:
    """Square the numbers of a task, and write a checkpoint from time to time.

    With ``alone`` it refuses to run in a process that has loaded something foreign.
    """

    def __init__(self, fail: Sequence[int] = (), seconds: float = 0.0, *, alone: bool = False) -> None:
        self.fail = fail
        self.seconds = seconds
        self.alone = alone

    def prepare(self, threads: int | None) -> Identity:
        return Identity("squares-1", {"kind": "squares"})

    def run(
        self, folder: SquareFolder, task: str, on_progress: OnProgress, checkpoint_seconds: float
    ) -> Counts:
        if self.alone and (foreign := foreign_modules()):
            raise ConfigError(f"a worker has loaded {foreign[0]}")
        started = saved = time.time()
        checkpoint = f"{CHECKPOINTS}/{task}.json"
        squares: list[int] = (
            json.loads(folder.storage.read(checkpoint)) if folder.storage.exists(checkpoint) else []
        )
        resumed = len(squares)
        on_progress(kept=resumed)
        for number in numbers(task)[resumed:]:
            if number in self.fail:
                raise ArithmeticError(f"cannot square {number}")
            if number in [-n for n in self.fail]:
                os._exit(7)
            time.sleep(self.seconds)
            squares.append(number * number)
            on_progress(1)
            if time.time() - saved >= checkpoint_seconds:
                folder.storage.write(checkpoint, json.dumps(squares).encode())
                saved = time.time()
        folder.storage.write(f"squares/{task}.json", json.dumps(squares).encode())
        about = {"numbers": len(squares), "resumed": resumed, **sign_manifest(started)}
        write_manifest(folder.storage, task, about)
        folder.storage.remove(checkpoint)
        return Counts(len(squares))


class SquareJob:
    """A job that squares the numbers below ``count``."""

    noun = "task"

    def __init__(self, place: str | Path, count: int, work: SquareWork) -> None:
        self.place = place
        self.count = count
        self.work = work
        self.progress = 0

    def open(self, identity: Identity) -> SquareFolder:
        folder = SquareFolder(open_storage(self.place))
        folder.storage.write_new("job.json", json.dumps(dict(identity.describe)).encode())
        folder.storage.clean()
        return folder

    def tasks(self, folder: SquareFolder) -> list[str]:
        return [f"from-{first:04d}" for first in range(0, self.count, STEP)]

    def give_up(self, folder: SquareFolder, task: str, reason: str, detail: str) -> None:
        about = {
            "numbers": 0,
            "reason": reason,
            "detail": detail,
            **sign_manifest(time.time(), given_up=True),
        }
        write_manifest(folder.storage, task, about)

    def forget(self, folder: SquareFolder, task: str) -> None:
        folder.storage.remove(f"manifest/{task}.json")

    def on_progress(self, progressed: Progressed) -> None:
        self.progress += progressed.done + progressed.kept


def numbers(task: str) -> range:
    """Return the numbers of a task."""
    first = int(task.partition("-")[2])
    return range(first, first + STEP)


def main() -> int:
    """Do the job in a folder; print its progress and the foreign modules of this process as JSON."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("place")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--launcher", default="local")
    parser.add_argument("--workers", type=int, default=0, help="0: in this process")
    parser.add_argument("--part", default="1/1")
    parser.add_argument("--fail", type=int, action="append", default=[], help="negative: its worker dies")
    parser.add_argument("--seconds", type=float, default=0.0)
    given = parser.parse_args()
    k, n = (int(word) for word in given.part.split("/"))
    job = SquareJob(given.place, given.count, SquareWork(given.fail, given.seconds, alone=True))
    try:
        with open_storage(given.place).lock((k, n)):
            if given.workers:
                pool = make_pool(given.launcher, job.work, Resources(threads=1))
                folder = run_pool(job, pool, given.workers, (k, n))
            else:
                folder = run_here(job, part=(k, n))
        tidy(folder.storage)
    except MemcoreError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps({"progress": job.progress, "foreign": foreign_modules()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
