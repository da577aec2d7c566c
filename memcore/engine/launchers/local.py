"""Workers on this machine: one process a core, or one for a GPU, each prepared for itself."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, cast

from memcore.engine.launchers.base import Event, Pool, Resources
from memcore.engine.task import F, OnProgress, Progressed, Work
from memcore.engine.worker import Worker
from memcore.errors import ConfigError
from memcore.system.console import plain_warnings

#: Seconds that an interrupted worker has to write its checkpoint.
GRACE_SECONDS = 10.0
#: Seconds between two reports of progress of a worker.
PROGRESS_SECONDS = 0.5
#: Exit code of a worker that imported a program which starts workers when it is imported.
NO_GUARD = 77
#: The variable by which CUDA is told which GPUs a process may use.
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def check_program() -> None:
    """Refuse to start workers for a program that each of them would start again.

    A worker imports the program's main module. A call that is not under ``if __name__ == "__main__"`` is then made there
    too: such a worker ends at once, silently, and its launcher says why. Raises ConfigError for a program that a worker
    cannot import, since it is read from standard input.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.stdout.flush()
        os._exit(NO_GUARD)
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    imported = file is not None and getattr(main, "__spec__", None) is None and not hasattr(sys, "frozen")
    if imported and not os.path.isfile(str(file)):
        raise ConfigError(
            f"workers are processes that import the program, and cannot import {file}: save the program as a file, or "
            "start memcore from the command line"
        )


def make_pool(work: Work[F], resources: Resources) -> Pool[F]:
    """Make a pool of processes."""
    return LocalPool(work, resources.threads, resources.devices)


class LocalPool(Generic[F]):
    """Processes, each at the other end of a pipe of its own.

    A shared queue would not do: a process killed while it holds the queue's lock stops all the others.
    """

    def __init__(self, work: Work[F], threads: int | None, devices: Sequence[str] = ()) -> None:
        """``devices`` are the GPUs among which the workers are spread; without any, each sees what this process sees."""
        self._work = work
        self._threads = threads
        self._devices = tuple(devices)
        self._device: dict[int, str] = {}
        self._context = multiprocessing.get_context("spawn")
        self._numbers = itertools.count()
        self._workers: dict[int, tuple[BaseProcess, Connection]] = {}
        self._has_folder: set[int] = set()
        self._ended: set[int] = set()

    def start(self) -> None:
        """Start one more worker."""
        number = next(self._numbers)
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work,
            args=(theirs, self._work, self._threads, os.getpid()),
            daemon=True,
            name=f"memcore-{number}",
        )
        device = self._next_device()
        with _signals_held(), _visible(device):
            process.start()
        if device is not None:
            self._device[number] = device
        theirs.close()  # so that the pipe ends when the worker does
        self._workers[number] = (process, ours)

    def _next_device(self) -> str | None:
        """Return the GPU with the fewest workers that live, the first of several; None where workers are not spread."""
        used = [device for number, device in self._device.items() if number in self._workers]
        return min(self._devices, key=used.count, default=None)

    def assign(self, worker: int, folder: F, task: str, checkpoint_seconds: float) -> None:
        """Have a worker that is ready do a task."""
        handed = None if worker in self._has_folder else folder
        self._has_folder.add(worker)
        with contextlib.suppress(OSError):  # a worker that has died is found by events()
            self._workers[worker][1].send((handed, task, checkpoint_seconds))

    def events(self) -> list[Event]:
        """Return what was reported since."""
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
        """Stop an idle worker."""
        self._ended.add(worker)
        with contextlib.suppress(OSError):
            self._workers[worker][1].send(None)

    def close(self) -> None:
        """Stop all workers, which write checkpoints of unfinished tasks."""
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
    if code == NO_GUARD:
        return (
            "imported the program, which makes the same call again when it is imported: make it under "
            'if __name__ == "__main__":'
        )
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return f"was ended by {name}{hint}"
    return f"ended with exit code {code}"


class _Stop(BaseException):
    """The launcher wants this worker to write its checkpoint and exit."""


def _stop(number: int, frame: Any) -> None:
    raise _Stop


def _work(connection: Connection, work: Work[F], threads: int | None, launcher: int) -> None:
    """Run one process: until there is nothing left to do, its launcher wants it to stop, or its launcher is gone."""
    # Ctrl-C reaches the whole group; the launcher ends its workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    plain_warnings()
    _leave_with(launcher)
    try:
        signal.signal(signal.SIGTERM, _stop)
        _do_tasks(connection, Worker(work, threads))
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # here, for nobody catches a _Stop further out
    except (_Stop, EOFError, ConnectionError):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _do_tasks(connection: Connection, worker: Worker[F]) -> None:
    """Prepare once, then do the tasks that are assigned until there are none."""
    kind, value = worker.prepare()
    connection.send((kind, value))
    if kind != "ready":
        return
    while (assigned := connection.recv()) is not None:
        folder, task, checkpoint_seconds = assigned
        with _throttled(connection) as on_progress:
            answer = worker.do(folder, task, on_progress, checkpoint_seconds)
        connection.send(answer)


@contextlib.contextmanager
def _visible(device: str | None) -> Iterator[None]:
    """Start processes that see one GPU: CUDA reads the variable once, when a process first uses it."""
    before = os.environ.get(_VISIBLE)
    if device is not None:
        os.environ[_VISIBLE] = device
    try:
        yield
    finally:
        if device is not None and before is None:
            del os.environ[_VISIBLE]
        elif device is not None and before is not None:
            os.environ[_VISIBLE] = before


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach, and have signals come once they are started.

    Workers would show tracebacks of their imports, or of what a launcher that was interrupted did not send them.
    """
    came: list[int] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if callable(handler := signal.getsignal(number)):
                handlers[number] = handler
                signal.signal(number, lambda number, frame: came.append(number))
    before = None
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()  # it would be started with the first process, and let Ctrl-C through
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if before is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


@contextlib.contextmanager
def _throttled(connection: Connection) -> Iterator[OnProgress]:
    """Yield a counter that reports now and then: cheap items would fill the pipe."""
    total, last = Progressed(), time.monotonic()

    def on_progress(done: int = 0, /, *, kept: int = 0, spared: int = 0) -> None:
        nonlocal total, last
        total = total.plus(Progressed(done, kept, spared))
        if time.monotonic() - last >= PROGRESS_SECONDS:
            connection.send(("progress", total))
            total, last = Progressed(), time.monotonic()

    yield on_progress
    connection.send(("progress", total))


def _leave_with(launcher: int) -> None:
    """End this process with its launcher: a launcher killed by SIGKILL would otherwise leave it writing into the folder."""
    with contextlib.suppress(OSError, AttributeError):
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != launcher:  # it was killed before the system was asked
            os._exit(1)
