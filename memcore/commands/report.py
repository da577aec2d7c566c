"""``memcore report``."""

from __future__ import annotations

import argparse
from pathlib import Path

from memcore.commands import _options
from memcore.commands._answer import Answer
from memcore.commands._checks import verdict_code

NAME = "report"
HELP = "write one HTML file that opens without a network"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run and others to compare it with."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument(
        "--compare",
        type=Path,
        action="append",
        default=[],
        metavar="RUN",
        help="another run to show; may be repeated",
    )
    _options.add_allow_incomplete(parser)


def run(arguments: argparse.Namespace) -> Answer:
    """Write the report and return its path."""
    from memcore.report import write_report
    from memcore.runs.completeness import judge, not_decided_lines
    from memcore.runs.folder import RunFolder
    from memcore.runs.freshness import stale_lines

    path = write_report(arguments.run, compare=arguments.compare)
    folder = RunFolder.open(arguments.run)
    gaps = judge(folder.storage, folder.meta).as_list()
    stale = [entry.as_dict() for entry in folder.stale()]
    value = {"report": str(path), "not_decided": gaps, "stale": stale}
    lines = [str(path), *not_decided_lines(gaps), *stale_lines(stale)]
    return Answer(value, lines, verdict_code(arguments, gaps))
