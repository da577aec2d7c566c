"""``memcore completion``."""

from __future__ import annotations

import argparse

from memcore.commands._answer import Answer
from memcore.errors import MissingExtraError

NAME = "completion"
HELP = "print a script that completes memcore's commands and flags in a shell"
_SHELLS = ("bash", "zsh")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the shell."""
    parser.add_argument("shell", choices=_SHELLS, help="the shell that reads the script")


def run(arguments: argparse.Namespace) -> Answer:
    """Write the script of the whole command line."""
    try:
        import shtab
    except ImportError:
        raise MissingExtraError("shtab", "completion", "memcore completion") from None
    script = str(shtab.complete(arguments.build_parser(), arguments.shell))
    return Answer({"shell": arguments.shell, "script": script}, script.splitlines())
