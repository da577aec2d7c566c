"""(i) The inpainting attack separates members from others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from memcore.errors import RunError
from memcore.study.findings.base import Control, Measured, Part
from memcore.study.findings.over_seeds import mean
from memcore.study.findings.plot import Cell, Plot, Point, Series, Table
from memcore.study.findings.reading import Study
from memcore.study.protocols.protocol import ModelSpec
from memcore.study.rows import rows_name
from memcore.study.statistics import RocCurve, roc

LETTER = "i"
TITLE = "The inpainting attack separates members"
#: Points of a drawn curve.
POINTS = 41


def measure(study: Study) -> Measured:
    """Return by how much the area under the ROC of the attack's scores exceeds that of guessing."""
    specs = [spec for spec in study.models(LETTER) if "inpainting" in spec.attacks]
    if not specs:
        return Measured(lacking="no model of this study was attacked by inpainting.")
    seeds = study.complete_seeds(specs)
    used = [spec for spec in specs if spec.seed in seeds]
    curves = {spec.id: _curves(study, spec) for spec in used}
    areas = {seed: mean(curves[s.id][0].auc for s in used if s.seed == seed) for seed in seeds}
    controls = [control.auc for _, control in curves.values() if control is not None]
    counted = [curve for curve, _ in curves.values()]
    part = Part(
        "members against others",
        "a member scores above an image that was kept from training more often than not",
        "area under the ROC - 0.5",
        {seed: area - 0.5 for seed, area in areas.items()},
        min((1 / (c.members * c.non_members) for c in counted), default=0.0),
    )
    return Measured(
        parts=[part],
        n=f"{sum(c.members for c in counted):,} members and {sum(c.non_members for c in counted):,} others",
        planned=sorted({spec.seed for spec in specs}),
        models=[spec.id for spec in used],
        missing=study.missing(specs),
        controls=[
            Control(
                "area with one half of the others called members",
                mean(controls) if controls else None,
                "area under the ROC",
                len(controls),
            )
        ],
        sentence=_sentence(part),
        plot=_plot(list(curves.values())),
        table=_table(used, curves),
        notes=["Members and others are of one distribution, and as many of each as the protocol asks for."],
    )


def _curves(study: Study, spec: ModelSpec) -> tuple[RocCurve, RocCurve | None]:
    """Return the attack's curve and that of the control: non-members at even places called members."""
    rows = sorted(study.inpainting(spec), key=lambda row: row["image"])
    scores = np.array([row["score"] for row in rows], np.float64)
    members = np.array([row["member"] for row in rows], bool)
    if not members.any() or members.all() or not np.isfinite(scores).all():
        raise RunError(
            f"{study.storage.place}/{rows_name(spec.id, 'inpainting')} has no finite scores of both members "
            f"and others: remove it "
            "and its manifest, and run the study again"
        )
    others = scores[~members]
    control = roc(others, np.arange(len(others)) % 2 == 0) if len(others) > 1 else None
    return roc(scores, members), control


def _at(curve: RocCurve, fpr: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the curve's true positive rate at each rate, between its points on straight lines."""
    return np.asarray(np.interp(fpr, curve.fpr, curve.tpr))


def _sentence(part: Part) -> str:
    found = part.estimate
    if found.mean is None:
        return ""
    shifted = {seed: value + 0.5 for seed, value in part.values.items()}
    area = mean(shifted.values())
    span = (
        ""
        if found.low is None or found.high is None
        else f" ({max(0.0, found.low + 0.5):.3f} to {min(1.0, found.high + 0.5):.3f})"
    )
    return f"A member scores above an image kept from training with a chance of {area:.3f}{span}; guessing gives 0.5."


def _plot(curves: Sequence[tuple[RocCurve, RocCurve | None]]) -> Plot | None:
    if not curves:
        return None
    fpr = np.linspace(0, 1, POINTS)
    members = np.mean([_at(curve, fpr) for curve, _ in curves], axis=0)
    series = [
        Series(
            "inpainting attack",
            [Point(float(x), float(y)) for x, y in zip(fpr, members, strict=True)],
            marks=False,
        )
    ]
    others = [control for _, control in curves if control is not None]
    if others:
        level = np.mean([_at(control, fpr) for control in others], axis=0)
        series.append(
            Series(
                "others against others",
                [Point(float(x), float(y)) for x, y in zip(fpr, level, strict=True)],
                marks=False,
                control=True,
            )
        )
    area = mean(curve.auc for curve, _ in curves)
    return Plot(
        "ROC of the inpainting attack",
        f"Mean ROC of {len(curves)} models: area {area:.3f}",
        "share of the others called members",
        "share of the members called members",
        series,
        y=(0.0, 1.0),
        diagonal=True,
        caption="The mean over the models. Dashed: the same with one half of the others called members.",
    )


def _table(used: Sequence[ModelSpec], curves: Mapping[str, tuple[RocCurve, RocCurve | None]]) -> Table | None:
    rows: list[list[Cell]] = []
    for spec in used:
        curve, control = curves[spec.id]
        rows.append(
            [
                spec.id,
                spec.seed,
                curve.members,
                curve.non_members,
                curve.auc,
                control.auc if control else None,
            ]
        )
    return (
        Table(("model", "seed", "members", "others", "area under the ROC", "control"), rows) if rows else None
    )
