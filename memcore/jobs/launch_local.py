"""Runs a run's shards on this machine: one process a core (or a GPU), each with its own sampler."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from memcore.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConfigError,
    MemcoreError,
    RunError,
    WorkerError,
)
from memcore.jobs.files import remove_temporary
from memcore.jobs.progress import Progress
from memcore.jobs.shard import run_shard
from memcore.jobs.store import RunFolder, Shard, check_startable
from memcore.jobs.stored import stored_prompts
from memcore.sampling.protocol import Sampler

MakeSampler = Callable[[], Sampler | None]


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Holds the run's folder; RunError if another process of this machine holds it. The system frees it on a kill."""
    check_startable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass  # no flock on this system; shards are written atomically all the same
        except OSError:
            raise RunError(
                f"another memcore process is at work on {folder}: wait for it, or end it"
            ) from None
        yield


def select_part(shards: Sequence[Shard], part: tuple[int, int] | None) -> list[Shard]:
    """The k-th of n parts of the run's shards, k from 1; all of them without ``part``."""
    if part is None:
        return list(shards)
    k, n = part
    return [shard for position, shard in enumerate(shards) if position % n == k - 1]


def run_local(
    folder: RunFolder,
    make_sampler: MakeSampler,
    *,
    workers: int = 1,
    threads: int | None = None,
    part: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> None:
    """Does every shard that is not done. Raises WorkerError if a worker died or raised; what was finished stays.

    ``make_sampler`` is called once in each worker (once here with one worker) and must be picklable with several;
    it returns None for stored generations.
    """
    remove_temporary(folder.path)
    shards = [shard for shard in select_part(folder.shards(), part) if not folder.is_done(shard)]
    if not shards:
        return
    tell = progress.advance if progress else (lambda count: None)
    if workers == 1:
        sampler = make_sampler()
        stored = stored_prompts(folder.config, threads) if sampler is None else None
        for shard in shards:
            run_shard(folder, shard, sampler, stored=stored, threads=threads, progress=tell)
        return
    _run_workers(folder, shards, make_sampler, min(workers, len(shards)), threads, tell)


def _run_workers(
    folder: RunFolder,
    shards: Sequence[Shard],
    make_sampler: MakeSampler,
    workers: int,
    threads: int | None,
    tell: Callable[[int], None],
) -> None:
    context = multiprocessing.get_context("spawn")
    todo: Queue[Any] = context.Queue()
    said: Queue[Any] = context.Queue()
    for shard in shards:
        todo.put(shard)
    for _ in range(workers):
        todo.put(None)
    arguments = (folder.path, make_sampler, threads, todo, said)
    processes: list[BaseProcess] = [
        context.Process(target=_worker, args=arguments, daemon=True, name=f"memcore-{i}")
        for i in range(workers)
    ]
    for process in processes:
        process.start()
    try:
        running = workers
        while running:
            try:
                kind, value = said.get(timeout=1.0)
            except queue.Empty:
                dead = [p for p in processes if p.exitcode not in (None, 0)]
                if dead:
                    raise WorkerError(
                        f"worker {dead[0].name} died with exit code {dead[0].exitcode}; finished shards are safe, "
                        "the same command goes on"
                    ) from None
                continue
            if kind == "progress":
                tell(value)
            elif kind == "usage":
                raise ConfigError(value)
            elif kind == "error":
                raise WorkerError(value)
            else:
                running -= 1
    except BaseException:
        for process in processes:
            process.terminate()
        raise
    finally:
        for process in processes:
            process.join(timeout=10)


def _worker(
    path: Path, make_sampler: MakeSampler, threads: int | None, todo: Queue[Any], said: Queue[Any]
) -> None:
    """One process: loads its sampler once, then takes shards until there are none."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the launcher ends its workers
    _leave_with_parent()
    try:
        folder = RunFolder.open(path)
        sampler = make_sampler()
        stored = stored_prompts(folder.config, threads) if sampler is None else None
        while (shard := todo.get()) is not None:
            run_shard(
                folder,
                shard,
                sampler,
                stored=stored,
                threads=threads,
                progress=lambda count: said.put(("progress", count)),
            )
        said.put(("done", None))
    except (ArgumentTypeError, ArgumentValueError, ConfigError) as error:
        said.put(("usage", str(error)))
    except MemcoreError as error:
        said.put(("error", str(error)))
    except Exception:
        said.put(("error", f"a worker failed:\n{traceback.format_exc()}"))


def _leave_with_parent() -> None:
    """A worker must not outlive a launcher that was killed with SIGKILL: it would go on writing into the run."""
    with contextlib.suppress(OSError, AttributeError):
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() == 1:
            os._exit(1)
