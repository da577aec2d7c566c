"""Checks that several commands share: those of arguments raise ConfigError, which is exit code 2."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from memcore.commands._answer import DONE, INCOMPLETE
from memcore.errors import ConfigError
from memcore.system.colours import parse_colour


def check_positive(arguments: argparse.Namespace, *names: str) -> None:
    """Refuse numbers below 1; None means that the flag was not given."""
    for name in names:
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}")


def verdict_code(arguments: argparse.Namespace, not_decided: Sequence[Any]) -> int:
    """Return 5 if something was not decided, unless that is allowed; a part of a run leaves that to the whole."""
    if not not_decided or arguments.allow_incomplete or getattr(arguments, "part", None):
        return DONE
    return INCOMPLETE


def read_part(text: str | None) -> tuple[int, int] | None:
    """Return K and N of K/N.

    >>> read_part("2/3")
    (2, 3)
    """
    if text is None:
        return None
    try:
        k, n = (int(v) for v in text.split("/"))
    except ValueError:
        raise ConfigError(f"part must look like 1/2, got {text!r}") from None
    if not 1 <= k <= n:
        raise ConfigError(f"part must look like 1/2 with 1 <= K <= N, got {text!r}")
    return k, n


def read_colour(text: str | None) -> tuple[int, int, int] | None:
    """Return red, green and blue of #rrggbb or R,G,B.

    >>> read_colour("255,0,0"), read_colour("#ff0000")
    ((255, 0, 0), (255, 0, 0))
    """
    if text is None:
        return None
    try:
        return parse_colour(text)
    except ValueError as error:
        raise ConfigError(str(error)) from None
