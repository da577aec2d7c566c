"""``memcore demo``."""

from __future__ import annotations

import argparse
from pathlib import Path

from memcore.commands import _options
from memcore.commands._answer import Answer
from memcore.commands._checks import check_positive, verdict_code
from memcore.commands.evaluate import evaluation_lines

NAME = "demo"
HELP = "run the whole audit on the bundled small diffusion model"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folder, the model and the workers."""
    parser.add_argument(
        "--out", type=Path, default=Path("demo-run"), help="folder for the run (default: %(default)s)"
    )
    parser.add_argument(
        "--train", action="store_true", help="train the model again first (about half an hour)"
    )
    parser.add_argument("--generations", type=int, default=64, help="images a prompt (default: %(default)s)")
    _options.add_workers(parser)
    _options.add_allow_incomplete(parser)


def run(arguments: argparse.Namespace) -> Answer:
    """Audit, match, evaluate and report."""
    from memcore.demo import demo
    from memcore.runs.completeness import not_decided_lines

    check_positive(arguments, "workers", "threads", "generations")
    result = demo(
        arguments.out,
        train=arguments.train,
        generations=arguments.generations,
        workers=arguments.workers,
        threads=arguments.threads,
        quiet=arguments.quiet,
    )
    gaps = result["not_decided"]
    lines = [*evaluation_lines(result["evaluation"]), f"report: {result['report']}", *not_decided_lines(gaps)]
    return Answer(result, lines, verdict_code(arguments, gaps))
