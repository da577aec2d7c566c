"""An audit as a job of the engine: a task is a shard of prompts, and each worker makes its source once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path

from memcore.audit.conditions import check_taken
from memcore.audit.context import ShardContext
from memcore.audit.journal import BUDGET_BYTES
from memcore.audit.shard import give_up_shard, run_shard
from memcore.audit.source import Source, describe_source, make_source
from memcore.engine.scheduler import list_pending
from memcore.engine.task import Counts, Identity, OnProgress, Progressed
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder, shard_size
from memcore.runs.prompts import Entry
from memcore.runs.reading import quarantine_table
from memcore.runs.received import read_spent
from memcore.runs.start import RunStart
from memcore.sampling.received import Spending
from memcore.sampling.watch import SamplerWatch
from memcore.sources.by_prompt import StoredPrompts
from memcore.storage.base import Part, Storage
from memcore.system.progress import Progress


class AuditWork:
    """The work of an audit's workers.

    ``source`` is given where a program passes its own sampler; ``journal_bytes`` are what a worker's images in flight may
    take on the disk. ``price`` is that of an image of a hosted model, and ``max_cost`` what the run may spend.
    """

    def __init__(
        self,
        config: Config,
        source: Source | None = None,
        journal_bytes: int = BUDGET_BYTES,
        price: Decimal | None = None,
        max_cost: Decimal | None = None,
        conditions: Sequence[str] = (),
    ) -> None:
        self._config = config
        self._conditions = tuple(conditions)
        self._source = source
        self._journal_bytes = journal_bytes
        self._price = price
        self._max_cost = max_cost
        self._spending: Spending | None = None
        self._threads: int | None = None
        # of several workers each would say it: the command's answer counts these prompts
        self._watch = SamplerWatch(untold=() if source is not None else ("long-prompt",))

    def prepare(self, threads: int | None) -> Identity:
        """Make the source that the configuration names."""
        self._threads = threads
        if self._source is None:
            self._source = make_source(self._config, threads)
        if not isinstance(self._source, StoredPrompts):
            check_taken(self._source, self._conditions)
        return describe_source(self._source, self._config)

    def run(self, folder: RunFolder, task: str, on_progress: OnProgress, checkpoint_seconds: float) -> Counts:
        """Sample or read, graph, search and write one shard."""
        assert self._source is not None
        if self._spending is None:
            self._spending = Spending(
                self._price, self._max_cost, read_spent(folder) if self._price else None
            )
        context = ShardContext(
            folder,
            self._source,
            self._threads,
            on_progress,
            self._watch,
            journal_bytes=self._journal_bytes,
            spending=self._spending,
        )
        done = run_shard(context, folder.shard(task), checkpoint_seconds=checkpoint_seconds)
        prompts, failed = int(done["prompts"]), int(done["failed"])
        return Counts(prompts, failed, _last_error(folder.storage, task) if failed == prompts else "")


def _last_error(storage: Storage, task: str) -> str:
    """Return the detail of the last entry in a shard's quarantine."""
    details = quarantine_table(storage, task)["detail"].to_pylist()
    return str(details[-1]) if details else "no image could be read"


class AuditJob:
    """An audit, as its launcher sees it. The progress is shown once the run's folder is open, until ``close``."""

    noun = "shard"

    def __init__(
        self,
        run: str | Path | RunFolder,
        config: Config,
        prompts: Iterable[Entry],
        *,
        source: Source | None = None,
        total: int | None = None,
        retry: bool = False,
        retry_failed: bool = False,
        quiet: bool = False,
        journal_bytes: int = BUDGET_BYTES,
        price: Decimal | None = None,
        max_cost: Decimal | None = None,
    ) -> None:
        """Open the run if it exists, and read the prompts.

        ``total`` is the number of images where they are stored. ``retry`` repeats shards that were given up, and
        ``retry_failed`` the prompts that failed in others.
        """
        self.start = RunStart(run, config, prompts)
        self.work = AuditWork(config, source, journal_bytes, price, max_cost, self.start.prompts.conditions)
        self._config = config
        self._total = total
        self._retry = retry
        self._retry_failed = retry_failed
        self._quiet = quiet
        self._progress: Progress | None = None

    def open(self, identity: Identity) -> RunFolder:
        """Start or resume the run, and remove what killed writers left in it."""
        folder = self.start.create(identity.fingerprint, identity.describe)
        folder.storage.clean()
        if self._retry or self._retry_failed:
            folder.check_prompts()  # before a finished shard is made an unfinished one
        if self._retry:
            for shard in folder.given_up():
                folder.forget(shard)
        if self._retry_failed:
            for shard in folder.with_failures():
                folder.reopen(shard)
        self._progress = self._make_progress(folder)
        return folder

    def tasks(self, folder: RunFolder) -> list[str]:
        """Return the tasks of all shards."""
        return [shard.task for shard in folder.shards()]

    def give_up(self, folder: RunFolder, task: str, reason: str, detail: str) -> None:
        """Write a shard that failed too often."""
        give_up_shard(folder, folder.shard(task), reason, detail)

    def forget(self, folder: RunFolder, task: str) -> None:
        """Remove a shard's files, so that it is done again."""
        folder.forget(folder.shard(task))

    def on_progress(self, progressed: Progressed) -> None:
        """Show the images that were made or spared."""
        if self._progress is not None:
            done, kept, spared = progressed
            self._progress.advance(done, kept=kept, spared=spared)

    def close(self) -> None:
        """Close the progress display."""
        if self._progress is not None:
            self._progress.close()

    def useful_workers(self, part: Part | None) -> int:
        """Return how many workers have something to do; at least one, which checks that the run is the same."""
        run = self.start.run
        if run is None:
            count = self.start.prompts.count
            shards = -(-count // shard_size(self._config, count))
            return max(1, -(-shards // part[1]) if part else shards)
        again = len(run.given_up()) if self._retry else 0
        again += len(run.with_failures()) if self._retry_failed else 0
        return max(1, len(list_pending(self, run, part)) + again)

    def _make_progress(self, folder: RunFolder) -> Progress:
        manifests = folder.manifests()
        done = sum(int(m["generated"]) for m in manifests)
        whole = self._total
        if whole is None:  # of a finished shard, what it spared is not to be done
            finished = sum(int(m["prompts"]) for m in manifests)
            whole = done + folder.config.generations * (len(folder.prompts) - finished)
        command = "audit" if self._total is None else "filter"
        label = f"{command} {folder.place.rstrip('/').rpartition('/')[2]}"
        return Progress(whole, label, done=done, quiet=self._quiet)
