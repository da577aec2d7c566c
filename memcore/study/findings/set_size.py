"""(b) Small sets and long training make single images leak: the curves collapse on step / n, and on step x width / n."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from memcore.report.wording import percent
from memcore.study.findings.base import Measured, Part
from memcore.study.findings.collapse import Reading, removed
from memcore.study.findings.over_seeds import RATIO, held_out_control, mean, point
from memcore.study.findings.plot import Plot, Point, Series, Table
from memcore.study.findings.reading import Family, Study, families
from memcore.study.protocols.protocol import ModelSpec

LETTER = "b"
TITLE = "Small sets and long training make single images leak"


def measure(study: Study) -> Measured:
    """Return the memorised fraction over training, for sets of several sizes and models of several widths."""
    specs = study.models(LETTER)
    found = families(specs, "n", "steps", "width")
    if not found:
        return Measured(
            lacking="no models of this study differ in the size of their training set or their width."
        )
    family = max(found, key=lambda f: len(f.models))
    specs = family.models
    seeds = study.complete_seeds(specs)
    used = [spec for spec in specs if spec.seed in seeds]
    leaks = {spec.id: study.leaks(spec, RATIO) for spec in used}
    samples = min((leak.samples for rows in leaks.values() for leak in rows.values()), default=1)
    readings = {
        seed: [
            Reading(s.factors.n, s.factors.width, step, leak.excess)
            for s in used
            if s.seed == seed
            for step, leak in leaks[s.id].items()
        ]
        for seed in seeds
    }
    parts = _parts(readings, 1 / samples, family)
    return Measured(
        parts=parts,
        n=f"{sum(leak.samples for rows in leaks.values() for leak in rows.values()):,} samples",
        planned=sorted({spec.seed for spec in specs}),
        models=[spec.id for spec in used],
        missing=study.missing(specs),
        controls=[held_out_control(study, used, RATIO)],
        sentence=_sentence(readings, parts),
        plot=_plot(study, readings, used),
        table=_table(readings),
        notes=_notes(found, family),
    )


def _parts(readings: Mapping[int, Sequence[Reading]], step: float, family: Family) -> list[Part]:
    sizes = {spec.factors.n for spec in family.models}
    widths = {spec.factors.width for spec in family.models}
    parts = []
    if len(sizes) > 1:
        parts.append(
            _part(
                readings,
                "smaller sets",
                "the smallest set leaks more than the largest at equal steps",
                "difference of the memorised fraction",
                _smaller,
                step,
            )
        )
    parts.append(
        _part(
            readings,
            "longer training",
            "more leaks at the end of training than at the first checkpoint",
            "difference of the memorised fraction",
            _longer,
            step,
        )
    )
    if len(sizes) > 1:
        parts.append(
            _part(
                readings,
                "collapse on step / n",
                "step / n predicts the curve of one set size from the others better than step alone",
                "share of the error removed",
                _by_size,
                2 * step,
            )
        )
    if len(widths) > 1:
        parts.append(
            _part(
                readings,
                "collapse on step x width / n",
                "step x width / n predicts the curve of one width from the others better than step / n",
                "share of the error removed",
                _by_width,
                2 * step,
            )
        )
    return parts


def _part(
    readings: Mapping[int, Sequence[Reading]],
    name: str,
    claim: str,
    unit: str,
    value: Callable[[Sequence[Reading]], float | None],
    step: float,
) -> Part:
    values = {seed: v for seed, rows in readings.items() if (v := value(rows)) is not None}
    return Part(name, claim, unit, values, step)


def _smaller(rows: Sequence[Reading]) -> float | None:
    """Return how much more the smallest set leaks than the largest, over the steps and widths that both have."""
    small, large = min(r.n for r in rows), max(r.n for r in rows)
    of_small, of_large = ({(r.width, r.step): r.value for r in rows if r.n == n} for n in (small, large))
    both = of_small.keys() & of_large.keys()
    return mean(of_small[key] - of_large[key] for key in both) if both and small < large else None


def _longer(rows: Sequence[Reading]) -> float | None:
    """Return how much more leaks at the end than at the first checkpoint, over all curves."""
    curves: dict[tuple[int, int], list[Reading]] = {}
    for r in sorted(rows, key=lambda r: r.step):
        curves.setdefault((r.n, r.width), []).append(r)
    gains = [curve[-1].value - curve[0].value for curve in curves.values() if len(curve) > 1]
    return mean(gains) if gains else None


def _by_size(rows: Sequence[Reading]) -> float | None:
    """Return the error that step / n removes, over the widths that have several set sizes."""
    found = []
    for width in sorted({r.width for r in rows}):
        own = [r for r in rows if r.width == width]
        if len({r.n for r in own}) > 1:
            found.append(removed(own, lambda r: r.step / r.n, lambda r: r.step, lambda r: r.n))
    known = [value for value in found if value is not None]
    return mean(known) if known else None


def _by_width(rows: Sequence[Reading]) -> float | None:
    """Return the error that step x width / n removes of that of step / n; a curve is all of one width."""
    sizes = {n for n in {r.n for r in rows} if len({r.width for r in rows if r.n == n}) > 1}
    shared = [r for r in rows if r.n in sizes]
    return removed(shared, lambda r: r.step * r.width / r.n, lambda r: r.step / r.n, lambda r: r.width)


def _at_end(rows: Sequence[Reading], n: int) -> float:
    own = [r for r in rows if r.n == n]
    last = max(r.step for r in own)
    return mean(r.value for r in own if r.step == last)


def _sentence(readings: Mapping[int, Sequence[Reading]], parts: Sequence[Part]) -> str:
    if not readings:
        return ""
    sizes = sorted({r.n for rows in readings.values() for r in rows})
    ends = [
        f"{percent(max(0.0, mean(_at_end(rows, n) for rows in readings.values())))} for {n:,} images"
        for n in (sizes[0], sizes[-1])
    ]
    told_ends = " and ".join(ends if len(sizes) > 1 else ends[:1])
    text = f"At the end of training the memorised fraction beyond the control is {told_ends}"
    told = [
        f"{part.name.removeprefix('collapse on ')} {'removes' if value >= 0 else 'adds'} {percent(abs(value))} of the error"
        for part in parts
        if part.name.startswith("collapse") and (value := part.estimate.mean) is not None
    ]
    return f"{text}; {', '.join(told)}." if told else f"{text}."


def _plot(study: Study, readings: Mapping[int, Sequence[Reading]], used: Sequence[ModelSpec]) -> Plot | None:
    if not readings:
        return None
    curves = sorted({(r.n, r.width) for rows in readings.values() for r in rows})
    widths = {width for _, width in curves}
    series = []
    for n, width in curves:
        steps = sorted({r.step for rows in readings.values() for r in rows if (r.n, r.width) == (n, width)})
        name = f"n = {n:,}" + (f", width {width}" if len(widths) > 1 else "")
        points = [
            point(
                step * width / n,
                [r.value for rows in readings.values() for r in rows if r == (n, width, step, r.value)],
                f"{name}, step {step:,}",
            )
            for step in steps
        ]
        series.append(Series(name, points))
    places = [p.x for s in series for p in s.points]
    controls = [leak.control for spec in used for leak in study.leaks(spec, RATIO).values()]
    level = mean(controls)
    ends = [Point(x, level, tip=f"held-out: {level:.4f}") for x in (min(places), max(places))]
    series.append(Series("held-out images", ends, marks=False, control=True))
    last = "; ".join(f"{s.name}: {percent(max(0.0, s.points[-1].y))}" for s in series[:-1])
    return Plot(
        "Memorised fraction over the scaled axis",
        f"Memorised fraction against step x width / n; at the end of training {last}",
        "step x width / n (log scale)",
        "memorised fraction beyond the control",
        series,
        x_scale="log",
        y=(0.0, 0.2),
        caption="A curve is a set size and a width, the mean over the seeds with its interval. On the right axis they fall "
        "on each other. Dashed: the same count against held-out images.",
    )


def _table(readings: Mapping[int, Sequence[Reading]]) -> Table | None:
    curves = sorted({(r.n, r.width, r.step) for rows in readings.values() for r in rows})
    rows = []
    for n, width, step in curves:
        values = [r.value for found in readings.values() for r in found if r[:3] == (n, width, step)]
        rows.append([f"{n:,}", width, step, round(step / n, 3), mean(values)])
    return (
        Table(("images", "width", "step", "step / n", "memorised fraction beyond the control"), rows)
        if rows
        else None
    )


def _notes(found: Sequence[Family], used: Family) -> list[str]:
    notes = [
        "Memorised: the nearest training image is at less than a third of the distance of the second nearest "
        "(d1 / d2 < 1/3)."
    ]
    left = sum(len(family.models) for family in found if family is not used)
    if left:
        notes.append(
            f"{left} models with other settings are left out: only those that differ in n, steps and width are compared."
        )
    return notes
