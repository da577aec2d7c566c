"""Workers on this machine: one process a core, or one for a GPU, each with its own source."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, cast

from memcore.audit.source import identity_of, make_source
from memcore.engine.scheduler import Event, classify, do_shard
from memcore.errors import MemcoreError
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder, Shard
from memcore.system.credentials import redact

#: Seconds that an interrupted worker has to write its checkpoint.
GRACE_SECONDS = 10.0
#: Seconds between two words of progress of a worker.
PROGRESS_SECONDS = 0.5


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LocalPool:
    """Processes, each at the other end of a pipe of its own.

    A shared queue would not do: a process killed while it holds the queue's lock stops all the others.
    """

    def __init__(self, config: Config, threads: int | None) -> None:
        self._config = config
        self._threads = threads
        self._context = multiprocessing.get_context("spawn")
        self._numbers = itertools.count()
        self._workers: dict[int, tuple[BaseProcess, Connection]] = {}
        self._ended: set[int] = set()

    def start(self) -> None:
        number = next(self._numbers)
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work,
            args=(theirs, self._config, self._threads, os.getpid()),
            daemon=True,
            name=f"memcore-{number}",
        )
        process.start()
        theirs.close()  # so that the pipe ends when the worker does
        self._workers[number] = (process, ours)

    def give(self, worker: int, place: str, shard: Shard, checkpoint_seconds: float) -> None:
        with contextlib.suppress(OSError):  # a worker that has died is found by events()
            self._workers[worker][1].send((place, shard, checkpoint_seconds))

    def events(self) -> list[Event]:
        numbers = {connection: number for number, (_, connection) in self._workers.items()}
        events = []
        for connection in cast("list[Connection]", wait(list(numbers), timeout=1.0)):
            number = numbers[connection]
            try:
                kind, value = connection.recv()
            except (EOFError, OSError):
                process, _ = self._workers.pop(number)
                process.join(GRACE_SECONDS)
                connection.close()
                if number not in self._ended:
                    events.append(Event(number, "died", _cause(process)))
            else:
                events.append(Event(number, kind, value))
        return events

    def end(self, worker: int) -> None:
        self._ended.add(worker)
        with contextlib.suppress(OSError):
            self._workers[worker][1].send(None)

    def close(self) -> None:
        processes = [process for process, _ in self._workers.values()]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        for _, connection in self._workers.values():
            connection.close()
        self._workers.clear()


def _cause(process: BaseProcess) -> str:
    code = process.exitcode
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return f"was ended by {name}{hint}"
    return f"ended with exit code {code}"


class _Stop(BaseException):
    """The launcher wants this worker to write its checkpoint and go."""


def _stop(number: int, frame: Any) -> None:
    raise _Stop


def _work(connection: Connection, config: Config, threads: int | None, launcher: int) -> None:
    """One process: it lives until there is nothing left to do, its launcher wants it to stop, or has gone."""
    # Ctrl-C reaches the whole group; the launcher ends its workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _leave_with(launcher)
    try:
        signal.signal(signal.SIGTERM, _stop)
        _do_shards(connection, config, threads)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # here, for nobody catches a _Stop further out
    except (_Stop, EOFError, ConnectionError):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _do_shards(connection: Connection, config: Config, threads: int | None) -> None:
    """Makes the source once, then does the shards that are given until there are none."""
    try:
        source = make_source(config, threads)
    except Exception as error:
        kind, text = classify(error)
        if kind == "failed":
            kind, text = "load", redact(str(error)) if isinstance(error, MemcoreError) else text
        connection.send((kind, text))
        return
    connection.send(("ready", identity_of(source)))
    folder: RunFolder | None = None
    while (given := connection.recv()) is not None:
        place, shard, checkpoint_seconds = given
        folder = folder or RunFolder.open(place)
        try:
            with _throttled(connection) as tell:
                done = do_shard(folder, shard, source, threads, tell, checkpoint_seconds)
        except Exception as error:
            connection.send(classify(error))
        else:
            connection.send(("done", done))


@contextlib.contextmanager
def _throttled(connection: Connection) -> Iterator[Any]:
    """A counter that speaks now and then: a cheap sampler would fill the pipe."""
    count, last = 0, time.monotonic()

    def tell(more: int) -> None:
        nonlocal count, last
        count += more
        if time.monotonic() - last >= PROGRESS_SECONDS:
            connection.send(("progress", count))
            count, last = 0, time.monotonic()

    yield tell
    connection.send(("progress", count))


def _leave_with(launcher: int) -> None:
    """A worker must not outlive a launcher that was killed with SIGKILL: it would go on writing into the run."""
    with contextlib.suppress(OSError, AttributeError):
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != launcher:  # it was killed before the system was asked
            os._exit(1)
