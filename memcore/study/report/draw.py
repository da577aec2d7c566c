"""Draw a finding's plot as inline SVG: without colours, which the page gives to the classes, light or dark."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from memcore.report.drawing.axes import Axes, Tick, round_ticks
from memcore.study.findings.plot import Plot, Point, Series

#: Colours of the page's styles; further series take them again, dotted.
COLOURS = 6
#: Decades with more than this many ticks lose those at 2 and 5.
_DENSE = 2


class Key(NamedTuple):
    """An entry of the legend: the class of its line, and its name."""

    css: str
    name: str


def draw(plot: Plot, name: str) -> str:
    """Return the plot as SVG. ``name`` must be unique in the page."""
    points = [point for series in plot.series for point in series.points]
    x, y = _Scale(plot.x_scale), _Scale(plot.y_scale)
    x_range, y_range = _x_range(plot, points, x), _y_range(plot, points, y)
    axes = Axes(name, plot.summary, x=x_range, y=y_range, x_label=plot.x_label, y_label=plot.y_label)
    axes.ticks_y(y.ticks(*y_range))
    axes.ticks_x(
        [(i, text) for i, text in enumerate(plot.names)] if plot.x_scale == "named" else x.ticks(*x_range)
    )
    if plot.diagonal:
        low, high = max(x_range[0], y_range[0]), min(x_range[1], y_range[1])
        axes.line([(low, low), (high, high)], "rule")
    for series, css in zip(plot.series, _classes(plot.series), strict=True):
        _draw_series(axes, series, css, x, y)
    return axes.svg()


def legend(plot: Plot) -> list[Key]:
    """Return the entries of the legend; none for a plot of one series. The caption explains the lines of single seeds."""
    named = [
        Key(css, series.name)
        for series, css in zip(plot.series, _classes(plot.series), strict=True)
        if not series.faint
    ]
    return named if len(named) > 1 else []


def _classes(all_series: Sequence[Series]) -> list[str]:
    """Return the class of each series: control, faint, or the next colour."""
    numbers = itertools.count()
    classes = []
    for series in all_series:
        if series.control:
            classes.append("control")
        elif series.faint:
            classes.append("seed")
        else:
            number = next(numbers)
            classes.append(f"s{number % COLOURS}" + (" dotted" if number // COLOURS % 2 else ""))
    return classes


def _draw_series(axes: Axes, series: Series, css: str, x: _Scale, y: _Scale) -> None:
    places = [(x.place(p.x), y.place(max(p.y, y.least))) for p in series.points]
    if series.line:
        axes.line(places, f"curve {css}")
    if series.faint or series.control or not series.marks:
        if series.control and series.points:
            axes.dot(*places[-1], f"dot {css}", series.points[-1].tip, 2.5)
        return
    for point, (column, row) in zip(series.points, places, strict=True):
        if point.low is not None and point.high is not None:
            ends = [
                (column, min(max(y.place(max(v, y.least)), axes.y_range[0]), axes.y_range[1]))
                for v in (point.low, point.high)
            ]
            axes.line(ends, f"whisker {css}")
        axes.dot(column, row, f"dot {css}", point.tip, 3.5)


class _Scale:
    """Where a value is on an axis, and where its ticks are; places on a logarithmic axis are powers of ten."""

    def __init__(self, kind: str) -> None:
        self.log = kind == "log"
        self.least = 1e-12 if self.log else -math.inf

    def place(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def ticks(self, low: float, high: float) -> list[Tick]:
        """Return ticks between two places."""
        if not self.log:
            found = round_ticks(max(abs(low), abs(high)), 5)
            both = [(-v, f"−{text}") for v, text in found[:0:-1]] + found
            return [(v, text) for v, text in both if low - 1e-9 <= v <= high + 1e-9]
        factors = (1, 2, 5) if high - low <= _DENSE else (1,)
        values = [
            factor * 10.0**power
            for power in range(math.floor(low), math.ceil(high) + 1)
            for factor in factors
            if low - 1e-9 <= math.log10(factor) + power <= high + 1e-9
        ]
        return [(math.log10(value), _short(value)) for value in values]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:.10g}"


def _x_range(plot: Plot, points: Sequence[Point], scale: _Scale) -> tuple[float, float]:
    if plot.x_scale == "named":
        return -0.5, len(plot.names) - 0.5
    places = [scale.place(p.x) for p in points] or [0.0, 1.0]
    low, high = min(places), max(places)
    if plot.diagonal and not scale.log:
        return 0.0, 1.02
    margin = 0.06 * (high - low) or 0.5
    return (low, high + 0.01) if plot.diagonal else (low - margin, high + margin)


def _y_range(plot: Plot, points: Sequence[Point], scale: _Scale) -> tuple[float, float]:
    """Return a range that holds the points and what the plot has at least; intervals may be cut at its ends."""
    values = [p.y for p in points] + [v for p in points if p.high is not None for v in (p.high,)]
    least = plot.y or (0.0, 0.0)
    if scale.log:
        return scale.place(least[0]), scale.place(max(least[1], *values) if values else least[1]) + 0.03
    low, high = min([least[0], *(p.y for p in points)]), max([least[1], *values])
    if least == (0.0, 1.0):
        high = min(high, 1.0)  # a share: what an interval has beyond 1 is cut
    margin = 0.03 * (high - low) or 0.5
    return (low - margin if low < 0 else -margin, high + margin)
