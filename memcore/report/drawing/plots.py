"""The report's plots, each an inline SVG."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from memcore.evaluation.result import EvaluatedPrompt, Stage, Sweep
from memcore.report.drawing.axes import Axes, fraction_ticks, round_ticks
from memcore.report.wording import count, percent, tidy

#: Most marks that are drawn; of more, every n-th.
MARKS = 1200
BINS = 15
_GOLDEN = 0.6180339887498949


class Plot(NamedTuple):
    """A plot with its title above and what it shows, in words, below."""

    title: str
    svg: str
    text: str


class CliquePoint(NamedTuple):
    """A clique: its mean distance, that of its medoid to training, and whether it is of the compared run."""

    mean_distance: float
    to_training: float
    extracted: bool
    other: bool
    prompt: str


class Setting(NamedTuple):
    """A threshold and a smallest clique."""

    threshold: float
    min_clique: int


class ScreenCurve(NamedTuple):
    """The ROC of a screen: (false positive rate, true positive rate) down its scores.

    ``keep_all`` is the largest threshold at which no candidate is lost, ``spared`` the share of the ``negatives`` below it.
    """

    area: float
    points: list[tuple[float, float]]
    keep_all: float
    spared: float
    negatives: int


def thinned(marks: Sequence[Any], most: int = MARKS) -> list[Any]:
    """Return all marks, or ``most`` of them at even steps with the last one.

    >>> thinned(range(10), 4)
    [0, 3, 6, 9]
    """
    if len(marks) <= most:
        return list(marks)
    return [marks[round(i * (len(marks) - 1) / (most - 1))] for i in range(most)]


def precision_recall(stages: Mapping[str, Stage], positives: int) -> str:
    """Draw precision against recall, down the ranking; the cross spans the intervals at its end."""
    shown = "extracted" if "extracted" in stages else "candidates"
    last = stages[shown]
    summary = (
        f"Precision-recall curve of {shown}: ends at precision {_number(last['precision']['value'])} and recall "
        f"{_number(last['recall']['value'])} of {count(positives, 'prompt')} to be found; "
        f"average precision {last['average_precision']:.3f}."
    )
    axes = Axes("plot-precision", summary, x=(0, 1.02), y=(0, 1.02), x_label="recall", y_label="precision")
    axes.ticks_x(fraction_ticks())
    axes.ticks_y(fraction_ticks())
    for name in ("candidates", "extracted"):
        if name not in stages or not (curve := stages[name]["curve"]):
            continue
        points = [
            (0.0, float(curve[0]["precision"])),
            *((float(p["recall"]), float(p["precision"])) for p in curve),
        ]
        axes.line(thinned(points), "curve" if name == shown else "curve faint")
    precision, recall = last["precision"], last["recall"]
    at_x, at_y = recall["value"], precision["value"]
    if last["curve"] and at_x is not None and at_y is not None:
        axes.line([(recall["low"], at_y), (recall["high"], at_y)], "span")
        axes.line([(at_x, precision["low"]), (at_x, precision["high"])], "span")
    for rank, point in enumerate(last["curve"], 1):
        if len(last["curve"]) <= 200 or not point["correct"]:
            css = "mark yes" if point["correct"] else "mark no"
            tip = f"rank {rank}: precision {point['precision']:.3f}, recall {point['recall']:.3f}"
            axes.dot(point["recall"], point["precision"], css, tip, 3)
        if len(axes.parts) > 2 * MARKS:
            break
    return axes.svg()


def share_against_copies(prompts: Sequence[EvaluatedPrompt]) -> str:
    """Draw the share of copies among a prompt's generations against the number of copies in training, and means."""
    groups: dict[int, list[EvaluatedPrompt]] = {}
    for prompt in prompts:
        groups.setdefault(int(prompt["copies"]), []).append(prompt)
    means = {c: sum(float(p["share"]) for p in group) / len(group) for c, group in sorted(groups.items())}
    summary = "Mean share of copies by copies in the training set: " + "; ".join(
        f"{copies}: {percent(mean)}" for copies, mean in list(means.items())[:20]
    )
    top = math.log10(max([10, *groups]))
    axes = Axes(
        "plot-share",
        summary,
        x=(-0.8 if 0 in groups else -0.3, top + 0.3),
        y=(-0.02, 1.02),
        x_label="copies in the training set (log scale)",
        y_label="share of generations that are copies",
    )
    axes.ticks_y(fraction_ticks())
    ticks: list[tuple[float, str]] = []
    for copies in sorted(groups):
        if not ticks or _log_copies(copies) - ticks[-1][0] > top / 12:
            ticks.append((_log_copies(copies), f"{copies:,}"))
    axes.ticks_x(ticks)
    most = max(20, MARKS // max(1, len(groups)))
    places = sorted(map(_log_copies, groups))
    spread = min([0.5, *(0.7 * (right - left) for left, right in itertools.pairwise(places))])
    for copies, group in groups.items():
        for i, prompt in enumerate(thinned(group, most)):
            aside = spread * ((i * _GOLDEN) % 1 - 0.5)  # equal values side by side
            tip = f"{tidy(prompt['prompt'], 60)}: {percent(float(prompt['share']))} of generations, {copies:,} in training"
            axes.dot(
                _log_copies(copies) + aside,
                float(prompt["share"]),
                "mark yes" if prompt["extracted"] else "mark no",
                tip,
                3.5,
            )
    axes.line([(_log_copies(copies), mean) for copies, mean in means.items()], "curve mean")
    for copies, mean in means.items():
        axes.diamond(
            _log_copies(copies), mean, "mean-mark", f"mean of {len(groups[copies]):,}: {percent(mean)}"
        )
    return axes.svg()


def _log_copies(copies: int) -> float:
    """Return log10 of the copies; none are half a decade left of one."""
    return math.log10(copies) if copies > 0 else -0.5


def histogram(values: Sequence[tuple[float, bool | None]], threshold: float) -> str:
    """Draw the mean distances inside the cliques, extracted below others; the right edge is the threshold."""
    high = threshold or 1.0
    counts = [[0, 0] for _ in range(BINS)]
    for value, extracted in values:
        counts[min(BINS - 1, int(value / high * BINS))][0 if extracted else 1] += 1
    tallest = max(sum(pair) for pair in counts) or 1
    middle = sorted(value for value, _ in values)[len(values) // 2] if values else 0.0
    summary = f"Histogram of the mean distances of {count(len(values), 'clique')}: median {middle:.3f}, threshold {high:g}."
    axes = Axes(
        "plot-distances",
        summary,
        x=(0, high * 1.03),
        y=(0, tallest * 1.12),
        x_label="mean tiled l2 inside the clique",
        y_label="findings",
    )
    axes.ticks_y([(v, text) for v, text in round_ticks(tallest, 4) if v == int(v)])
    axes.ticks_x(round_ticks(high, 4))
    matched = any(extracted is not None for _, extracted in values)
    for i, (yes, no) in enumerate(counts):
        left, right = high * i / BINS, high * (i + 1) / BINS
        where = f"{left:.3f} to {right:.3f}"
        if yes:
            axes.bar(left, right, 0, yes, "bar yes", f"{where}: {yes} extracted")
        if no:
            axes.bar(
                left,
                right,
                yes,
                yes + no,
                "bar no",
                f"{where}: {no} {'not extracted' if matched else 'candidates'}",
            )
    axes.rule_x(high, f"threshold {high:g}")
    return axes.svg()


def clique_against_match(
    name: str,
    points: Sequence[CliquePoint],
    threshold: float,
    delta: float,
    metric: str,
) -> str:
    """Draw the distance to the nearest training image against the mean distance inside the clique."""
    highest = max([delta * 1.6, *(point.to_training * 1.08 for point in points)])
    far = sum(not point.extracted for point in points)
    lie = "lies" if far == 1 else "lie"
    summary = f"{count(len(points), 'clique')}; {far:,} {lie} farther than delta {delta:g} from every training image."
    axes = Axes(
        name,
        summary,
        x=(0, threshold * 1.03),
        y=(0, highest),
        x_label="mean tiled l2 inside the clique",
        y_label=f"{metric} to the nearest training image",
    )
    axes.ticks_y(round_ticks(highest, 5))
    axes.ticks_x(round_ticks(threshold, 4))
    axes.rule_y(delta, f"delta {delta:g}: extracted below")
    for x, y, extracted, other, prompt in thinned(points):
        css = f"mark {'yes' if extracted else 'no'}{' other' if other else ''}"
        tip = f"{tidy(prompt, 60)}: {x:.4f} inside the clique, {y:.4f} to training"
        (axes.diamond if other else axes.dot)(x, y, css, tip, 5 if other else 3.5)
    return axes.svg()


def screens(curves: Mapping[str, ScreenCurve]) -> str:
    """Draw the ROC of each screen: the first full, others faint and dashed."""
    areas = "; ".join(f"{name}: area {curve.area:.3f}" for name, curve in curves.items())
    axes = Axes(
        "plot-screens",
        f"ROC of the screens against the full attack. {areas}.",
        x=(0, 1.02),
        y=(0, 1.02),
        x_label="share of the other prompts kept",
        y_label="share of the candidates kept",
    )
    axes.ticks_x(fraction_ticks())
    axes.ticks_y(fraction_ticks())
    axes.line([(0, 0), (1, 1)], "rule")
    for number, (name, curve) in enumerate(curves.items()):
        steps = [q for a, b in itertools.pairwise(curve.points) for q in ((a[0], a[1]), (a[0], b[1]), b)]
        axes.line(thinned(steps), "curve" if number == 0 else "curve faint")
        dashed = " (dashed)" if number else ""
        axes.note(0.98, 0.16 - 0.08 * number, f"{name}{dashed}: area {curve.area:.3f}", "note", "end")
    return axes.svg()


def sweep_map(sweep: Sweep, own: Setting, best: Setting, highest: float, measure: str = "recall") -> str:
    """Draw the recall at zero false positives over thresholds and clique sizes, with frames around two settings.

    ``measure`` is what people read for it where it is no recall.
    """
    thresholds, sizes = sweep["thresholds"], sweep["sizes"]
    axes = Axes(
        "plot-sweep",
        f"Map of the {measure} at zero false positives over {len(thresholds)} thresholds and {len(sizes)} clique sizes; the "
        f"largest is {highest:.3f}.",
        x=(0, len(thresholds)),
        y=(0, len(sizes)),
        x_label="threshold",
        y_label="smallest clique",
    )
    columns = {t: i for i, t in enumerate(thresholds)}
    rows = {s: i for i, s in enumerate(sizes)}
    for cell in sweep["cells"]:
        x, y = columns[cell["threshold"]], rows[cell["min_clique"]]
        tip = (
            f"threshold {cell['threshold']:g}, cliques of {cell['min_clique']}: {measure} "
            f"{cell['recall_at_zero_fp']:.3f} at zero false positives; "
            f"{cell['tp']} right, {cell['fp']} wrong, {cell['fn']} missed"
        )
        axes.cell(x, x + 1, y, y + 1, 0.04 + 0.96 * float(cell["recall_at_zero_fp"]), tip)
    step = -(-len(thresholds) // 7)
    axes.ticks_x([(i + 0.5, f"{t:.2g}") for t, i in columns.items() if i % step == 0])
    for size, i in rows.items():
        axes.note(-0.12, i + 0.32, str(size), "tick", "end")
    for (t, s), css in ((best, "frame best"), (own, "frame")):
        if t in columns and s in rows:
            axes.frame(columns[t], columns[t] + 1, rows[s], rows[s] + 1, css)
    return axes.svg()


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
