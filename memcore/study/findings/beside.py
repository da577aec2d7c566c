"""What stands beside the findings: figures that no verdict rests on, each with its control.

How many images more samples would find, the exposure of canaries, membership without shadow models, and what a control of
another distribution would have made one believe. They are read from the tables of finished models, and are no part of the
family that Holm adjusts for.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memcore.report.wording import tidy
from memcore.study.attacks.membership import threshold
from memcore.study.attacks.quantile import quantile
from memcore.study.findings.base import estimate
from memcore.study.findings.over_seeds import RATIO, mean, point, written
from memcore.study.findings.plot import Cell, Plot, Point, Series, Table
from memcore.study.findings.pool import PLAIN_DRAWS, PLAIN_TIMESTEP
from memcore.study.findings.reading import Study
from memcore.study.protocols.protocol import ModelSpec
from memcore.study.statistics import auc

#: Images that quantile regression learns from, at least and at most, in each of the two folds of the held-out set.
_FEWEST, _MOST = 40, 2000
#: Mean exposure in bits of an image whose rank among very many others is chance: 1 / ln 2.
CHANCE = 1 / math.log(2)


@dataclasses.dataclass(frozen=True)
class Beside:
    """Figures without a verdict: ``name`` is short and unique, ``sentence`` says what was measured and on what."""

    name: str
    title: str
    sentence: str
    table: Table
    plot: Plot | None = None
    notes: Sequence[str] = ()


def measure_beside(study: Study) -> list[Beside]:
    """Return the figures that the finished models have tables for, in a fixed order.

    Raises RunError if a table is damaged or lacks its control.
    """
    found = (_coverage(study), _canaries(study), _without_shadows(study), _shifted(study))
    return [figures for figures in found if figures is not None]


def _finished(study: Study, attack: str) -> list[ModelSpec]:
    return [spec for spec in study.specs if attack in spec.attacks and study.is_done(spec)]


def _by_seed(pairs: Iterable[tuple[int, float]]) -> dict[int, float]:
    """Return the mean of each seed's values."""
    held: dict[int, list[float]] = {}
    for seed, value in pairs:
        held.setdefault(seed, []).append(value)
    return {seed: mean(values) for seed, values in sorted(held.items())}


def _coverage(study: Study) -> Beside | None:
    series: list[Series] = []
    rows: list[list[Cell]] = []
    control: list[float] = []
    for group in study.protocol.groups:
        name = tidy(group.name)
        specs = [s for s in _finished(study, "extraction") if group.name in s.groups]
        curves = [curve for spec in specs if (curve := _curve(study, spec)) is not None]
        if not curves:
            continue
        grid = sorted({drawn for curve, _ in curves for drawn, _ in curve})
        points = []
        for drawn in grid:
            shares = [_at(curve, drawn) for curve, _ in curves]
            points.append(Point(drawn, mean(shares), tip=f"{name}, {drawn:,} samples: {mean(shares):.3f}"))
        series.append(Series(name, points))
        held_out = mean(share for _, share in curves)
        control.append(held_out)
        half = next((p.y for p in reversed(points) if p.x <= grid[-1] / 2), points[0].y)
        rows.append([name, len(curves), grid[-1], half, points[-1].y, held_out])
    if not series:
        return None
    ends = [min(p.x for s in series for p in s.points), max(p.x for s in series for p in s.points)]
    level = [Point(x, mean(control), tip=f"held-out: {mean(control):.4f}") for x in ends]
    best = max(series, key=lambda s: s.points[-1].y)
    return Beside(
        "coverage",
        "Unique images found against samples drawn",
        f"The group {best.name!r} gives up most: {100 * best.points[-1].y:.1f} % of its training images are found by "
        f"{best.points[-1].x:,.0f} samples of a model.",
        Table(
            ("group", "models", "samples of each", "found by half of them", "found by all", "held-out found"),
            rows,
        ),
        Plot(
            "Coverage",
            "Share of the training images found against samples drawn; at the end "
            + "; ".join(f"{s.name}: {s.points[-1].y:.3f}" for s in series),
            "samples drawn (log scale)",
            "share of the training images found",
            [*series, Series("held-out images", level, marks=False, control=True)],
            x_scale="log",
            y=(0.0, 0.2),
            caption="The mean over the models of a group, at their last checkpoint, d1 / d2 < 1/3. Dashed: the same count "
            "against held-out images, by all samples.",
        ),
    )


def _curve(study: Study, spec: ModelSpec) -> tuple[list[tuple[int, float]], float] | None:
    """Return (samples, share found) of a model's last checkpoint, and the share of the held-out images that was found."""
    leaks = study.leaks(spec, RATIO)
    found = [r for r in study.rows(spec, "coverage") if r["rule"] == RATIO]
    if not leaks or not found:
        return None
    last = max(leaks)
    planted = max(1, leaks[last].planted)
    curve = [(int(r["samples"]), r["unique"] / planted) for r in found if r["step"] == last]
    held_out = next(
        r
        for r in study.extraction(spec)
        if (r["rule"], r["of"], r["step"], r["copies"]) == (RATIO, "held-out", last, 0)
    )
    return (sorted(curve), held_out["unique"] / max(1, held_out["planted"])) if curve else None


def _at(curve: Sequence[tuple[int, float]], drawn: int) -> float:
    """Return what was found by so many samples: the last point of the curve that is not beyond them."""
    return next((share for samples, share in reversed(curve) if samples <= drawn), 0.0)


def _canaries(study: Study) -> Beside | None:
    found: dict[int, list[tuple[int, float]]] = {}
    among = 0
    for spec in _finished(study, "canaries"):
        for row in study.rows(spec, "canaries"):
            if row["step"] != spec.checkpoints[-1]:
                continue
            found.setdefault(row["copies"], []).append((spec.seed, row["exposure"]))
            among = max(among, row["candidates"])
    if not found:
        return None
    rows: list[list[Cell]] = []
    for copies, values in sorted(found.items()):
        seeds = _by_seed(values)
        rows.append([f"{copies}", len(values), len(seeds), written(estimate(list(seeds.values())), 2)])
    most = max(found)
    top = written(estimate(list(_by_seed(found[most]).values())), 2)
    return Beside(
        "canaries",
        "Canaries: images of noise, planted to be looked for",
        f"With {most:,} copies a canary has an exposure of {top} bits of at most {math.log2(among):.1f}; "
        f"one that was never planted has {CHANCE:.2f} on average.",
        Table(("copies", "canaries", "seeds", "exposure in bits, mean over seeds"), rows),
        notes=["Exposure: log2 of the candidates - log2 of the canary's rank among them, by its loss."],
    )


class _Losses(NamedTuple):
    """By role (images, draws): at the plain attack's timestep, and at the noisiest stored one, empty if that is the same."""

    easy: Mapping[str, NDArray[np.float32]]
    hard: Mapping[str, NDArray[np.float32]]


def _losses(study: Study, spec: ModelSpec) -> _Losses:
    rows = study.losses(spec)
    if not rows:
        return _Losses({}, {})
    axes = study.loss_axes(spec)
    times, draws, flips = axes["timesteps"], int(axes["draws"]), int(axes["flips"])
    grid = np.array([(t, d, f) for t in times for d in range(draws) for f in range(flips)], np.int64)
    plain = min(times, key=lambda t: (abs(t - PLAIN_TIMESTEP * spec.factors.timesteps), t))
    seen = (grid[:, 2] == 0) & (grid[:, 1] < PLAIN_DRAWS)
    by_role = {
        role: np.array([row["losses"] for row in rows if row["role"] == role], np.float32)
        for role in sorted({row["role"] for row in rows})
    }
    easy, hard = (
        {role: values[:, seen & (grid[:, 0] == t)] for role, values in by_role.items()}
        for t in (plain, max(times))
    )
    return _Losses(easy, hard if max(times) != plain else {})


def _area(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float:
    return auc(np.concatenate([inside, outside]), np.arange(len(inside) + len(outside)) < len(inside))


def _scores(losses: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(threshold(losses[None])[0], np.float64)


def _without_shadows(study: Study) -> Beside | None:
    areas: list[tuple[int, float]] = []
    plain: list[tuple[int, float]] = []
    members = others = 0
    for spec in _finished(study, "membership"):
        easy, hard = _losses(study, spec)
        if not hard or "member" not in easy or len(easy.get("held-out", ())) < 2 * _FEWEST:
            continue
        made = [_fold(easy, hard, fold) for fold in (0, 1)]
        areas.append((spec.seed, mean(area for area, _ in made)))
        plain.append((spec.seed, mean(area for _, area in made)))
        members += len(easy["member"])
        others += len(easy["held-out"])
    if not areas:
        return None
    by_seed, of_plain = _by_seed(areas), _by_seed(plain)
    gains = estimate([by_seed[seed] - of_plain[seed] for seed in by_seed])
    rows: list[list[Cell]] = [
        ["quantile regression", len(areas), len(by_seed), written(estimate(list(by_seed.values())))],
        [
            "loss threshold, the same images",
            len(plain),
            len(by_seed),
            written(estimate(list(of_plain.values()))),
        ],
        ["difference", len(areas), len(by_seed), written(gains)],
    ]
    return Beside(
        "quantile",
        "Membership without shadow models: quantile regression",
        f"Its area under the ROC is {written(estimate(list(by_seed.values())))}, the threshold's "
        f"{written(estimate(list(of_plain.values())))}, over {len(areas):,} models with {members:,} scores of members and "
        f"{others:,} of others.",
        Table(("attack", "models", "seeds", "area under the ROC, mean over seeds"), rows),
        notes=[
            "One model alone is asked. From half of the held-out images it is learnt how low the loss is for an image whose "
            "loss is as it is at the noisiest timestep, where a member shows least; members and the other half are scored, "
            "then the halves change places."
        ],
    )


def _fold(
    easy: Mapping[str, NDArray[np.float32]], hard: Mapping[str, NDArray[np.float32]], fold: int
) -> tuple[float, float]:
    """Return the areas of quantile regression and of the threshold; one half of the held-out images is learnt from."""
    public = np.flatnonzero(np.arange(len(easy["held-out"])) % 2 == fold)[:_MOST]
    scored = np.arange(len(easy["held-out"])) % 2 != fold
    inside, outside = easy["member"], easy["held-out"][scored]
    features = -_scores(np.concatenate([hard["member"], hard["held-out"][scored]]))[:, None]
    found = quantile(
        np.concatenate([inside, outside])[None],
        features,
        easy["held-out"][public][None],
        -_scores(hard["held-out"][public])[:, None],
    )[0]
    return _area(found[: len(inside)], found[len(inside) :]), _area(_scores(inside), _scores(outside))


def _shifted(study: Study) -> Beside | None:
    values: dict[str, list[tuple[int, float]]] = {"right": [], "trap": [], "nobody": []}
    for spec in _finished(study, "membership"):
        easy = _losses(study, spec).easy
        if not {"member", "held-out", "shifted"} <= easy.keys():
            continue
        member, other, shifted = (_scores(easy[role]) for role in ("member", "held-out", "shifted"))
        values["right"].append((spec.seed, _area(member, other)))
        values["trap"].append((spec.seed, _area(member, shifted)))
        values["nobody"].append((spec.seed, _area(other, shifted)))
    if not values["right"]:
        return None
    names = {
        "right": "members against held-out images",
        "trap": "members against shifted images",
        "nobody": "held-out against shifted images, neither of them members",
    }
    seeds = {key: _by_seed(found) for key, found in values.items()}
    told = {key: written(estimate(list(found.values()))) for key, found in seeds.items()}
    points = [point(i, list(seeds[key].values()), names[key]) for i, key in enumerate(names)]
    return Beside(
        "shifted",
        "The trap: a control of another distribution",
        f"With a little grain on the control, the loss threshold seems to reach {told['trap']} instead of "
        f"{told['right']}; it reaches {told['nobody']} on two sets that no model saw.",
        Table(
            ("sets", "models", "seeds", "area under the ROC of the loss threshold"),
            [[names[key], len(values[key]), len(seeds[key]), told[key]] for key in names],
        ),
        Plot(
            "The shifted control",
            "; ".join(f"{names[key]}: {told[key]}" for key in names),
            "",
            "area under the ROC",
            [
                Series("loss threshold", points, line=False),
                Series("guessing", [Point(0, 0.5), Point(len(names) - 1, 0.5)], marks=False, control=True),
            ],
            x_scale="named",
            names=("right control", "shifted", "neither"),
            y=(0.4, 1.0),
            caption="Means over the seeds with their intervals. Dashed: guessing.",
        ),
        notes=[
            "Shifted: held-out images with grain of 8 of 255 levels. No other figure of this page uses them."
        ],
    )
