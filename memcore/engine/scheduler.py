"""Who does which shard, and what happens when it fails: the same rules for every launcher."""

from __future__ import annotations

import dataclasses
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from memcore.audit.context import ShardContext
from memcore.audit.shard import CHECKPOINT_SECONDS, give_up_shard, run_shard
from memcore.audit.source import Identity, Source
from memcore.engine.circuit_breaker import Hopeless
from memcore.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConfigError,
    MissingExtraError,
    StoreError,
    WorkerError,
)
from memcore.runs.folder import RunFolder, Shard
from memcore.storage.base import Part
from memcore.system.credentials import redact

#: Times that a shard is tried before it is put aside.
ATTEMPTS = 3

Tell = Callable[[int], None]
Kind = Literal["ready", "progress", "done", "failed", "died", "usage", "store", "load"]


@dataclasses.dataclass(frozen=True)
class Event:
    """What a worker said: ``value`` is its Identity, a count, statistics, or a text."""

    worker: int
    kind: Kind
    value: Any = None


class Pool(Protocol):
    """Workers of some kind. Each makes its source once, says that it is ready, and then does a shard at a time."""

    def start(self) -> None:
        """Begins one more worker."""
        ...

    def give(self, worker: int, place: str, shard: Shard, checkpoint_seconds: float) -> None:
        """Has a worker that is ready do a shard of the run in ``place``."""
        ...

    def events(self) -> list[Event]:
        """What was said since; waits for at most about a second."""
        ...

    def end(self, worker: int) -> None:
        """Lets a worker that is ready go."""
        ...

    def close(self) -> None:
        """Ends all workers: at the end, on an error, and on an interrupt, when unfinished shards are checkpointed."""
        ...


def select_part(shards: Sequence[Shard], part: Part | None) -> list[Shard]:
    """The k-th of n parts of the run's shards, k from 1; all of them without ``part``."""
    if part is None:
        return list(shards)
    k, n = part
    return [shard for position, shard in enumerate(shards) if position % n == k - 1]


def pending_of(folder: RunFolder, part: Part | None) -> list[Shard]:
    """The shards of the part that are not done."""
    pending = {shard.id for shard in folder.pending()}
    return [shard for shard in select_part(folder.shards(), part) if shard.id in pending]


def classify(error: Exception) -> tuple[Kind, str]:
    """Whether an error ends the run (wrong usage, a store that cannot be written) or only the try at this shard."""
    if isinstance(error, StoreError):
        return "store", str(error)
    if isinstance(error, ArgumentTypeError | ArgumentValueError | ConfigError | MissingExtraError):
        return "usage", redact(str(error))
    return "failed", redact("".join(traceback.format_exception(error)))


def stop_for(kind: Kind, text: str) -> None:
    """Raises what ends the run."""
    if kind == "usage":
        raise ConfigError(text)
    if kind == "store":
        raise StoreError(text)
    if kind == "load":
        raise WorkerError(f"a worker could not load what it samples from: {text}")


def run_here(
    folder: RunFolder, shards: Sequence[Shard], source: Source, threads: int | None, tell: Tell
) -> None:
    """Does the shards one after the other in this process, for a sampler that a program hands in."""
    hopeless = Hopeless()
    for shard in shards:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                done = do_shard(folder, shard, source, threads, tell, _interval(attempt))
            except Exception as error:
                kind, text = classify(error)
                if kind == "usage":
                    raise
                stop_for(kind, text)
                hopeless.failed(folder, shard, text)
                if attempt == ATTEMPTS:
                    give_up_shard(folder, shard, "error", text)
            else:
                hopeless.done(folder, shard, done["prompts"], done["failed"])
                break


def do_shard(
    folder: RunFolder,
    shard: Shard,
    source: Source,
    threads: int | None,
    tell: Tell,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> dict[str, Any]:
    """One shard from either kind of source."""
    context = ShardContext(folder, source, threads, tell)
    return run_shard(context, shard, checkpoint_seconds=checkpoint_seconds)


def run_pool(
    pool: Pool,
    workers: int,
    open_folder: Callable[[Identity], RunFolder],
    part: Part | None,
    tell: Tell,
) -> RunFolder:
    """Starts ``workers``, opens the run with what the first one says that it is, and has all its shards done.

    A worker that dies is replaced. A shard that fails, or whose worker dies, is tried again, three times in all; then it
    is put aside with its traceback and the run goes on. ConfigError, StoreError and WorkerError end the run: wrong usage,
    a store that cannot be written, and workers that die before they can do anything or of whose shards not one succeeds.
    """
    try:
        return _Schedule(pool, open_folder, part, tell).run(workers)
    finally:
        pool.close()


class _Schedule:
    def __init__(
        self, pool: Pool, open_folder: Callable[[Identity], RunFolder], part: Part | None, tell: Tell
    ) -> None:
        self.pool = pool
        self.open_folder = open_folder
        self.part = part
        self.tell = tell
        self.folder: RunFolder | None = None
        self.fingerprint = ""
        self.pending: deque[Shard] = deque()
        self.attempts: dict[str, int] = {}
        self.busy: dict[int, Shard] = {}
        self.told: dict[int, int] = {}
        self.ready: list[int] = []
        self.starting = 0
        self.early_deaths = 0
        self.hopeless = Hopeless()

    def run(self, workers: int) -> RunFolder:
        for _ in range(workers):
            self._start()
        while True:
            for event in self.pool.events():
                self._take(event)
            if self.folder is None:
                if not self.starting:
                    self._start()
                continue
            while self.ready and self.pending:
                self._give(self.ready.pop())
            if not self.pending and not self.busy:
                return self.folder
            while self.ready:
                self.pool.end(self.ready.pop())
            for _ in range(min(workers - len(self.busy), len(self.pending)) - self.starting):
                self._start()

    def _start(self) -> None:
        self.starting += 1
        self.pool.start()

    def _give(self, worker: int) -> None:
        assert self.folder is not None
        shard = self.pending.popleft()
        attempt = self.attempts.get(shard.id, 0) + 1
        self.attempts[shard.id] = attempt
        self.busy[worker], self.told[worker] = shard, 0
        self.pool.give(worker, self.folder.place, shard, _interval(attempt))

    def _take(self, event: Event) -> None:
        if event.kind == "ready":
            self._welcome(event)
        elif event.kind == "progress":
            self.told[event.worker] = self.told.get(event.worker, 0) + event.value
            self.tell(event.value)
        elif event.kind == "done":
            assert self.folder is not None
            shard = self.busy.pop(event.worker)
            self.hopeless.done(self.folder, shard, event.value["prompts"], event.value["failed"])
            self.ready.append(event.worker)
        elif event.kind == "failed":
            self._fail(event.worker, "error", str(event.value))
            self.ready.append(event.worker)
        elif event.kind == "died":
            self._bury(event)
        else:
            stop_for(event.kind, str(event.value))

    def _welcome(self, event: Event) -> None:
        identity: Identity = event.value
        self.starting -= 1
        self.early_deaths = 0
        if self.folder is None:
            self.folder = self.open_folder(identity)
            self.fingerprint = identity.fingerprint
            self.pending.extend(pending_of(self.folder, self.part))
        elif identity.fingerprint != self.fingerprint:
            raise ConfigError(
                f"a worker would make other images than the run's: its sampler is {dict(identity.describe)}, "
                f"the run's is {self.folder.meta['sampler']['describe']}"
            )
        self.ready.append(event.worker)

    def _bury(self, event: Event) -> None:
        if event.worker in self.busy:
            self._fail(event.worker, "crash", f"the worker that did this shard {event.value}")
        elif event.worker in self.ready:
            self.ready.remove(event.worker)
        else:
            self.starting -= 1
            self.early_deaths += 1
            if self.early_deaths >= ATTEMPTS:
                raise WorkerError(f"{ATTEMPTS} workers could not start; the last one {event.value}")

    def _fail(self, worker: int, reason: str, text: str) -> None:
        assert self.folder is not None
        shard = self.busy.pop(worker)
        self.tell(-self.told.pop(worker))
        self.hopeless.failed(self.folder, shard, text)
        if self.attempts[shard.id] < ATTEMPTS:
            self.pending.append(shard)  # last, so that one bad shard does not hold up the others
        else:
            give_up_shard(self.folder, shard, reason, text)


def _interval(attempt: int) -> float:
    """Seconds between checkpoints: after a failure each finished prompt is kept, so that little is lost for good."""
    return CHECKPOINT_SECONDS if attempt == 1 else 0.0
