"""Workers on a Ray cluster: actors that get a task's id, and answer with counts. No image travels."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from typing import Any, Generic

from memcore.engine.launchers.base import Event, Pool, Resources
from memcore.engine.launchers.local import GRACE_SECONDS
from memcore.engine.task import F, Progressed, Work
from memcore.engine.worker import Kind, Worker
from memcore.errors import MissingExtraError, RunError
from memcore.system.credentials import redact


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

    def events(self) -> list[Event]:
        """Return what was reported since."""
        if not self._waiting:
            return []
        ready, _ = self._ray.wait(list(self._waiting), num_returns=1, timeout=1.0)
        events = []
        for future in ready:
            number = self._waiting.pop(future)
            try:
                progress, kind, value = self._ray.get(future)
            except self._ray.exceptions.RayActorError as error:
                self._actors.pop(number)
                events.append(Event(number, "died", f"was lost: {redact(str(error))}"))
            else:
                events += [Event(number, "progress", progress)] if any(progress) else []
                events.append(Event(number, kind, value))
        return events

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
        self._actors.clear()
        self._waiting.clear()
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

    def prepare(self) -> tuple[Progressed, Kind, Any]:
        """Prepare the work, once."""
        return Progressed(), *self._worker.prepare()

    def do(self, folder: F | None, task: str, checkpoint_seconds: float) -> tuple[Progressed, Kind, Any]:
        """Do one task, in this process."""
        total = Progressed()

        def on_progress(done: int = 0, /, *, kept: int = 0, spared: int = 0) -> None:
            nonlocal total
            total = total.plus(Progressed(done, kept, spared))
            if self._stopped.is_set():
                raise _Stop

        try:
            kind, value = self._worker.do(folder, task, on_progress, checkpoint_seconds)
        except _Stop:
            return Progressed(), "failed", "stopped"
        return (total if kind == "done" else Progressed()), kind, value

    def stop(self) -> None:
        """Stop at the next report of progress. Called from the actor's second thread."""
        self._stopped.set()
