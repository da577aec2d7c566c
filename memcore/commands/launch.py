"""The commands ``status`` and ``fetch``, and the flags by which ``audit`` and ``filter`` choose a launcher."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from memcore.engine import launchers
from memcore.errors import ConfigError

#: How the command line makes a parser: name, one line about it, and what runs it.
AddCommand = Callable[[str, str, Callable[[argparse.Namespace], int]], argparse.ArgumentParser]


def add_commands(add: AddCommand) -> None:
    """``memcore status`` and ``memcore fetch``."""
    status = add("status", "how far a run is, from its folder alone, on any machine", _status)
    status.add_argument("run", metavar="RUN", help="the run's folder or URL")
    fetch = add("fetch", "copy a run from an object store into a folder", _fetch)
    fetch.add_argument("run", metavar="URL", help="the run's URL")
    fetch.add_argument(
        "folder", type=Path, metavar="FOLDER", help="a folder that is empty or holds the same run"
    )


def add_launch_flags(parser: argparse.ArgumentParser) -> None:
    """Where the run's workers are."""
    parser.add_argument(
        "--launcher",
        choices=launchers.names(),
        default="local",
        help="local: processes here; ray: actors; slurm: an array, submitted and left alone (default: %(default)s)",
    )
    parser.add_argument("--ray-address", help="a Ray cluster (default: one is started on this machine)")
    parser.add_argument("--tasks", type=int, help="tasks of the SLURM array, each of which does one part")
    parser.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="OPTION",
        help="an option of sbatch, e.g. --sbatch=--time=8:0:0",
    )


def check_launch_flags(arguments: argparse.Namespace) -> None:
    """ConfigError for flags that belong to another launcher."""
    if arguments.ray_address and arguments.launcher != "ray":
        raise ConfigError("ray-address needs --launcher ray")
    if (arguments.tasks or arguments.sbatch) and arguments.launcher != "slurm":
        raise ConfigError("tasks and sbatch need --launcher slurm")
    if arguments.launcher == "slurm" and (arguments.tasks is None or arguments.part):
        raise ConfigError("--launcher slurm needs --tasks, the size of its array, and makes the parts itself")


def submit_array(arguments: argparse.Namespace, argv: Sequence[str]) -> dict[str, str]:
    """Submits the same command as an array. ``argv`` is the command with all its flags."""
    from memcore.engine.launchers.slurm import submit

    return submit(arguments.run, without_launcher(argv), arguments.tasks, arguments.sbatch)


def without_launcher(argv: Sequence[str]) -> list[str]:
    """The command that a task runs: the same, launched locally.

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


def _status(arguments: argparse.Namespace) -> int:
    from memcore.runs.folder import RunFolder
    from memcore.runs.status import is_waiting, status, status_lines

    if is_waiting(arguments.run):
        told = {"run": str(arguments.run), "complete": False, "waiting": True}
        lines = [f"{arguments.run}: submitted to SLURM, no task has begun yet (squeue shows the array)"]
    else:
        told = status(RunFolder.open(arguments.run))
        lines = status_lines(told)
    print(json.dumps(told, indent=1) if arguments.json else "\n".join(lines))
    return 0


def _fetch(arguments: argparse.Namespace) -> int:
    from memcore.runs.fetch import fetch

    told = fetch(arguments.run, arguments.folder)
    shown = f"{told['copied']} files copied to {told['folder']}, {told['present']} were there"
    print(json.dumps(told, indent=1) if arguments.json else shown)
    return 0
