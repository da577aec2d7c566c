"""``memcore report``."""

from __future__ import annotations

import argparse
from pathlib import Path

from memcore.commands._answer import Answer

NAME = "report"
HELP = "write one HTML file that opens without a network"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run and others to compare it with."""
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument(
        "--compare",
        type=Path,
        action="append",
        default=[],
        metavar="RUN",
        help="another run to show; may be repeated",
    )


def run(arguments: argparse.Namespace) -> Answer:
    """Write the report and return its path."""
    from memcore.report import write_report

    path = write_report(arguments.run, compare=arguments.compare)
    return Answer({"report": str(path)}, [str(path)])
