"""Draw a plot's frame and marks as inline SVG, without colours: classes take theirs from the page, light or dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 360, 264
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 26, 42
Tick = tuple[float, str]


class Axes:
    """Map data coordinates to pixels, with ticks and labels. ``name`` must be unique in the page.

    The y label is above the axis, where it is horizontal. ``summary`` says in words what the plot shows.
    """

    def __init__(
        self,
        name: str,
        summary: str,
        *,
        x: tuple[float, float],
        y: tuple[float, float],
        x_label: str,
        y_label: str,
    ) -> None:
        self.name = name
        self.summary = summary
        self.x_range, self.y_range = x, y
        self.x_label, self.y_label = x_label, y_label
        self.parts: list[str] = []

    def x(self, value: float) -> float:
        """Return the pixel column of a value."""
        low, high = self.x_range
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Return the pixel row of a value."""
        low, high = self.y_range
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def ticks_x(self, ticks: Sequence[Tick]) -> None:
        """Add ticks and their texts below the axis."""
        base = HEIGHT - BOTTOM
        for value, text in ticks:
            x = f"{self.x(value):.1f}"
            self.parts.append(f'<line class="axis" x1="{x}" y1="{base}" x2="{x}" y2="{base + 4}"/>')
            self.parts.append(f'<text x="{x}" y="{base + 17}" text-anchor="middle">{escape(text)}</text>')

    def ticks_y(self, ticks: Sequence[Tick]) -> None:
        """Add lines of the grid and their texts on the left."""
        for value, text in ticks:
            y = self.y(value)
            self.parts.append(
                f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
            )
            self.parts.append(f'<text x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>')

    def line(self, points: Sequence[tuple[float, float]], css: str) -> None:
        """Add a line through the points."""
        if points:
            path = "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)
            self.parts.append(f'<path class="{css}" d="M{path}"/>')

    def dot(self, x: float, y: float, css: str, tip: str = "", radius: float = 4) -> None:
        """Add a dot, with ``tip`` as its tooltip."""
        self._mark(
            f'<circle class="{css}" cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="{radius:g}"', tip, "circle"
        )

    def diamond(self, x: float, y: float, css: str, tip: str = "", radius: float = 6) -> None:
        """Add a diamond, with ``tip`` as its tooltip."""
        cx, cy = self.x(x), self.y(y)
        d = f"M{cx:.1f} {cy - radius:.1f}l{radius} {radius}l{-radius} {radius}l{-radius} {-radius}z"
        self._mark(f'<path class="{css}" d="{d}"', tip, "path")

    def bar(self, left: float, right: float, bottom: float, top: float, css: str, tip: str) -> None:
        """Add a bar of a histogram, with ``tip`` as its tooltip."""
        x, y = self.x(left) + 0.75, self.y(top)
        width, height = max(1.0, self.x(right) - self.x(left) - 1.5), self.y(bottom) - y
        where = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
        self._mark(f'<rect class="{css}" {where}', tip, "rect")

    def cell(self, left: float, right: float, bottom: float, top: float, strength: float, tip: str) -> None:
        """Add a field of a map; ``strength`` in [0, 1] is how full its colour is."""
        x, y = self.x(left) + 0.5, self.y(top) + 0.5
        width, height = self.x(right) - self.x(left) - 1, self.y(bottom) - self.y(top) - 1
        where = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
        self._mark(f'<rect class="cell" fill-opacity="{strength:.3f}" {where}', tip, "rect")

    def frame(self, left: float, right: float, bottom: float, top: float, css: str) -> None:
        """Outline a field."""
        x, y = self.x(left), self.y(top)
        where = f'x="{x:.1f}" y="{y:.1f}" width="{self.x(right) - x:.1f}" height="{self.y(bottom) - y:.1f}"'
        self.parts.append(f'<rect class="{css}" {where}/>')

    def rule_x(self, value: float, text: str, *, end: bool = True) -> None:
        """Add a vertical reference line, its text on the left of it (``end``) or on the right."""
        x = self.x(value)
        self.parts.append(f'<line class="rule" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>')
        anchor = f'x="{x - 5:.1f}" text-anchor="end"' if end else f'x="{x + 5:.1f}"'
        self.parts.append(f'<text class="rule-text" {anchor} y="{TOP + 10}">{escape(text)}</text>')

    def rule_y(self, value: float, text: str) -> None:
        """Add a horizontal reference line, its text above it at the right end."""
        y = self.y(value)
        self.parts.append(f'<line class="rule" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
        where = f'x="{WIDTH - RIGHT}" y="{y - 5:.1f}" text-anchor="end"'
        self.parts.append(f'<text class="rule-text" {where}>{escape(text)}</text>')

    def note(self, x: float, y: float, text: str, css: str = "note", anchor: str = "start") -> None:
        """Add a text at data coordinates."""
        where = f'x="{self.x(x):.1f}" y="{self.y(y):.1f}" text-anchor="{anchor}"'
        self.parts.append(f'<text class="{css}" {where}>{escape(text)}</text>')

    def svg(self) -> str:
        """Return the plot as SVG."""
        base = HEIGHT - BOTTOM
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{self.name}">'
            f'<title id="{self.name}">{escape(self.summary)}</title>'
            f'<text class="label" x="0" y="11">{escape(self.y_label)}</text>'
            + "".join(self.parts)
            + f'<line class="axis" x1="{LEFT}" y1="{base}" x2="{WIDTH - RIGHT}" y2="{base}"/>'
            f'<text class="label" x="{WIDTH - RIGHT}" y="{HEIGHT - 5}" text-anchor="end">{escape(self.x_label)}</text></svg>'
        )

    def _mark(self, start: str, tip: str, tag: str) -> None:
        self.parts.append(f"{start}><title>{escape(tip)}</title></{tag}>" if tip else f"{start}/>")


def fraction_ticks() -> list[Tick]:
    """Return ticks at the quarters of [0, 1]."""
    return [(v / 4, f"{v / 4:g}") for v in range(5)]


def round_ticks(high: float, most: int = 5) -> list[Tick]:
    """Return ticks from 0 to ``high`` in steps of 1, 2 or 5 times a power of ten.

    >>> [text for _, text in round_ticks(0.15, 4)]
    ['0', '0.05', '0.1', '0.15']
    """
    rough = max(high, 1e-9) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    return [(i * step, f"{i * step:.10g}") for i in range(math.floor(high / step + 1e-6) + 1)]
