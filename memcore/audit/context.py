"""What the steps of a shard share: the run, the source of its images, and the record of what is done."""

from __future__ import annotations

import dataclasses
import time
from contextlib import AbstractContextManager

from memcore.audit.journal import BUDGET_BYTES
from memcore.audit.saving import Saver
from memcore.engine.task import OnProgress, ignore_progress
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder, ShardRecord
from memcore.sampling.protocol import Sampler
from memcore.sampling.received import Spending
from memcore.sampling.watch import SamplerWatch
from memcore.sources.by_prompt import StoredPrompts


class _Timed(AbstractContextManager[None]):
    """Adds a block's seconds to an entry; a generator would take several times as long, for each batch several times."""

    __slots__ = ("_seconds", "_stage", "_start")

    def __init__(self, seconds: dict[str, float], stage: str) -> None:
        self._seconds, self._stage = seconds, stage

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *raised: object) -> None:
        self._seconds[self._stage] += time.perf_counter() - self._start


class Stages:
    """Measure the seconds of each stage of a shard."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        for stage in ("screen", "sample", "graph", "clique", "write"):
            seconds.setdefault(stage, 0.0)

    def timed(self, stage: str) -> AbstractContextManager[None]:
        """Add the seconds of the block to a stage."""
        return _Timed(self.seconds, stage)


@dataclasses.dataclass
class ShardContext:
    """The run, where its generations come from, and the record of one shard.

    ``source`` is a sampler, or stored generations. ``threads`` are those of this worker, and ``watch`` is what
    it notices about its sampler. ``record`` is the shard's, which
    ``run_shard`` reads from its checkpoint: rows and quarantine are added to it, and ``stages`` adds its seconds. ``saver``,
    which it makes too, writes what a kill would lose. ``journal_bytes`` are what images in flight may take on the disk, and
    ``spending`` is what images of a hosted model cost.
    """

    folder: RunFolder
    source: Sampler | StoredPrompts
    threads: int | None = None
    on_progress: OnProgress = ignore_progress
    watch: SamplerWatch = dataclasses.field(default_factory=SamplerWatch)
    record: ShardRecord = dataclasses.field(default_factory=ShardRecord)
    journal_bytes: int = BUDGET_BYTES
    spending: Spending = dataclasses.field(default_factory=Spending)
    saver: Saver = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Let the stages add to the record's seconds."""
        self.stages = Stages(self.record.seconds)

    @property
    def config(self) -> Config:
        """Return the run's configuration."""
        return self.folder.config

    def quarantine(self, prompt_id: int, source: str, reason: str, detail: str) -> None:
        """Record what cannot be sampled or read of a prompt, with a reason code and a text."""
        self.record.quarantine.append(
            {"prompt_id": prompt_id, "source": source, "reason": reason, "detail": detail}
        )
