"""A run given to a batch system, which does it elsewhere and later."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence

from memcore.commands._answer import Answer
from memcore.commands._checks import check_positive
from memcore.errors import ConfigError


def submitted(arguments: argparse.Namespace) -> Answer | None:
    """Submit the run as an array of tasks if its launcher is SLURM; None if it is to be done here."""
    from memcore.engine.launchers.slurm import submit

    check_positive(arguments, "workers", "threads", "tasks")
    _check_flags(arguments)
    if arguments.launcher != "slurm":
        return None
    told = submit(arguments.run, without_launcher(arguments.argv), arguments.tasks, arguments.sbatch)
    follow = f"memcore status {shlex.quote(str(arguments.run))} shows how far it is"
    return Answer(dict(told), [f"job {told['job']} submitted ({told['script']}); {follow}"])


def without_launcher(argv: Sequence[str]) -> list[str]:
    """Return the command that a task runs: the same command, launched locally.

    >>> without_launcher(["audit", "run", "--launcher", "slurm", "--tasks=4", "--sbatch=--time=1", "--seed", "1"])
    ['audit', 'run', '--seed', '1']
    """
    kept: list[str] = []
    skip = False
    for word in argv:
        name, separator, _ = word.partition("=")
        if skip:
            skip = False
        elif name in ("--launcher", "--tasks", "--sbatch"):
            skip = not separator
        else:
            kept.append(word)
    return kept


def _check_flags(arguments: argparse.Namespace) -> None:
    """Refuse flags that belong to another launcher."""
    if arguments.ray_address and arguments.launcher != "ray":
        raise ConfigError("ray-address needs --launcher ray")
    if (arguments.tasks or arguments.sbatch) and arguments.launcher != "slurm":
        raise ConfigError("tasks and sbatch need --launcher slurm")
    if arguments.launcher == "slurm" and (arguments.tasks is None or arguments.part):
        raise ConfigError("--launcher slurm needs --tasks, the size of its array, and makes the parts itself")
