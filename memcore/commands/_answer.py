"""The interface of commands, and what they answer."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

#: Exit codes: done and complete, could not be done, wrong usage, stopped but resumable, done but incomplete. 4 is reserved.
DONE, FAILED, USAGE, INTERRUPTED, INCOMPLETE = 0, 1, 2, 3, 5


@dataclasses.dataclass(frozen=True)
class Answer:
    """The value for a program, the lines for a person, and the exit code."""

    value: Mapping[str, Any]
    lines: Sequence[str]
    exit_code: int = DONE

    def text(self, as_json: bool) -> str:
        """Return what is printed."""
        return json.dumps(self.value, indent=1) if as_json else "\n".join(self.lines)


class Command(Protocol):
    """The interface of a module of ``memcore.commands``. ``run`` returns an exit code if it has printed its output.

    A module may also have EXAMPLES, command lines that end its help.
    """

    NAME: str
    HELP: str

    def arguments(self, parser: argparse.ArgumentParser, /) -> None:
        """Add the command's own arguments."""

    def run(self, arguments: argparse.Namespace, /) -> Answer | int:
        """Do the work."""
