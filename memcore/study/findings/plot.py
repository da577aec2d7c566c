"""What a finding shows, as numbers: the page draws them, and ``--json`` hands them out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

Scale: TypeAlias = Literal["linear", "log", "named"]


class Point(NamedTuple):
    """A point of a plot; ``low`` and ``high`` are its interval, ``tip`` says what it is."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    tip: str = ""


@dataclasses.dataclass(frozen=True)
class Series:
    """Points that belong together. ``control`` marks what has nothing to find; ``faint`` one of many, such as one seed."""

    name: str
    points: Sequence[Point]
    line: bool = True
    marks: bool = True
    control: bool = False
    faint: bool = False


@dataclasses.dataclass(frozen=True)
class Plot:
    """Series over two axes, and what they show in words.

    On an axis that is "named", x counts the names in ``names``. ``y`` is the range that the plot has at least. ``diagonal``
    asks for the line of y = x.
    """

    title: str
    summary: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    caption: str = ""
    x_scale: Scale = "linear"
    y_scale: Scale = "linear"
    names: Sequence[str] = ()
    y: tuple[float, float] | None = None
    diagonal: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of texts and numbers under their columns; the first column names the row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | int | None]]
