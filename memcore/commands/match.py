"""``memcore match``."""

from __future__ import annotations

import argparse
from pathlib import Path

from memcore.commands import _options
from memcore.commands._answer import Answer
from memcore.commands._checks import check_positive

NAME = "match"
HELP = "compare the findings with a training set"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run, the training set and what counts as a copy."""
    parser.add_argument("run", type=Path, metavar="RUN")
    against = parser.add_mutually_exclusive_group(required=True)
    against.add_argument("--training", type=Path, help="folder of images, .npy or .npz that fits into memory")
    against.add_argument("--index", type=Path, help="folder that memcore index has written")
    parser.add_argument(
        "--delta", type=float, default=0.15, help="largest distance of a copy (default: %(default)s)"
    )
    _options.add_distance(parser, default="l2")
    parser.add_argument(
        "--neighbors", type=int, default=5, help="nearest training images to list (default: %(default)s)"
    )
    parser.add_argument(
        "--adaptive", action="store_true", help="the adaptive distance too, for small images (50 neighbours)"
    )
    _options.add_threads(parser)


def run(arguments: argparse.Namespace) -> Answer:
    """Write the run's matches."""
    import json

    from memcore.matching.match_run import match_run
    from memcore.runs import layout
    from memcore.sources.coverage import coverage_line

    check_positive(arguments, "threads", "neighbors")
    rows = match_run(
        arguments.run,
        arguments.training,
        index=arguments.index,
        delta=arguments.delta,
        metric=arguments.distance,
        neighbors=arguments.neighbors,
        adaptive=arguments.adaptive,
        threads=arguments.threads,
    )
    extracted = sum(bool(row["extracted"]) for row in rows)
    lines = [f"{extracted} of {len(rows)} findings are copies of a training image"]
    coverage = json.loads((arguments.run / layout.MATCH).read_text("utf-8")).get("coverage")
    if coverage is not None:
        lines.append(f"training images: {coverage_line(coverage)}")
    result = {"run": str(arguments.run), "findings": len(rows), "extracted": extracted, "coverage": coverage}
    return Answer(result, lines)
