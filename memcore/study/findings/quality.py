"""(c) Better models leak more: leakage against the Frechet distance, along checkpoints and across widths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from memcore.report.wording import percent
from memcore.study.findings.base import Measured, Part
from memcore.study.findings.over_seeds import RATIO, held_out_control, mean
from memcore.study.findings.plot import Plot, Point, Series, Table
from memcore.study.findings.reading import Study, families
from memcore.study.protocols.protocol import ModelSpec
from memcore.study.statistics.intervals import import_scipy_stats

LETTER = "c"
TITLE = "Better models leak more"
#: Checkpoints of a model that an order can be told from.
LEAST = 3


class Checkpoint(NamedTuple):
    """A checkpoint: how near its samples are to held-out and to training images, and how much leaks beyond the control."""

    step: int
    frechet: float
    to_training: float | None
    leak: float


def measure(study: Study) -> Measured:
    """Return the rank correlation of quality (the lower the Frechet distance to held-out images, the better) and leakage."""
    specs = [spec for spec in study.models(LETTER) if "quality" in spec.attacks]
    if not specs:
        return Measured(lacking="no model of this study has a Frechet distance.")
    seeds = study.complete_seeds(specs)
    used = [spec for spec in specs if spec.seed in seeds]
    found = {spec.id: _checkpoints(study, spec) for spec in used}
    along = {seed: _along(found, [s for s in used if s.seed == seed]) for seed in seeds}
    across = {seed: _across(found, used, seed) for seed in seeds}
    longest = max((len(rows) for rows in found.values()), default=LEAST)
    parts = [
        Part(
            "along checkpoints",
            "the nearer a checkpoint's samples are to held-out images, the more of them are copies",
            "rank correlation",
            {seed: value for seed, value in along.items() if value is not None},
            _rank_step(longest),
        )
    ]
    widths = len({spec.factors.width for spec in specs})
    if widths > 1:
        parts.append(
            Part(
                "across widths",
                "of models of several widths, those nearer to held-out images leak more",
                "rank correlation",
                {seed: value for seed, value in across.items() if value is not None},
                _rank_step(widths),
            )
        )
    return Measured(
        parts=parts,
        n=f"{sum(len(rows) for rows in found.values()):,} checkpoints",
        planned=sorted({spec.seed for spec in specs}),
        models=[spec.id for spec in used],
        missing=study.missing(specs),
        controls=[held_out_control(study, used, RATIO)],
        sentence=_sentence(parts, found),
        plot=_plot(found, used),
        table=_table(found, used),
        notes=_notes(found, seeds, along),
    )


def _checkpoints(study: Study, spec: ModelSpec) -> list[Checkpoint]:
    leaks = study.leaks(spec, RATIO)
    distances: dict[tuple[str, int], float] = {
        (row["of"], row["step"]): row["frechet"] for row in study.quality(spec)
    }
    return [
        Checkpoint(step, distances["held-out", step], distances.get(("train", step)), leak.excess)
        for step, leak in leaks.items()
        if ("held-out", step) in distances
    ]


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float:
    """Return Spearman's correlation; 0 where one side does not vary, since then nothing is ordered.

    >>> rank_correlation([(1, 1), (2, 4), (3, 9)]), rank_correlation([(1, 0), (2, 0)])
    (1.0, 0.0)
    """
    if len({a for a, _ in pairs}) < 2 or len({b for _, b in pairs}) < 2:
        return 0.0
    stats = import_scipy_stats("Rank correlations")
    return round(float(stats.spearmanr([a for a, _ in pairs], [b for _, b in pairs]).statistic), 12)


def _along(found: Mapping[str, Sequence[Checkpoint]], specs: Sequence[ModelSpec]) -> float | None:
    """Return the mean over a seed's models of the correlation along their checkpoints."""
    values = [
        rank_correlation([(-row.frechet, row.leak) for row in found[spec.id]])
        for spec in specs
        if len(found[spec.id]) >= LEAST
    ]
    return mean(values) if values else None


def _across(found: Mapping[str, Sequence[Checkpoint]], used: Sequence[ModelSpec], seed: int) -> float | None:
    """Return the mean over a seed's families of the correlation across widths, at the last step that all widths have."""
    values = []
    for family in families([spec for spec in used if spec.seed == seed], "width"):
        by_step = [{row.step: row for row in found[spec.id]} for spec in family.models]
        common = set.intersection(*(set(rows) for rows in by_step))
        if common:
            last = max(common)
            values.append(rank_correlation([(-rows[last].frechet, rows[last].leak) for rows in by_step]))
    return mean(values) if values else None


def _rank_step(n: int) -> float:
    """Return the smallest difference between two rank correlations of ``n`` pairs."""
    return 2.0 if n <= 2 else 12 / (n * (n * n - 1))


def _sentence(parts: Sequence[Part], found: Mapping[str, Sequence[Checkpoint]]) -> str:
    told = [f"{value:+.2f} {part.name}" for part in parts if (value := part.estimate.mean) is not None]
    rows = [row for points in found.values() for row in points]
    if not told:
        return ""
    return (
        f"The rank correlation of quality and leakage is {' and '.join(told)}, over Frechet distances to held-out images of "
        f"{min(r.frechet for r in rows):.3g} to {max(r.frechet for r in rows):.3g} and up to "
        f"{percent(max(0.0, max(r.leak for r in rows)))} of copies."
    )


def _plot(found: Mapping[str, Sequence[Checkpoint]], used: Sequence[ModelSpec]) -> Plot | None:
    """Draw each setting's checkpoints, the mean over the seeds, joined in the order of training."""
    curves: dict[tuple[int, int], dict[int, list[Checkpoint]]] = {}
    for spec in used:
        by_step = curves.setdefault((spec.factors.n, spec.factors.width), {})
        for row in found[spec.id]:
            by_step.setdefault(row.step, []).append(row)
    several = len({n for n, _ in curves}) > 1, len({width for _, width in curves}) > 1
    series = []
    for (n, width), by_step in sorted(curves.items()):
        name = (
            ", ".join(
                filter(None, (f"n = {n:,}" if several[0] else "", f"width {width}" if several[1] else ""))
            )
            or "all models"
        )
        points = [
            Point(
                x := mean(r.frechet for r in rows),
                y := mean(r.leak for r in rows),
                tip=f"{name}, step {step:,}: distance {x:.3g}, copies {y:.3f}",
            )
            for step, rows in sorted(by_step.items())
        ]
        if points:
            series.append(Series(name, points))
    if not series:
        return None
    ends = "; ".join(
        f"{s.name} ends at distance {s.points[-1].x:.3g} with {percent(max(0.0, s.points[-1].y))}"
        for s in series
    )
    return Plot(
        "Leakage against quality",
        f"Memorised fraction against the Frechet distance to held-out images: {ends}",
        "Frechet distance to held-out images (better to the left)",
        "memorised fraction beyond the control",
        series,
        y=(0.0, 0.1),
        caption="A line is one setting along its checkpoints, the mean over the seeds; training runs along it.",
    )


def _table(found: Mapping[str, Sequence[Checkpoint]], used: Sequence[ModelSpec]) -> Table | None:
    rows: dict[tuple[int, int, int], list[Checkpoint]] = {}
    for spec in used:
        for row in found[spec.id]:
            rows.setdefault((spec.factors.n, spec.factors.width, row.step), []).append(row)
    if not rows:
        return None
    return Table(
        (
            "images",
            "width",
            "step",
            "Frechet to held-out",
            "Frechet to training",
            "memorised fraction beyond the control",
        ),
        [
            [
                f"{n:,}",
                width,
                step,
                mean(r.frechet for r in points),
                mean(known)
                if (known := [r.to_training for r in points if r.to_training is not None])
                else None,
                mean(r.leak for r in points),
            ]
            for (n, width, step), points in sorted(rows.items())
        ],
    )


def _notes(
    found: Mapping[str, Sequence[Checkpoint]], seeds: Sequence[int], along: Mapping[int, float | None]
) -> list[str]:
    notes = []
    flat = sum(len({row.leak for row in rows}) < 2 for rows in found.values() if len(rows) >= LEAST)
    if flat:
        notes.append(
            f"In {flat} of {len(found)} models nothing leaks at any checkpoint, so that there is no order: they count as 0."
        )
    training = [
        rank_correlation([(-row.to_training, row.leak) for row in rows if row.to_training is not None])
        for rows in found.values()
        if len(rows) >= LEAST
    ]
    if training and any(row.to_training is not None for rows in found.values() for row in rows):
        notes.append(
            f"With the distance to the training images instead, along checkpoints, it is "
            f"{mean(training):+.2f}: copies lower that distance by themselves."
        )
    short = sum(value is None for value in along.values())
    if short:
        notes.append(f"{short} of {len(seeds)} seeds have no model with {LEAST} checkpoints.")
    return notes
