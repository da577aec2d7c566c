"""``memcore fetch``."""

from __future__ import annotations

import argparse
from pathlib import Path

from memcore.commands._answer import Answer
from memcore.system.units import count

NAME = "fetch"
HELP = "copy a run from an object store into a folder"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run and the folder."""
    parser.add_argument("run", metavar="URL", help="the run's URL")
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="a folder that is empty or holds the same run"
    )


def run(arguments: argparse.Namespace) -> Answer:
    """Copy what the folder does not hold yet."""
    from memcore.runs.fetch import fetch

    result = fetch(arguments.run, arguments.folder)
    line = (
        f"{count(result['copied'], 'file')} copied to {result['folder']}, {result['present']:,} already there"
    )
    lines = [line]
    if result["left_out"]:
        lines.append(f"{count(result['left_out'], 'name')} left out, which no file of a run has")
    return Answer(result, lines)
