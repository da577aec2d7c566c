"""(l) What leaks of a diffusion model falls with the size of its training set, as a exp(-b n), and stays above a GAN's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from memcore.report.wording import percent
from memcore.study.findings.base import Measured, Part
from memcore.study.findings.kinds import NAMES, NO_PAIR, Pairs, TrainingSet, checkpoints, find_pairs
from memcore.study.findings.over_seeds import RATIO, held_out_control, mean, point
from memcore.study.findings.plot import Cell, Plot, Series, Table
from memcore.study.findings.reading import Study

LETTER = "l"
TITLE = "Leakage falls with the size of the training set, and diffusion models stay above GANs"
#: Sizes that a curve can be fitted to.
LEAST = 3
#: A rate b is looked for up to a fall (or a rise) by this factor between the two nearest sizes, first at so many places.
_STEEPEST, _PLACES, _HALVINGS = 1000.0, 401, 60


def measure(study: Study) -> Measured:
    """Return the rate b of each seed's diffusion models, and how much more they leak than the GANs over all sizes."""
    pairs = find_pairs(study, LETTER)
    if pairs is None:
        return Measured(lacking=NO_PAIR)
    single = [of for of in pairs.sets if not of.planted]
    sizes = sorted({of.n for of in single})
    if len(sizes) < LEAST:
        return Measured(
            lacking=f"a fit needs {LEAST} sizes of sets of single images, this study has {len(sizes)}."
        )
    models = {key: spec for key, spec in pairs.models.items() if key[1] in single}
    pairs = Pairs(pairs.gan, models)
    seeds = study.complete_seeds(pairs.specs)
    used = [spec for spec in pairs.specs if spec.seed in seeds]
    leaks = {spec.id: checkpoints(study, spec)[-1].leak for spec in used}
    curves = {
        kind: {
            seed: [
                (of.n, leaks[s.id].excess) for (own, of, k), s in models.items() if (own, k) == (seed, kind)
            ]
            for seed in seeds
        }
        for kind in ("diffusion", pairs.gan)
    }
    fits = {
        kind: {seed: found for seed, rows in of_kind.items() if (found := fit_decay(rows)) is not None}
        for kind, of_kind in curves.items()
    }
    above = {
        seed: mean(leak for _, leak in curves["diffusion"][seed])
        - mean(leak for _, leak in curves[pairs.gan][seed])
        for seed in seeds
    }
    samples = min((leak.samples for leak in leaks.values()), default=1)
    parts = [
        Part(
            "falls with the size",
            "of the diffusion models, b of a exp(-b n) is above 0",
            "b, for 100 images",
            {seed: 100 * b for seed, (_, b) in fits["diffusion"].items()},
            0.0,
        ),
        Part(
            "above the GANs",
            f"over all sizes, more samples of the diffusion models are copies than of the GANs ({NAMES[pairs.gan]})",
            "difference of the memorised fraction",
            above,
            1 / samples,
        ),
    ]
    return Measured(
        parts=parts,
        n=f"{sum(leak.samples for leak in leaks.values()):,} samples",
        planned=sorted({spec.seed for spec in pairs.specs}),
        models=[spec.id for spec in used],
        missing=study.missing(pairs.specs),
        controls=[held_out_control(study, used, RATIO)],
        sentence=_sentence(curves, fits),
        plot=_plot(curves),
        table=_table(single, curves, fits),
        notes=[
            f"{NAMES[kind]}: in {len(seeds) - len(of_kind)} of {len(seeds)} seeds nothing leaks at any size, so that "
            "there is no curve."
            for kind, of_kind in fits.items()
            if len(of_kind) < len(seeds)
        ],
    )


def fit_decay(rows: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """Return (a, b) of the least squares fit of a exp(-b n), a >= 0, to pairs (n, value).

    None where no value is above 0, or there are fewer than two sizes. b is at most that of a fall by 1000 between the two
    nearest sizes, at least that of such a rise: where only the smallest set leaks, no steeper one can be told.

    >>> a, b = fit_decay([(n, 0.8 * math.exp(-0.05 * n)) for n in (16, 32, 64)])
    >>> round(a, 4), round(b, 4)
    (0.8, 0.05)
    """
    n, y = (np.array([row[i] for row in rows], np.float64) for i in (0, 1))
    sizes = np.unique(n)
    if len(sizes) < 2 or (y <= 0).all():
        return None
    steepest = math.log(_STEEPEST) / float(np.diff(sizes).min())

    def factor(b: float) -> float:
        shape = np.exp(-b * (n - sizes[0]))
        return max(0.0, float(shape @ y) / float(shape @ shape))

    def error(b: float) -> float:
        return float(np.square(y - factor(b) * np.exp(-b * (n - sizes[0]))).sum())

    places = np.linspace(-steepest, steepest, _PLACES)
    best = int(np.argmin([error(b) for b in places]))
    low, high = float(places[max(0, best - 1)]), float(places[min(_PLACES - 1, best + 1)])
    for _ in range(_HALVINGS):
        first, second = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, second) if error(first) < error(second) else (first, high)
    b = (low + high) / 2
    return factor(b) * math.exp(b * float(sizes[0])), b


def _sentence(
    curves: Mapping[str, Mapping[int, Sequence[tuple[int, float]]]],
    fits: Mapping[str, Mapping[int, tuple[float, float]]],
) -> str:
    told = []
    for kind, of_kind in curves.items():
        rows = [row for own in of_kind.values() for row in own]
        if not rows:
            return ""
        ends = [
            mean(y for n, y in rows if n == at) for at in (min(n for n, _ in rows), max(n for n, _ in rows))
        ]
        rate = f", b = {mean(b for _, b in fits[kind].values()):.3f} an image" if fits[kind] else ""
        told.append(
            f"{NAMES[kind]}: {percent(max(0.0, ends[0]))} of copies on {min(n for n, _ in rows):,} images, "
            f"{percent(max(0.0, ends[1]))} on {max(n for n, _ in rows):,}{rate}"
        )
    return f"{'; '.join(told)}."


def _plot(curves: Mapping[str, Mapping[int, Sequence[tuple[int, float]]]]) -> Plot | None:
    series = []
    for kind, of_kind in curves.items():
        rows = [row for own in of_kind.values() for row in own]
        points = [
            point(n, [y for m, y in rows if m == n], f"{NAMES[kind]}, {n:,} images")
            for n in sorted({n for n, _ in rows})
        ]
        if points:
            series.append(Series(NAMES[kind], points))
    if not series:
        return None
    told = "; ".join(
        f"{s.name}: {percent(max(0.0, s.points[0].y))} to {percent(max(0.0, s.points[-1].y))}" for s in series
    )
    return Plot(
        "Leakage against the size of the training set",
        f"Share of copies from the smallest to the largest set: {told}",
        "images in the training set (log scale)",
        "share of copies beyond the control",
        series,
        x_scale="log",
        y=(0.0, 0.2),
        caption="The mean over the seeds at the end of training, with its interval.",
    )


def _table(
    single: Sequence[TrainingSet],
    curves: Mapping[str, Mapping[int, Sequence[tuple[int, float]]]],
    fits: Mapping[str, Mapping[int, tuple[float, float]]],
) -> Table | None:
    rows: list[list[Cell]] = []
    for kind, of_kind in curves.items():
        for seed, own in sorted(of_kind.items()):
            a, b = fits[kind].get(seed, (None, None))
            by_size = dict(own)
            rows.append([NAMES[kind], seed, *(by_size.get(of.n) for of in single), a, b])
    columns = ("model", "seed", *(f"copies, n = {of.n:,}" for of in single), "a", "b")
    return Table(columns, rows) if rows else None
