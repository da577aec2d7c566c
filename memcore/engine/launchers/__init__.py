"""Where workers run. To add a launcher, write its module and add a line to the table here: the command line reads it.

A module whose launcher holds workers has ``make_pool(work, resources) -> Pool``; one that submits the command to a queue,
to be run elsewhere and later, has ``submit(place, command, tasks, options)``.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import cast

from memcore.engine.launchers.base import Pool, Resources
from memcore.engine.task import F, Work
from memcore.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Launcher:
    """A module of this package, which is imported when it is used, and what ``--help`` says of it."""

    name: str
    help: str
    #: Whether it submits the command to a queue, instead of holding workers.
    submits: bool = False


LAUNCHERS = (
    Launcher("local", "processes here"),
    Launcher("ray", "actors"),
    Launcher("slurm", "an array, submitted and left alone", submits=True),
)


def names() -> tuple[str, ...]:
    """Return the names of all launchers, as the command line offers them."""
    return tuple(launcher.name for launcher in LAUNCHERS)


def describe() -> str:
    """Return what ``--help`` says of the launchers.

    >>> describe()
    'local: processes here; ray: actors; slurm: an array, submitted and left alone'
    """
    return "; ".join(f"{launcher.name}: {launcher.help}" for launcher in LAUNCHERS)


def make_pool(name: str, work: Work[F], resources: Resources) -> Pool[F]:
    """Make the pool of the launcher ``name``. Raises ConfigError if there is none such, or if it holds no workers."""
    pools = [launcher.name for launcher in LAUNCHERS if not launcher.submits]
    if name not in pools:
        queues = [launcher.name for launcher in LAUNCHERS if launcher.submits]
        raise ConfigError(
            f"launcher must be {' or '.join(pools)}, got {name!r} ({', '.join(queues)}: only from the command line)"
        )
    module = importlib.import_module(f"{__name__}.{name}")
    return cast(Pool[F], module.make_pool(work, resources))
