"""``memcore filter``."""

from __future__ import annotations

import argparse
import dataclasses

from memcore.commands import _options
from memcore.commands._answer import Answer
from memcore.commands._checks import check_positive
from memcore.commands._submit import submitted
from memcore.commands.audit import RUN_HELP, answer_about, run_options

EXAMPLES = (
    "memcore filter RUN --images generations/",
    "memcore filter RUN --images generations.npy --threshold 0.1 --min-clique 5",
)
NAME = "filter"
HELP = "audit stored generations instead of a model"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run, its configuration, its workers and its launcher."""
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    _options.add_configuration(parser, "stored")
    _options.add_workers(parser)
    _options.add_launcher(parser)
    _options.add_allow_incomplete(parser)


def run(arguments: argparse.Namespace) -> Answer:
    """Build graphs of stored images and find their cliques."""
    from memcore.audit import filter_stored
    from memcore.runs.coverage import coverage_of
    from memcore.sources.coverage import coverage_line

    check_positive(arguments, "workers", "threads")
    existing = _options.open_existing(arguments)
    config = _options.read_configuration(arguments, "stored", existing)
    if answer := submitted(arguments):
        return answer
    folder = filter_stored(existing or arguments.run, config, **run_options(arguments))
    answer = answer_about(arguments, folder)
    coverage = coverage_of(folder)
    lines = [*answer.lines, *([coverage_line(coverage)] if coverage is not None else [])]
    return dataclasses.replace(answer, value={**answer.value, "coverage": coverage}, lines=lines)
