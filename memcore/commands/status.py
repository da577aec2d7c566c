"""``memcore status``."""

from __future__ import annotations

import argparse
from pathlib import Path

from memcore.commands import _options
from memcore.commands._answer import Answer
from memcore.commands._checks import verdict_code

NAME = "status"
HELP = "say how far a run is, from its folder alone, on any machine"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run, and what it was matched and evaluated with."""
    parser.add_argument("run", metavar="RUN", help="the run's folder or URL")
    for name, what in (("training", "training set"), ("index", "index"), ("truth", "planted truth")):
        done = "evaluated against" if name == "truth" else "matched with"
        parser.add_argument(
            f"--{name}", type=Path, help=f"say whether this {what} is still the one that the run was {done}"
        )
    _options.add_allow_incomplete(parser)


def run(arguments: argparse.Namespace) -> Answer:
    """Read the run's folder."""
    from memcore.runs.folder import RunFolder
    from memcore.runs.status import is_waiting, status, status_lines

    if is_waiting(arguments.run):
        line = f"{arguments.run}: submitted to SLURM, no task has begun yet (squeue shows the array)"
        return Answer({"run": str(arguments.run), "complete": False, "waiting": True}, [line])
    folder = RunFolder.open(arguments.run)
    result = status(folder)
    given = {name: getattr(arguments, name) for name in ("training", "index", "truth")}
    if any(given.values()):
        from memcore.evaluation.inputs import changed_inputs

        result["stale"] += [entry.as_dict() for entry in changed_inputs(folder, **given)]
    return Answer(result, status_lines(result), verdict_code(arguments, result["not_decided"]))
