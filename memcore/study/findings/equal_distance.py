"""(k) At equal Frechet distance to held-out images, a diffusion model leaks more than a GAN."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from memcore.report.wording import percent
from memcore.study.findings.base import Measured, Part
from memcore.study.findings.kinds import NAMES, NO_PAIR, Pairs, TrainingSet, checkpoints, find_pairs
from memcore.study.findings.over_seeds import RATIO, held_out_control, mean
from memcore.study.findings.plot import Cell, Plot, Point, Series, Table
from memcore.study.findings.reading import Study
from memcore.study.protocols.protocol import ModelSpec

LETTER = "k"
TITLE = "Diffusion models leak more than GANs, at equal distance to held-out images"
#: Levels of distance that both kinds are read at.
LEVELS = 5

#: (distance, leak beyond the control) of a model's checkpoints, in the order of training.
Curve = Sequence[tuple[float, float]]


def measure(study: Study) -> Measured:
    """Return how much more leaks of the diffusion model, read along both kinds' checkpoints at the same distances.

    The levels are equally spaced on a log scale over the distances that all models of a training set reach, of every
    complete seed and both kinds; a training set without such distances is left out.
    """
    pairs = find_pairs(study, LETTER)
    if pairs is None:
        return Measured(lacking=NO_PAIR)
    seeds = study.complete_seeds(pairs.specs)
    used = [spec for spec in pairs.specs if spec.seed in seeds]
    curves = {spec.id: _curve(study, spec) for spec in used}
    found = {of: levels for of in pairs.sets if (levels := _levels(pairs, of, curves))}
    if used and not found:
        return Measured(lacking=_apart(pairs, curves))
    values: dict[int, float] = {}
    for seed in seeds:
        differences = [
            interpolate(curves[both[0].id], level) - interpolate(curves[both[1].id], level)
            for of, levels in found.items()
            if (both := pairs.both(seed, of)) is not None
            for level in levels
        ]
        if differences:
            values[seed] = mean(differences)
    samples = min((c.leak.samples for s in used for c in checkpoints(study, s)), default=1)
    part = Part(
        "equal distance",
        f"at {LEVELS} levels of distance that both reach, more samples of the diffusion model are copies than of the GAN "
        f"({NAMES[pairs.gan]})",
        "difference of the share of copies, beyond the control",
        values,
        1 / samples,
    )
    left = [of.name for of in pairs.sets if of not in found]
    return Measured(
        parts=[part],
        n=f"{sum(len(curve) for curve in curves.values()):,} checkpoints",
        planned=sorted({spec.seed for spec in pairs.specs}),
        models=[spec.id for spec in used],
        missing=study.missing(pairs.specs),
        controls=[held_out_control(study, used, RATIO)],
        sentence=_sentence(pairs, found, curves),
        plot=_plot(pairs, curves),
        table=_table(pairs, found, curves),
        notes=[
            "Where a curve passes a distance several times, its value there is the mean of the passages.",
            *([f"No distance is reached by all models of: {'; '.join(left)}."] if left and used else []),
        ],
    )


def interpolate(curve: Curve, level: float) -> float:
    """Return the leak of a curve at a distance that it reaches, linear between checkpoints; the mean over its passages.

    >>> interpolate([(100.0, 0.0), (50.0, 0.2), (80.0, 0.5)], 75.0)
    0.275
    """
    found = []
    for (first, low), (second, high) in itertools.pairwise(curve):
        if min(first, second) <= level <= max(first, second) and first != second:
            found.append(low + (high - low) * (level - first) / (second - first))
    if not found:
        found = [leak for distance, leak in curve if distance == level]
    return mean(found)


def _curve(study: Study, spec: ModelSpec) -> Curve:
    return [(row.frechet, row.leak.excess) for row in checkpoints(study, spec) if row.frechet is not None]


def _by_kind(pairs: Pairs, of: TrainingSet, curves: Mapping[str, Curve]) -> dict[str, list[Curve]]:
    """Return the curves of a training set that were measured, by kind."""
    found: dict[str, list[Curve]] = {"diffusion": [], pairs.gan: []}
    for (_, own, kind), spec in pairs.models.items():
        if own == of and curves.get(spec.id):
            found[kind].append(curves[spec.id])
    return found


def _reach(curves: Sequence[Curve]) -> tuple[float, float]:
    """Return the distances that every one of the curves reaches, from and to; from is above to if there are none."""
    ends = [(min(d for d, _ in curve), max(d for d, _ in curve)) for curve in curves]
    return max(low for low, _ in ends), min(high for _, high in ends)


def _levels(pairs: Pairs, of: TrainingSet, curves: Mapping[str, Curve]) -> list[float]:
    """Return the distances that a training set is read at; none if its models have none in common."""
    by_kind = _by_kind(pairs, of, curves)
    if not all(by_kind.values()):
        return []
    low, high = _reach([curve for of_kind in by_kind.values() for curve in of_kind])
    if not 0 < low < high:
        return []
    levels = np.geomspace(low, high, LEVELS)
    return [float(min(high, max(low, level))) for level in levels]


def _apart(pairs: Pairs, curves: Mapping[str, Curve]) -> str:
    """Say of a study without a common distance what each kind reaches."""
    told = []
    for of in pairs.sets:
        by_kind = _by_kind(pairs, of, curves)
        reached = [
            f"{NAMES[kind]} {min(d for c in own for d, _ in c):.3g} to {max(d for c in own for d, _ in c):.3g}"
            for kind, own in by_kind.items()
            if own
        ]
        told.append(f"{of.name}: {' and '.join(reached) or 'no distance was measured'}")
    return f"no Frechet distance is reached by all models of both kinds ({'; '.join(told)})."


def _sentence(pairs: Pairs, found: Mapping[TrainingSet, Sequence[float]], curves: Mapping[str, Curve]) -> str:
    told = []
    for of, levels in found.items():
        by_kind = _by_kind(pairs, of, curves)
        shares = [mean(interpolate(c, level) for c in own for level in levels) for own in by_kind.values()]
        told.append(
            f"{of.name}: {percent(max(0.0, shares[0]))} of the diffusion models' samples and "
            f"{percent(max(0.0, shares[1]))} of the GANs' are copies at distances of {levels[0]:.3g} to {levels[-1]:.3g}"
        )
    return f"{'; '.join(told)}." if told else ""


def _plot(pairs: Pairs, curves: Mapping[str, Curve]) -> Plot | None:
    series = []
    for of in pairs.sets:
        for kind, own in _by_kind(pairs, of, curves).items():
            for i, curve in enumerate(own):
                points = [Point(d, leak, tip=f"{NAMES[kind]}, {of.name}: {leak:.3f}") for d, leak in curve]
                name = f"{NAMES[kind]}, {of.name}"
                series.append(Series(name if not i else f"{name}, another seed", points, faint=i > 0))
    if not series:
        return None
    ends = "; ".join(
        f"{s.name} ends at distance {s.points[-1].x:.3g} with {percent(max(0.0, s.points[-1].y))}"
        for s in series
        if not s.faint
    )
    return Plot(
        "Leakage against distance, along training",
        f"Share of copies against the Frechet distance to held-out images: {ends}",
        "Frechet distance to held-out images (better to the left)",
        "share of copies beyond the control",
        series,
        y=(0.0, 0.1),
        caption="A line is a model along its checkpoints; thin: the other seeds.",
    )


def _table(
    pairs: Pairs, found: Mapping[TrainingSet, Sequence[float]], curves: Mapping[str, Curve]
) -> Table | None:
    rows: list[list[Cell]] = []
    for of, levels in found.items():
        by_kind = _by_kind(pairs, of, curves)
        rows += [
            [of.name, level, *(mean(interpolate(c, level) for c in own) for own in by_kind.values())]
            for level in levels
        ]
    columns = ("training set", "Frechet distance", NAMES["diffusion"], NAMES[pairs.gan])
    return Table(columns, rows) if rows else None
