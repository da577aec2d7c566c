"""The report's plots as inline SVG. Colours come from the page's CSS, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 420, 280
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 44


class Axes:
    """A frame with ticks and labels; data coordinates are mapped to pixels."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], x_label: str, y_label: str, title: str) -> None:
        self.x_range, self.y_range = x, y
        self.labels = (x_label, y_label)
        self.title = title
        self.parts: list[str] = []

    def x(self, value: float) -> float:
        low, high = self.x_range
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def ticks_x(self, ticks: Sequence[tuple[float, str]]) -> None:
        base = HEIGHT - BOTTOM
        for value, text in ticks:
            self.parts.append(f'<line class="grid" x1="{self.x(value):.1f}" y1="{TOP}" x2="{self.x(value):.1f}" y2="{base}"/>')
            self.parts.append(f'<text x="{self.x(value):.1f}" y="{base + 17}" text-anchor="middle">{escape(text)}</text>')

    def ticks_y(self, ticks: Sequence[tuple[float, str]]) -> None:
        for value, text in ticks:
            y = self.y(value)
            self.parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
            self.parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>')

    def line(self, points: Sequence[tuple[float, float]], css: str) -> None:
        path = " ".join(f"{'M' if i == 0 else 'L'}{self.x(x):.1f} {self.y(y):.1f}" for i, (x, y) in enumerate(points))
        self.parts.append(f'<path class="{css}" d="{path}"/>')

    def dot(self, x: float, y: float, css: str, tip: str, radius: float = 4) -> None:
        where = f'cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="{radius}"'
        self.parts.append(f'<circle class="{css}" {where}><title>{escape(tip)}</title></circle>')

    def bar(self, low: float, high: float, count: float, css: str, tip: str) -> None:
        x, width = self.x(low) + 1, max(1.0, self.x(high) - self.x(low) - 2)
        y = self.y(count)
        height = self.y(0) - y
        self.parts.append(
            f'<rect class="{css}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}">'
            f"<title>{escape(tip)}</title></rect>"
        )

    def svg(self) -> str:
        middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
        x_label, y_label = (escape(label) for label in self.labels)
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(self.title)}">'
            + "".join(self.parts)
            + f'<line class="axis" x1="{LEFT}" y1="{HEIGHT - BOTTOM}" x2="{WIDTH - RIGHT}" y2="{HEIGHT - BOTTOM}"/>'
            + f'<text class="label" x="{middle:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{x_label}</text>'
            + f'<text class="label" x="14" y="{(HEIGHT - BOTTOM + TOP) / 2}" text-anchor="middle" '
            f'transform="rotate(-90 14 {(HEIGHT - BOTTOM + TOP) / 2})">{y_label}</text></svg>'
        )


_FRACTIONS = [(0.0, "0"), (0.25, "0.25"), (0.5, "0.5"), (0.75, "0.75"), (1.0, "1")]


def precision_recall(curve: Sequence[dict[str, float]], positives: int) -> str:
    """Precision against recall, down the ranking by mean distance; a dot where a finding is wrong."""
    axes = Axes((0, 1.02), (0, 1.04), "recall", "precision", f"Precision-recall curve over {positives} planted prompts")
    axes.ticks_x(_FRACTIONS)
    axes.ticks_y(_FRACTIONS)
    points = [(0.0, curve[0]["precision"] if curve else 1.0), *[(p["recall"], p["precision"]) for p in curve]]
    axes.line(points, "curve")
    for rank, point in enumerate(curve, 1):
        css = "good" if point["correct"] else "bad"
        tip = f"rank {rank}: precision {point['precision']:.3f}, recall {point['recall']:.3f}"
        axes.dot(point["recall"], point["precision"], css, tip, 3)
    return axes.svg()


def share_against_copies(prompts: Sequence[dict[str, float]]) -> str:
    """The share of copies among a prompt's generations against its number of duplicates in the training set."""
    largest = max((p["copies"] for p in prompts), default=1)
    top = math.log10(max(largest, 10)) + 0.15
    axes = Axes((-0.2, top), (-0.03, 1.04), "copies in the training set", "share that copies", "Share of copies")
    axes.ticks_x([(math.log10(c), f"{c:g}") for c in sorted({p["copies"] for p in prompts} or {1})])
    axes.ticks_y(_FRACTIONS)
    means = []
    for copies in sorted({p["copies"] for p in prompts}):
        group = [p for p in prompts if p["copies"] == copies]
        for i, prompt in enumerate(group):
            offset = 0.05 * ((i * 0.618034) % 1 - 0.5) * 2  # spread equal values so that all dots are seen
            tip = f"{prompt['prompt']}: {prompt['share']:.0%} of generations, {copies:g} copies"
            axes.dot(math.log10(copies) + offset, prompt["share"], "soft", tip)
        means.append((math.log10(copies), sum(p["share"] for p in group) / len(group)))
    axes.line(means, "curve")
    return axes.svg()


def histogram(values: Sequence[tuple[float, bool]], threshold: float) -> str:
    """Mean distance inside the cliques: extracted ones and others."""
    bins = 15
    counts = [[0, 0] for _ in range(bins)]
    for value, extracted in values:
        counts[min(bins - 1, int(value / threshold * bins))][0 if extracted else 1] += 1
    tallest = max((a + b for a, b in counts), default=1) or 1
    axes = Axes((0, threshold), (0, tallest * 1.1), "mean tiled l2 inside the clique", "findings", "Mean distances")
    step = max(1, math.ceil(tallest / 5))
    axes.ticks_y([(float(v), str(v)) for v in range(0, tallest + 1, step)])
    axes.ticks_x([(threshold * f / 3, f"{threshold * f / 3:.3g}") for f in range(4)])
    for i, (extracted, others) in enumerate(counts):
        low, high = threshold * i / bins, threshold * (i + 1) / bins
        if extracted + others:
            axes.bar(low, high, extracted + others, "bad-bar", f"{others} not extracted")
        if extracted:
            axes.bar(low, high, extracted, "good-bar", f"{extracted} extracted")
    return axes.svg()
