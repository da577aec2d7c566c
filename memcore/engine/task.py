"""What the engine runs: tasks of a job, each an idempotent function of (folder, task id), done when its manifest is there.

A job has two halves. ``Work`` goes to every worker, which may be another process or machine, so that it must be picklable:
it prepares a worker once and then runs tasks. ``Job`` stays with the launcher: it opens the folder, names the tasks, and
gives up those that fail too often. The engine knows of a folder no more than that its storage holds, for each task,

    manifest/TASK.json      the task is done; written last
    partial/TASK.*          a checkpoint of an unfinished task
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypedDict, TypeVar

from memcore.storage.base import Storage
from memcore.system.parsing import parse_json

MANIFESTS = "manifest"
CHECKPOINTS = "partial"
#: Seconds between two checkpoints of a task: what a kill costs at most, apart from what is begun in that moment.
CHECKPOINT_SECONDS = 60.0


class Progressed(NamedTuple):
    """Units of progress: done now, done by an earlier try and kept, and spared, since they are not needed any more."""

    done: int = 0
    kept: int = 0
    spared: int = 0

    def plus(self, other: Progressed) -> Progressed:
        """Return the sum."""
        return Progressed(self.done + other.done, self.kept + other.kept, self.spared + other.spared)

    def taken_back(self) -> Progressed:
        """Return what takes a failed try back: its units are to be done again, but they were done."""
        return Progressed(0, -self.done - self.kept, -self.spared)


class OnProgress(Protocol):
    """Told of progress, in units; ``kept`` and ``spared`` are those of ``Progressed``."""

    def __call__(self, done: int = 0, /, *, kept: int = 0, spared: int = 0) -> None:
        """Count the units."""
        ...


def ignore_progress(done: int = 0, /, *, kept: int = 0, spared: int = 0) -> None:
    """Count nothing."""


@dataclasses.dataclass(frozen=True)
class Identity:
    """What tells one worker's results from another's: a job is only resumed with the fingerprint of its start."""

    fingerprint: str
    describe: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Counts:
    """What a task that was done consists of: its items, how many of them failed, and the last error if all did."""

    items: int
    failed: int = 0
    error: str = ""


class Folder(Protocol):
    """Where a job keeps its files. It is opened once by the launcher and handed, pickled, to every worker."""

    @property
    def storage(self) -> Storage:
        """The place of the files."""
        ...


F = TypeVar("F", bound=Folder)
FolderIn = TypeVar("FolderIn", bound=Folder, contravariant=True)


class Work(Protocol[FolderIn]):
    """The half of a job that runs in workers; picklable until it is prepared."""

    def prepare(self, threads: int | None) -> Identity:
        """Make what all tasks of this worker need, once. ``threads`` is what the worker may use."""
        ...

    def run(self, folder: FolderIn, task: str, on_progress: OnProgress, checkpoint_seconds: float) -> Counts:
        """Do one task and write its files, the manifest last; resume its checkpoint if there is one."""
        ...


class Job(Protocol[F]):
    """The half of a job that stays with the launcher."""

    #: What users call a task, such as "shard".
    noun: str

    @property
    def work(self) -> Work[F]:
        """The half that goes to the workers."""
        ...

    def open(self, identity: Identity) -> F:
        """Start the job's folder or resume it, with what the first worker that is ready says of itself.

        Raises ConfigError if the folder was started with another identity.
        """
        ...

    def tasks(self, folder: F) -> Sequence[str]:
        """Return the ids of all tasks, in order. They name files."""
        ...

    def give_up(self, folder: F, task: str, reason: str, detail: str) -> None:
        """Write a task that failed too often, with its manifest: ``reason`` is a code, ``detail`` a traceback."""
        ...

    def forget(self, folder: F, task: str) -> None:
        """Remove what makes a task count as done, the manifest first, so that it is done again."""
        ...

    def on_progress(self, progressed: Progressed) -> None:
        """Hear of progress; of a failed try it is taken back."""
        ...


def manifest_name(task: str) -> str:
    """Return the name of a task's manifest.

    >>> manifest_name("squares-7")
    'manifest/squares-7.json'
    """
    return f"{MANIFESTS}/{task}.json"


def write_manifest(storage: Storage, task: str, about: Mapping[str, Any]) -> None:
    """Make a task count as done. ``about`` should hold ``started`` and ``finished``, which ``status`` takes rates from."""
    storage.write(manifest_name(task), json.dumps(about, indent=1).encode())


class Signature(TypedDict):
    """The engine's own entries of a manifest."""

    given_up: bool
    started: float
    finished: float
    writer: str


def sign_manifest(started: float, *, given_up: bool = False) -> Signature:
    """Return the engine's entries of a manifest: whether the task was given up, when it was at work, and who wrote it."""
    return {
        "given_up": given_up,
        "started": round(started, 3),
        "finished": round(time.time(), 3),
        "writer": f"{socket.gethostname()}:{os.getpid()}",
    }


def read_manifest(storage: Storage, task: str) -> dict[str, Any]:
    """Return a task's manifest. Raises FileNotFoundError if the task is not done, and ValueError if it is damaged."""
    found = parse_json(storage.read(manifest_name(task)))
    if not isinstance(found, dict):
        raise ValueError(f"{manifest_name(task)} must be a JSON object")
    return found


def finished(storage: Storage) -> list[str]:
    """Return the ids of all tasks with a manifest, sorted, found by one listing."""
    return [name.removesuffix(".json") for name in storage.names(MANIFESTS) if name.endswith(".json")]


def select_pending(storage: Storage, tasks: Sequence[str]) -> list[str]:
    """Return those of the tasks that are not done, in order."""
    done = set(finished(storage))
    return [task for task in tasks if task not in done]


def tidy(storage: Storage) -> None:
    """Remove what killed workers left, and checkpoints of tasks that are done, which a second launcher may have written."""
    storage.clean()
    done = set(finished(storage))
    for name in storage.names(CHECKPOINTS):
        if name.partition(".")[0] in done:
            storage.remove(f"{CHECKPOINTS}/{name}")
