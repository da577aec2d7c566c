"""Workers on a Ray cluster: actors that get a shard's number of prompts, and answer with counts. No image travels."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from typing import Any

from memcore.audit.source import Source, identity_of, make_source
from memcore.engine.launchers.local import GRACE_SECONDS
from memcore.engine.scheduler import Event, classify, do_shard
from memcore.errors import MemcoreError, MissingExtraError, RunError
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder, Shard
from memcore.storage.base import is_url
from memcore.system.credentials import redact


class RayPool:
    """One actor a worker, each with its own source. The run's folder must be one that every node sees.

    ``address`` names a cluster (``auto``, ``host:port``, ``ray://host:port``); without one a cluster is started on this
    machine and ended with the run. Each actor asks for ``threads`` processors, and for a GPU on a CUDA device.
    """

    def __init__(self, config: Config, threads: int | None, address: str | None = None) -> None:
        try:
            import ray
        except ImportError:
            raise MissingExtraError("ray", "ray", "--launcher ray") from None
        self._ray = ray
        self._config = config
        self._threads = threads
        options: dict[str, Any] = {"address": address} if address else {"include_dashboard": False}
        self._own = not ray.is_initialized()
        try:
            if self._own:
                ray.init(log_to_driver=False, logging_level="error", **options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise RunError(f"ray_address={address!r} cannot be reached: {error}") from None
        self._actor = ray.remote(
            num_cpus=threads or 1, num_gpus=int(config.device != "cpu"), max_concurrency=2, max_restarts=0
        )(RayWorker)
        self._numbers = itertools.count()
        self._actors: dict[int, Any] = {}
        self._waiting: dict[Any, int] = {}

    def start(self) -> None:
        number = next(self._numbers)
        self._actors[number] = self._actor.remote(self._config, self._threads, os.getcwd())
        self._waiting[self._actors[number].load.remote()] = number

    def give(self, worker: int, place: str, shard: Shard, checkpoint_seconds: float) -> None:
        place = place if is_url(place) else os.path.abspath(place)
        self._waiting[self._actors[worker].do.remote(place, shard, checkpoint_seconds)] = worker

    def events(self) -> list[Event]:
        if not self._waiting:
            return []
        ready, _ = self._ray.wait(list(self._waiting), num_returns=1, timeout=1.0)
        events = []
        for future in ready:
            number = self._waiting.pop(future)
            try:
                told, kind, value = self._ray.get(future)
            except self._ray.exceptions.RayActorError as error:
                self._actors.pop(number)
                events.append(Event(number, "died", f"was lost: {redact(str(error))}"))
            else:
                events += [Event(number, "progress", told)] if told else []
                events.append(Event(number, kind, value))
        return events

    def end(self, worker: int) -> None:
        self._ray.kill(self._actors.pop(worker))

    def close(self) -> None:
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


class RayWorker:
    """The actor. What it answers is (images done, kind of event, value), so that every error is data."""

    def __init__(self, config: Config, threads: int | None, folder: str) -> None:
        with contextlib.suppress(OSError):
            os.chdir(folder)  # where paths are relative to, if this node has it
        self._config = config
        self._threads = threads
        self._stopped = threading.Event()
        self._source: Source | None = None
        self._run: RunFolder | None = None

    def load(self) -> tuple[int, str, Any]:
        """Makes the source, once."""
        try:
            self._source = make_source(self._config, self._threads)
        except Exception as error:
            kind, text = classify(error)
            if kind == "failed":
                return 0, "load", redact(str(error)) if isinstance(error, MemcoreError) else text
            return 0, kind, text
        return 0, "ready", identity_of(self._source)

    def do(self, place: str, shard: Shard, checkpoint_seconds: float) -> tuple[int, str, Any]:
        """One shard, written by this process."""
        assert self._source is not None
        done = 0

        def tell(count: int) -> None:
            nonlocal done
            done += count
            if self._stopped.is_set():
                raise _Stop

        try:
            self._run = self._run or RunFolder.open(place)
            value = do_shard(self._run, shard, self._source, self._threads, tell, checkpoint_seconds)
        except _Stop:
            return 0, "failed", "stopped"
        except Exception as error:
            return 0, *classify(error)
        return done, "done", value

    def stop(self) -> None:
        """Called from the actor's second thread."""
        self._stopped.set()
