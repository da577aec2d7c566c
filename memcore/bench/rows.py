"""A measurement as plain data, the target that it is compared with, and the tables that a person reads."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping, Sequence
from typing import Any

from memcore.bench.timing import Spread

FASTER = "x faster"
OF_THE_TIME = "x its time"
SHARE = "share"
MS_A_GRAPH = "ms a graph"
US_A_CALL = "us a call"

_RULES = {">=": operator.ge, "<=": operator.le}


@dataclasses.dataclass(frozen=True)
class Target:
    """What a figure must reach: ``rule`` is ">=" or "<="."""

    what: str
    rule: str
    limit: float

    def holds(self, value: float) -> bool:
        """Return whether the figure reaches the target."""
        return bool(_RULES[self.rule](value, self.limit))

    def __str__(self) -> str:
        """Return the rule and the limit."""
        return f"{self.rule} {self.limit:g}"


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table.

    ``value`` in ``unit`` is the figure that counts, a median with its lowest and highest. ``ours_s`` and
    ``other_s`` are seconds a call. ``largest_error`` is the other side's, as a distance in [0, 1], against
    the exact one. A row without a value says why in ``note``: a missing peer, a limit, a wrong answer.
    """

    section: str
    work: str
    name: str
    isa: str = ""
    unit: str = FASTER
    value: Spread | None = None
    ours_s: Spread | None = None
    other_s: Spread | None = None
    rounds: int = 0
    largest_error: float | None = None
    target: Target | None = None
    at_least: bool = False
    note: str = ""
    refused: bool = False

    @property
    def holds(self) -> bool | None:
        """Return whether the target is reached; None without a target or a value, or if the value is only a bound."""
        if self.target is None or self.value is None:
            return None
        reached = self.target.holds(self.value.median)
        return None if self.at_least and not reached else reached

    def as_dict(self) -> dict[str, Any]:
        """Return the row in plain JSON types."""
        plain = dataclasses.asdict(self)
        for field in ("value", "ours_s", "other_s"):
            spread = getattr(self, field)
            plain[field] = (
                None if spread is None else dict(zip(Spread._fields, map(float, spread), strict=True))
            )
        plain["holds"] = self.holds
        return plain


def figure(value: float) -> str:
    """Return three digits, never an exponent."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.095 else f"{value:.2g}"


def tables(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a table for each piece of work, in the order of ``results``, and then the targets."""
    lines: list[str] = []
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for result in results:
        groups.setdefault((result["section"], result["work"], result["isa"]), []).append(result)
    for (section, work, isa), members in groups.items():
        lines += ["", f"{section}: {work}" + (f" [{isa}]" if isa else "")]
        lines += _table([_cells(member) for member in members])
    return lines + _targets(results)


def _table(body: Sequence[Sequence[str]]) -> list[str]:
    """Return aligned columns without those that are empty; a row of one cell is a sentence."""
    full = [cells for cells in body if len(cells) > 1]
    kept = [i for i in range(len(_HEAD)) if any(cells[i] for cells in full)]
    widths = [max(len(cells[i]) for cells in [*full, _HEAD]) for i in kept]
    lines = []
    for cells in [_HEAD, *body] if full else body:
        if len(cells) == 1:
            lines.append(f"  {cells[0]}")
            continue
        aligned = [
            cells[i].rjust(width) if i in _NUMBERS else cells[i].ljust(width)
            for i, width in zip(kept, widths, strict=True)
        ]
        lines.append(("  " + "  ".join(aligned)).rstrip())
    return lines


_NUMBERS = (1, 2, 3)
_HEAD = ["against", "memcore ms", "other ms", "figure", "(lowest-highest)", "", "other's error", ""]


def _cells(result: Mapping[str, Any]) -> list[str]:
    value = result["value"]
    if value is None:
        return [f"{result['name']}: {result['note']}"]
    error = result["largest_error"]
    return [
        result["name"],
        _milliseconds(result["ours_s"]),
        _milliseconds(result["other_s"]),
        (">= " if result["at_least"] else "") + figure(value["median"]),
        f"({figure(value['low'])}-{figure(value['high'])})",
        result["unit"],
        "" if error is None else "exact" if error == 0 else f"{error:.0e}",
        result["note"],
    ]


def _milliseconds(spread: Mapping[str, float] | None) -> str:
    return "" if spread is None else figure(1000 * spread["median"])


def _targets(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return which of the targets hold on this machine, one line each."""
    aimed = [result for result in results if result["target"] is not None]
    if not aimed:
        return []
    held = sum(result["holds"] is True for result in aimed)
    lines = ["", f"targets: {held} of {len(aimed)} hold on this machine"]
    for result in aimed:
        target = Target(**result["target"])
        lines.append(f"  {target.what}: target {target}: {_verdict(result)}")
    return lines


def _verdict(result: Mapping[str, Any]) -> str:
    if result["value"] is None:
        return f"not measured ({result['note']})"
    value = figure(result["value"]["median"])
    if result["holds"] is None:
        return f"at least {value}, open"
    return f"{'at least ' if result['at_least'] else ''}{value} {'holds' if result['holds'] else 'missed'}"
