"""Workers on a Ray cluster: actors that get a task's id, and answer with counts. No image travels."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from typing import Any, Generic

from memcore.engine.launchers.base import Event, Pool, Resources
from memcore.engine.launchers.local import GRACE_SECONDS
from memcore.engine.task import F, Progressed, Work
from memcore.engine.worker import Kind, Worker
from memcore.errors import MissingExtraError, RunError
from memcore.system.credentials import redact

#: Seconds between two reports of an actor's progress.
REPORT_SECONDS = 1.0


def make_pool(work: Work[F], resources: Resources) -> Pool[F]:
    """Make a pool of actors."""
    return RayPool(work, resources)


class RayPool(Generic[F]):
    """One actor a worker, each prepared for itself. The job's folder must be one that every node sees.

    ``address`` names a cluster (``auto``, ``host:port``, ``ray://host:port``); without one a cluster is started on this
    machine and ended with the job. Each actor asks for ``threads`` processors and ``gpus`` GPUs.
    """

    def __init__(self, work: Work[F], resources: Resources) -> None:
        try:
            import ray
        except ImportError:
            raise MissingExtraError("ray", "ray", "--launcher ray") from None
        self._ray = ray
        self._work = work
        self._threads = resources.threads
        address = resources.address
        options: dict[str, Any] = {"address": address} if address else {"include_dashboard": False}
        self._own = not ray.is_initialized()
        try:
            if self._own:
                ray.init(log_to_driver=False, logging_level="error", **options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise RunError(f"ray_address={address!r} cannot be reached: {error}") from None
        self._actor = ray.remote(
            num_cpus=self._threads or 1, num_gpus=resources.gpus, max_concurrency=2, max_restarts=0
        )(RayWorker)
        self._numbers = itertools.count()
        self._actors: dict[int, Any] = {}
        self._has_folder: set[int] = set()
        self._waiting: dict[Any, int] = {}
        #: Actors that do a task, and the progress that was asked of them and has not arrived.
        self._doing: set[int] = set()
        self._reports: dict[int, Any] = {}
        self._asked = 0.0

    def start(self) -> None:
        """Start one more worker."""
        number = next(self._numbers)
        self._actors[number] = self._actor.remote(self._work, self._threads, os.getcwd())
        self._waiting[self._actors[number].prepare.remote()] = number

    def assign(self, worker: int, folder: F, task: str, checkpoint_seconds: float) -> None:
        """Have a worker that is ready do a task."""
        handed = None if worker in self._has_folder else folder
        self._has_folder.add(worker)
        self._waiting[self._actors[worker].do.remote(handed, task, checkpoint_seconds)] = worker
        self._doing.add(worker)

    def events(self) -> list[Event]:
        """Return what was reported since."""
        if not self._waiting:
            return []
        ready, _ = self._ray.wait(list(self._waiting), num_returns=1, timeout=1.0)
        events = self._arrived()
        self._ask()
        for future in ready:
            number = self._waiting.pop(future)
            self._doing.discard(number)
            if (report := self._reports.pop(number, None)) is not None:  # what was counted before the answer
                events += self._progress(number, report)
            try:
                progress, kind, value = self._ray.get(future)
            except self._ray.exceptions.RayActorError as error:
                self._actors.pop(number)
                events.append(Event(number, "died", f"was lost: {redact(str(error))}"))
            else:
                events += [Event(number, "progress", progress)] if any(progress) else []
                events.append(Event(number, kind, value))
        return events

    def _ask(self) -> None:
        """Ask the actors that do a task how far they are, now and then."""
        if time.monotonic() - self._asked < REPORT_SECONDS:
            return
        self._asked = time.monotonic()
        for number in self._doing - set(self._reports):
            self._reports[number] = self._actors[number].take_progress.remote()

    def _arrived(self) -> list[Event]:
        """Return the progress that actors have reported since, without waiting."""
        if not self._reports:
            return []
        numbers = {report: number for number, report in self._reports.items()}
        ready, _ = self._ray.wait(list(numbers), num_returns=len(numbers), timeout=0)
        return [event for report in ready for event in self._progress(numbers[report], report)]

    def _progress(self, number: int, report: Any) -> list[Event]:
        self._reports.pop(number, None)
        try:
            progress = self._ray.get(report)
        except self._ray.exceptions.RayActorError:
            return []  # the answer to its task will say that it was lost
        return [Event(number, "progress", progress)] if any(progress) else []

    def end(self, worker: int) -> None:
        """Stop an idle worker."""
        self._ray.kill(self._actors.pop(worker))

    def close(self) -> None:
        """Stop all workers, which write checkpoints of unfinished tasks."""
        with contextlib.suppress(Exception):  # a cluster that is gone has nothing to end
            for number in self._waiting.values():
                self._actors[number].stop.remote()
            if self._waiting:
                self._ray.wait(list(self._waiting), num_returns=len(self._waiting), timeout=GRACE_SECONDS)
            for actor in self._actors.values():
                self._ray.kill(actor)
        for held in (self._actors, self._waiting, self._doing, self._reports):
            held.clear()
        if self._own:
            self._ray.shutdown()


class _Stop(BaseException):
    """The launcher wants this worker to write its checkpoint."""


class RayWorker(Generic[F]):
    """The actor. It answers with (progress, kind of event, value)."""

    def __init__(self, work: Work[F], threads: int | None, folder: str) -> None:
        with contextlib.suppress(OSError):
            os.chdir(folder)  # where paths are relative to, if this node has it
        self._worker = Worker(work, threads)
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._total = Progressed()

    def prepare(self) -> tuple[Progressed, Kind, Any]:
        """Prepare the work, once."""
        return Progressed(), *self._worker.prepare()

    def do(self, folder: F | None, task: str, checkpoint_seconds: float) -> tuple[Progressed, Kind, Any]:
        """Do one task, in this process."""
        self.take_progress()

        def on_progress(done: int = 0, /, *, kept: int = 0, spared: int = 0) -> None:
            with self._lock:
                self._total = self._total.plus(Progressed(done, kept, spared))
            if self._stopped.is_set():
                raise _Stop

        try:
            kind, value = self._worker.do(folder, task, on_progress, checkpoint_seconds)
        except _Stop:
            return Progressed(), "failed", "stopped"
        left = self.take_progress()
        return (left if kind == "done" else Progressed()), kind, value

    def take_progress(self) -> Progressed:
        """Return the progress since the last call. Called from the actor's second thread."""
        with self._lock:
            total, self._total = self._total, Progressed()
        return total

    def stop(self) -> None:
        """Stop at the next report of progress. Called from the actor's second thread."""
        self._stopped.set()
