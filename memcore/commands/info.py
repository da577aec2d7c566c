"""``memcore info``."""

from __future__ import annotations

import argparse

from memcore.commands._answer import Answer

NAME = "info"
HELP = "say what is installed and what would run"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the command has only the flags that all commands share."""


def run(arguments: argparse.Namespace) -> Answer:
    """Look at this machine."""
    from memcore.info import info, info_lines

    result = info()
    return Answer(result, info_lines(result))
