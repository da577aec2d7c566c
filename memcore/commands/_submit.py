"""Submit a run to a batch system, which does it elsewhere and later."""

from __future__ import annotations

import argparse
import importlib
import shlex
from collections.abc import Sequence

from memcore.commands._answer import Answer
from memcore.commands._checks import check_positive
from memcore.errors import ConfigError
from memcore.sampling.named import find_public_options
from memcore.system.credentials import check_written, parse_options


def submitted(arguments: argparse.Namespace, status: str = "memcore status") -> Answer | None:
    """Submit the run as an array of tasks if its launcher submits; None if it is to be done here.

    ``status`` is the command that says how far it is.
    """
    from memcore.engine.launchers import LAUNCHERS

    check_positive(arguments, "workers", "threads", "tasks")
    queues = [launcher.name for launcher in LAUNCHERS if launcher.submits]
    _check_flags(arguments, queues)
    if arguments.launcher not in queues:
        return None
    launcher = importlib.import_module(f"memcore.engine.launchers.{arguments.launcher}")
    if text := getattr(arguments, "sampler_options", None):
        check_written(
            parse_options(text), find_public_options(arguments.sampler) if arguments.sampler else ()
        )
    command = without_launcher(arguments.argv)
    job = launcher.submit(arguments.run, command, arguments.tasks, arguments.sbatch)
    follow = f"{status} {shlex.quote(str(arguments.run))} shows how far it is"
    return Answer(dict(job), [f"job {job['job']} submitted ({job['script']}); {follow}"])


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


def _check_flags(arguments: argparse.Namespace, queues: Sequence[str]) -> None:
    """Refuse flags that belong to another launcher."""
    if arguments.ray_address and arguments.launcher != "ray":
        raise ConfigError("ray-address needs --launcher ray")
    if (arguments.tasks or arguments.sbatch) and arguments.launcher not in queues:
        raise ConfigError(f"tasks and sbatch need --launcher {' or '.join(queues)}")
    if arguments.launcher in queues and (arguments.tasks is None or arguments.part):
        raise ConfigError(
            f"--launcher {arguments.launcher} needs --tasks, the size of its array, and makes the parts itself"
        )
