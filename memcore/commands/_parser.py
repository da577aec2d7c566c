"""A parser that takes no abbreviation and answers a misspelt name with the nearest right one."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from memcore.system.console import write
from memcore.system.suggestions import did_you_mean


class CommandParser(argparse.ArgumentParser):
    """An ArgumentParser without abbreviations: an array job's command is made by removing whole flags from it.

    It looks for unknown flags before anything else, so that a misspelt flag is named rather than one that is missing.
    """

    def __init__(self, *values: Any, **options: Any) -> None:
        super().__init__(*values, **{"allow_abbrev": False, **options})

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print a message; it may repeat words of the command, which may come from anywhere. argparse calls this."""
        write(message, stream=file or sys.stderr, end="")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Refuse the first unknown flag, then parse."""
        if args is not None:
            self._check_flags(args)
        return super().parse_known_args(args, namespace)

    def _check_flags(self, words: Iterable[str]) -> None:
        known = self._option_string_actions
        for word in words:
            name = word.partition("=")[0]
            if word == "--" or (self._subparsers is not None and not word.startswith("-")):
                return  # values follow, or a command, whose own parser looks at its flags
            if re.fullmatch("--?[A-Za-z][A-Za-z0-9_-]*", name) and name not in known:
                self._unknown_flag(name)

    def _unknown_flag(self, name: str) -> NoReturn:
        flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
        allowed = f"{self.prog} takes {', '.join(sorted(flags))}"
        hint = did_you_mean(f"--{name.lstrip('-').replace('_', '-')}", flags) or allowed
        self.error(f"unknown flag {name}; {hint}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse what is not among the choices; argparse calls this."""
        if action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        hint = did_you_mean(str(value), choices, repr)
        said = f"invalid choice: {value!r}{f'; {hint}' if hint else ''}"
        raise argparse.ArgumentError(action, f"{said} (choose from {', '.join(map(repr, choices))})")
