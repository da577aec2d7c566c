"""(g) LiRA beats the loss threshold, and strong LiRA beats LiRA."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from memcore.errors import RunError
from memcore.report.wording import percent
from memcore.study.attacks.membership import lira, threshold
from memcore.study.findings.base import Control, Measured, Part
from memcore.study.findings.over_seeds import mean
from memcore.study.findings.plot import Plot, Point, Series, Table
from memcore.study.findings.reading import Family, Study, families
from memcore.study.protocols.protocol import ModelSpec
from memcore.study.rows import rows_name
from memcore.study.statistics import NOT_RESOLVED, RocCurve, ppv, roc
from memcore.system.units import count

LETTER = "g"
TITLE = "LiRA beats the loss threshold, strong LiRA beats LiRA"
ATTACKS = ("loss threshold", "LiRA", "strong LiRA")
#: The plain attacks see one timestep, the stored one nearest to this share of the noise schedule, and so many draws of it,
#: not mirrored. The strong one sees all that is stored.
PLAIN_TIMESTEP, PLAIN_DRAWS = 0.05, 4
#: Models of a pool that LiRA needs: two with and two without each image, beside the attacked one and its complement.
LEAST_MODELS = 6
#: One member among so many candidates: what the share of true alarms is told for.
PRIOR = 0.01
POINTS = 48


@dataclasses.dataclass(frozen=True, eq=False)
class Pool:
    """Models on random halves of one pool: ``losses`` (models, images, draws), ``members`` (models, images).

    ``timesteps``, ``draw`` and ``flipped`` say of each of the draws what it is.
    """

    losses: NDArray[np.float32]
    members: NDArray[np.bool_]
    timesteps: NDArray[np.int64]
    draw: NDArray[np.int64]
    flipped: NDArray[np.bool_]
    schedule: int

    @property
    def plain(self) -> NDArray[np.bool_]:
        """Return which draws the plain attacks see."""
        times = np.unique(self.timesteps)
        nearest = times[np.abs(times - PLAIN_TIMESTEP * self.schedule).argmin()]
        chosen: NDArray[np.bool_] = (self.timesteps == nearest) & ~self.flipped & (self.draw < PLAIN_DRAWS)
        return chosen


def measure(study: Study) -> Measured:
    """Return the areas under the ROC of three attacks on models that were trained on random halves of one pool."""
    pools = _pools(study)
    specs = [spec for pool in pools for spec in pool.models]
    if not specs:
        return Measured(lacking=f"no {LEAST_MODELS} models of this study are on random halves of one pool.")
    seeds = study.complete_seeds(specs)
    curves: dict[int, list[RocCurve]] = {}
    lower: dict[int, float] = {}
    controls: list[float] = []
    weak = False
    for seed in seeds:
        read = _read(study, [s for s in specs if s.seed == seed])
        weak |= bool(read.plain.all())
        scores = _scores(read)
        lower[seed] = _lower(read)
        curves[seed] = [roc(s, read.members) for s in scores]
        controls += [roc(s, np.roll(read.members, 2, axis=0)).auc for s in scores]
    parts = [_direction(lower), *_parts(curves)]
    if weak:
        parts.pop()  # strong LiRA would be LiRA itself
    used = [spec for spec in specs if spec.seed in seeds]
    return Measured(
        parts=parts,
        n=_counted(curves),
        planned=sorted({spec.seed for spec in specs}),
        models=[spec.id for spec in used],
        missing=study.missing(specs),
        controls=[
            Control(
                "area with the member list of another model",
                mean(controls) if controls else None,
                "area under the ROC",
                len(controls),
            )
        ],
        sentence=_sentence(curves),
        plot=_plot(curves),
        table=_table(curves),
        notes=_notes(study, curves, weak),
    )


def _pools(study: Study) -> list[Family]:
    specs = [s for s in study.models(LETTER) if s.factors.half >= 0 and "membership" in s.attacks]
    return sorted(families(specs, "half", least=LEAST_MODELS), key=lambda pool: -len(pool.levels))[:1]


def _read(study: Study, specs: Sequence[ModelSpec]) -> Pool:
    """Return the losses of one pool's models on its images, those that at least one of the models was trained on."""
    specs = sorted(specs, key=lambda spec: spec.factors.half)
    axes = study.loss_axes(specs[0])
    found = [{row["image"]: row for row in study.losses(spec)} for spec in specs]
    images = sorted({image for rows in found for image, row in rows.items() if row["member"]})
    try:
        losses = np.array([[rows[image]["losses"] for image in images] for rows in found], np.float32)
        members = np.array([[rows[image]["member"] for image in images] for rows in found], bool)
        times, draws, flips = axes["timesteps"], int(axes["draws"]), int(axes["flips"])
        grid = np.array([(t, d, f) for t in times for d in range(draws) for f in range(flips)], np.int64)
        usable = bool(images) and losses.ndim == 3 and losses.shape[2] == len(grid)
    except (KeyError, TypeError, ValueError):
        usable = False
    if not usable or any(study.loss_axes(spec) != axes for spec in specs):
        raise RunError(
            f"{study.storage.place}/{rows_name(specs[0].id, 'losses')} and those of the other models of seed "
            f"{specs[0].seed} do not "
            "hold the losses of the same images at the same draws: remove them and their manifests, and run the study again"
        )
    return Pool(losses, members, grid[:, 0], grid[:, 1], grid[:, 2] > 0, specs[0].factors.timesteps)


def _scores(pool: Pool) -> list[NDArray[np.float64]]:
    """Return each attack's scores, (models, images): a few draws of one timestep for the first two, all for the last."""
    plain = pool.losses[..., pool.plain]
    return [
        threshold(plain),
        lira(plain, pool.members),
        lira(pool.losses, pool.members, timesteps=pool.timesteps),
    ]


def _lower(pool: Pool) -> float:
    """Return how much lower an image's log loss is with it in the training set than without, the mean over the images."""
    logs = np.log(pool.losses[..., pool.plain].mean(axis=2, dtype=np.float64))
    inside = np.where(pool.members, logs, 0).sum(axis=0) / pool.members.sum(axis=0)
    outside = np.where(pool.members, 0, logs).sum(axis=0) / (~pool.members).sum(axis=0)
    return float((outside - inside).mean())


def _direction(lower: Mapping[int, float]) -> Part:
    """Return what every attack takes for granted.

    LiRA learns either direction from its shadow models, and would hide a member list that is the wrong way round.
    """
    return Part(
        "members have the lower loss",
        "an image's loss is lower under the models that were trained on it",
        "difference of the log losses",
        lower,
        0.0,
    )


def _parts(curves: Mapping[int, Sequence[RocCurve]]) -> list[Part]:
    step = min((1 / (c.members * c.non_members) for row in curves.values() for c in row), default=0.0)
    unit = "difference of the areas under the ROC"
    return [
        Part(
            "LiRA against the threshold",
            "LiRA has a larger area than the loss threshold on the same models and draws",
            unit,
            {seed: row[1].auc - row[0].auc for seed, row in curves.items()},
            step,
        ),
        Part(
            "strong LiRA against LiRA",
            "LiRA over many draws, timesteps and flips has a larger area than over a few draws",
            unit,
            {seed: row[2].auc - row[1].auc for seed, row in curves.items()},
            step,
        ),
    ]


def _counted(curves: Mapping[int, Sequence[RocCurve]]) -> str:
    first = [row[0] for row in curves.values()]
    return f"scores of {sum(c.members for c in first):,} members and {sum(c.non_members for c in first):,} others"


def _sentence(curves: Mapping[int, Sequence[RocCurve]]) -> str:
    if not curves:
        return ""
    areas = [mean(row[i].auc for row in curves.values()) for i in range(3)]
    return (
        f"The area under the ROC is {areas[0]:.3f} for the loss threshold, {areas[1]:.3f} for LiRA and "
        f"{areas[2]:.3f} for strong LiRA; at "
        f"1 % of false positives they find {_rate(curves, 0, 0.01)}, {_rate(curves, 1, 0.01)} and "
        f"{_rate(curves, 2, 0.01)} of the members."
    )


def _rates(curves: Mapping[int, Sequence[RocCurve]], attack: int, fpr: float) -> list[float]:
    """Return the rates of the seeds that resolve them."""
    return [rate for row in curves.values() if (rate := row[attack].tpr_at(fpr)) is not None]


def _rate(curves: Mapping[int, Sequence[RocCurve]], attack: int, fpr: float) -> str:
    rates = _rates(curves, attack, fpr)
    return percent(mean(rates)) if len(rates) == len(curves) else f"({NOT_RESOLVED})"


def _plot(curves: Mapping[int, Sequence[RocCurve]]) -> Plot | None:
    if not curves:
        return None
    fewest = min(row[0].non_members for row in curves.values())
    fpr = np.geomspace(1 / fewest, 1.0, POINTS)
    series = []
    for attack, name in enumerate(ATTACKS):
        tpr = np.mean([_step(row[attack], fpr) for row in curves.values()], axis=0)
        points = [Point(float(x), float(y)) for x, y in zip(fpr, tpr, strict=True) if y > 0]
        series.append(Series(name, points, marks=False))
    areas = "; ".join(
        f"{name}: {mean(row[i].auc for row in curves.values()):.3f}" for i, name in enumerate(ATTACKS)
    )
    return Plot(
        "ROC of the membership attacks",
        f"Mean ROC over the seeds, areas {areas}",
        "share of the others called members (log scale)",
        "share of the members called members (log scale)",
        series,
        x_scale="log",
        y_scale="log",
        y=(1 / fewest, 1.0),
        diagonal=True,
        caption="The mean over the seeds. Dashed: guessing. What counts is the left end, where false alarms are rare.",
    )


def _step(curve: RocCurve, fpr: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the curve's step at each rate."""
    return np.asarray(curve.tpr[np.searchsorted(curve.fpr, fpr * (1 + 1e-9), side="right") - 1])


def _table(curves: Mapping[int, Sequence[RocCurve]]) -> Table | None:
    rows: list[list[str | float | int | None]] = []
    for seed, row in curves.items():
        for attack, curve in zip(ATTACKS, row, strict=True):
            one, tenth = curve.tpr_at(0.01), curve.tpr_at(0.001)
            rows.append(
                [
                    f"{seed}",
                    attack,
                    curve.auc,
                    NOT_RESOLVED if one is None else one,
                    NOT_RESOLVED if tenth is None else tenth,
                    NOT_RESOLVED if one is None or one == 0 else ppv(one, 0.01, PRIOR),
                ]
            )
    columns = (
        "seed",
        "attack",
        "area",
        "found at 1 % false positives",
        "at 0.1 %",
        f"true alarms at 1 %, if 1 of {1 / PRIOR:.0f} is a member",
    )
    return Table(columns, rows) if rows else None


def _notes(study: Study, curves: Mapping[int, Sequence[RocCurve]], weak: bool) -> list[str]:
    models = sum(len(pool.levels) for pool in _pools(study))
    notes = [
        f"{count(models, 'model')} a pool; each is attacked in turn with the others, but its complement, as "
        f"shadow models. One variance over all "
        "images. Scores of the models of a pool are taken together; the pools of two seeds share no image."
    ]
    if weak:
        notes.append(
            "The stored losses hold no more draws than the plain attack sees: there is no strong LiRA to compare."
        )
    if any(row[0].tpr_at(0.001) is None for row in curves.values()):
        notes.append("A rate at 0.1 % of false positives is told from 10,000 scores of others on.")
    return notes
