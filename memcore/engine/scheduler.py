"""Who does which task, and what happens when it fails: the same rules for every launcher."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

from memcore.engine.circuit_breaker import CircuitBreaker
from memcore.engine.launchers.base import Event, Pool
from memcore.engine.presence import Presence
from memcore.engine.task import CHECKPOINT_SECONDS, Counts, F, Identity, Job, Progressed, select_pending
from memcore.engine.worker import Kind, classify
from memcore.errors import ConfigError, OutageError, StoppedError, StoreError, WorkerError
from memcore.storage.base import Part

#: Times that a task is tried before it is given up.
ATTEMPTS = 3

T = TypeVar("T")


def select_part(tasks: Sequence[T], part: Part | None) -> list[T]:
    """Return the k-th of n parts of the tasks, k from 1; all of them without ``part``.

    >>> select_part("abcdefg", (2, 3))
    ['b', 'e']
    """
    if part is None:
        return list(tasks)
    k, n = part
    return [task for position, task in enumerate(tasks) if position % n == k - 1]


def list_pending(job: Job[F], folder: F, part: Part | None = None) -> list[str]:
    """Return the tasks of the part that are not done."""
    return select_pending(folder.storage, select_part(job.tasks(folder), part))


def run_here(
    job: Job[F], *, part: Part | None = None, threads: int | None = None, presence: Presence | None = None
) -> F:
    """Do the job's tasks one after the other in this process, and return its folder; ``presence`` is told of it."""
    work = job.work
    folder = job.open(work.prepare(threads))
    breaker = CircuitBreaker(job, folder)
    for task in list_pending(job, folder, part):
        for attempt in range(1, ATTEMPTS + 1):
            tried = _Try(job, task, presence)
            try:
                counts = work.run(folder, task, tried.on_progress, _interval(attempt))
            except Exception as error:
                kind, text = classify(error)
                if kind == "usage":
                    raise
                if kind == "outage":
                    breaker.on_outage()
                stop_for(kind, text)
                job.on_progress(tried.total.taken_back())
                breaker.on_failure(task, text)
                if attempt == ATTEMPTS:
                    job.give_up(folder, task, "error", text)
            else:
                breaker.on_done(task, counts)
                break
    return folder


class _Try(Generic[F]):
    """The progress of a try at a task in this process."""

    def __init__(self, job: Job[F], task: str, presence: Presence | None) -> None:
        self.total = Progressed()
        self._job, self._task, self._presence = job, task, presence

    def on_progress(self, done: int = 0, /, *, kept: int = 0, spared: int = 0) -> None:
        progressed = Progressed(done, kept, spared)
        self.total = self.total.plus(progressed)
        self._job.on_progress(progressed)
        if self._presence is not None:
            self._presence.update({self._task: self.total.done + self.total.kept}, done)


def run_pool(
    job: Job[F], pool: Pool[F], workers: int, part: Part | None = None, presence: Presence | None = None
) -> F:
    """Start ``workers``, open the folder with the identity of the first one that is ready, and have all tasks done.

    ``presence`` is told who is at work on what.

    A worker that dies is replaced. A task that fails, or whose worker dies, is tried again, three times in all; then it
    is given up with its traceback, and the others continue. ConfigError, StoreError and WorkerError end the job: wrong use,
    a store that cannot be written, workers that die before they can do anything, tasks that fail one after the other, and
    a sampler that does not answer (TransientError).
    """
    try:
        return _Schedule(job, pool, part, presence).run(workers)
    finally:
        pool.close()


def stop_for(kind: Kind, text: str) -> None:
    """Raise what ends the job, if it is to end."""
    if kind == "usage":
        raise ConfigError(text)
    if kind == "store":
        raise StoreError(text)
    if kind == "load":
        raise WorkerError(f"a worker could not load what it samples from: {text}")
    if kind == "stopped":
        raise StoppedError(text)
    if kind == "outage":
        raise OutageError(
            f"the sampler does not answer: {text}\nWhat is finished is kept and nothing is counted as failed. Once it "
            "answers, give the same command again: it resumes the run"
        )


class _Schedule(Generic[F]):
    def __init__(self, job: Job[F], pool: Pool[F], part: Part | None, presence: Presence | None) -> None:
        self.job = job
        self.presence = presence
        self.pool = pool
        self.part = part
        self.folder: F | None = None
        self.breaker: CircuitBreaker[F] | None = None
        self.identity: Identity | None = None
        self.pending: deque[str] = deque()
        self.attempts: dict[str, int] = {}
        self.busy: dict[int, str] = {}
        #: What each worker reported of the task that it is at.
        self.progress: dict[int, Progressed] = {}
        self.ready: list[int] = []
        self.starting = 0
        self.early_deaths = 0

    def run(self, workers: int) -> F:
        for _ in range(workers):
            self._start()
        while True:
            done = sum(self._on_event(event) for event in self.pool.events())
            if self.presence is not None:
                self.presence.update({task: self._made(worker) for worker, task in self.busy.items()}, done)
            if self.folder is None:
                if not self.starting:
                    self._start()
                continue
            while self.ready and self.pending:
                self._assign(self.ready.pop(), self.folder)
            if not self.pending and not self.busy:
                return self.folder
            while self.ready:
                self.pool.end(self.ready.pop())
            for _ in range(min(workers - len(self.busy), len(self.pending)) - self.starting):
                self._start()

    def _start(self) -> None:
        self.starting += 1
        self.pool.start()

    def _assign(self, worker: int, folder: F) -> None:
        task = self.pending.popleft()
        attempt = self.attempts.get(task, 0) + 1
        self.attempts[task] = attempt
        self.busy[worker], self.progress[worker] = task, Progressed()
        self.pool.assign(worker, folder, task, _interval(attempt))

    def _made(self, worker: int) -> int:
        """Return the units of a worker's task that are done."""
        progress = self.progress[worker]
        return progress.done + progress.kept

    def _on_event(self, event: Event) -> int:
        """Act on an event, and return how many units were done since the last one of its worker."""
        if event.kind == "ready":
            self._on_ready(event.worker, event.value)
        elif event.kind == "progress":
            progressed: Progressed = event.value
            self.progress[event.worker] = self.progress.get(event.worker, Progressed()).plus(progressed)
            self.job.on_progress(progressed)
            return progressed.done
        elif event.kind == "done":
            self._on_done(event.worker, event.value)
        elif event.kind == "failed":
            self._on_failure(event.worker, "error", str(event.value))
            self.ready.append(event.worker)
        elif event.kind == "died":
            self._on_death(event.worker, str(event.value))
        else:
            if event.kind == "outage" and self.breaker is not None:
                self.breaker.on_outage()
            stop_for(event.kind, str(event.value))
        return 0

    def _on_ready(self, worker: int, identity: Identity) -> None:
        self.starting -= 1
        self.early_deaths = 0
        if self.folder is None:
            self.folder = self.job.open(identity)
            self.breaker = CircuitBreaker(self.job, self.folder)
            self.identity = identity
            self.pending.extend(list_pending(self.job, self.folder, self.part))
        elif self.identity is not None and identity.fingerprint != self.identity.fingerprint:
            raise ConfigError(
                f"a worker would make other results than the first one: it is {dict(identity.describe)}, "
                f"the first one {dict(self.identity.describe)}"
            )
        self.ready.append(worker)

    def _on_done(self, worker: int, counts: Counts) -> None:
        assert self.breaker is not None
        self.breaker.on_done(self.busy.pop(worker), counts)
        self.ready.append(worker)

    def _on_death(self, worker: int, cause: str) -> None:
        if worker in self.busy:
            self._on_failure(worker, "crash", f"the worker that did this {self.job.noun} {cause}")
        elif worker in self.ready:
            self.ready.remove(worker)
        else:
            self.starting -= 1
            self.early_deaths += 1
            if self.early_deaths >= ATTEMPTS:
                raise WorkerError(f"{ATTEMPTS} workers could not start; the last one {cause}")

    def _on_failure(self, worker: int, reason: str, text: str) -> None:
        assert self.folder is not None
        assert self.breaker is not None
        task = self.busy.pop(worker)
        self.job.on_progress(self.progress.pop(worker).taken_back())
        self.breaker.on_failure(task, text)
        if self.attempts[task] < ATTEMPTS:
            self.pending.append(task)  # last, so that one bad task does not hold up the others
        else:
            self.job.give_up(self.folder, task, reason, text)


def _interval(attempt: int) -> float:
    """Return the seconds between checkpoints: after a failure each finished item is kept, so that little is lost."""
    return CHECKPOINT_SECONDS if attempt == 1 else 0.0
