"""How a run's prompts are shared out: a shard is what a worker does as one task."""

from __future__ import annotations

import dataclasses

from memcore.errors import ConfigError
from memcore.runs import layout
from memcore.runs.config import Config

#: Shards of a run whose configuration leaves their size open: enough of them for all workers, and not too many files.
SHARDS_WANTED = 64
LARGEST_SHARD = 1000
#: A damaged number of prompts must not take all memory.
MOST_SHARDS = 1_000_000


@dataclasses.dataclass(frozen=True)
class Shard:
    """The prompts that a worker does as one task; its id names its files."""

    id: str
    prompt_ids: range

    @property
    def task(self) -> str:
        """Return the engine's name for the shard."""
        return layout.task_name(self.id)


def shard_size(config: Config, prompts: int) -> int:
    """Return the prompts a shard: what the configuration says, or what suits the number of prompts.

    >>> config = Config(source="custom")
    >>> [shard_size(config, n) for n in (7, 1_000, 350_000)]
    [1, 16, 1000]
    """
    return config.shard_prompts or max(1, min(LARGEST_SHARD, -(-prompts // SHARDS_WANTED)))


def check_shard_count(config: Config, prompts: int) -> None:
    """Raise ConfigError if the prompts make more shards than a run may have: no command could read it.

    >>> check_shard_count(Config(source="custom", shard_prompts=1), 1_000_001)
    Traceback (most recent call last):
    ...
    memcore.errors.ConfigError: shard_prompts=1 makes 1,000,001 shards, and a run has at most 1,000,000: give 2 or more
    """
    size = shard_size(config, prompts)
    if prompts > size * MOST_SHARDS:
        raise ConfigError(
            f"shard_prompts={size} makes {-(-prompts // size):,} shards, and a run has at most {MOST_SHARDS:,}: give "
            f"{-(-prompts // MOST_SHARDS)} or more"
        )
