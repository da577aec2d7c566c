"""``memcore study``."""

from __future__ import annotations

import argparse
from pathlib import Path

from memcore.commands._answer import Answer
from memcore.system.console import write_error

NAME = "study"
HELP = "train the bundled model again, with its planted duplicates"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folder and the length of the training."""
    parser.add_argument("out", type=Path, metavar="FOLDER", help="folder for the data and the model")
    parser.add_argument("--steps", type=int, help="training steps (default: the bundled model's)")


def run(arguments: argparse.Namespace) -> Answer:
    """Train the model into the folder."""
    from memcore.study.tiny_sd import build

    options = {} if arguments.steps is None else {"steps": arguments.steps}
    build(arguments.out, progress=lambda line: write_error(line), **options)
    return Answer({"folder": str(arguments.out)}, [str(arguments.out)])
