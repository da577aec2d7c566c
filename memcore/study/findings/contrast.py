"""Two values of one factor, everything else equal: what findings (d), (e) and (f) measure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from memcore.study.findings.base import Measured, Part
from memcore.study.findings.over_seeds import common_steps, held_out_control, mean, per_seed_lines
from memcore.study.findings.plot import Plot, Series, Table
from memcore.study.findings.reading import Family, Leak, Study, families


@dataclasses.dataclass(frozen=True)
class Quantity:
    """Something read from a checkpoint: ``unit`` is what it counts, ``step`` the least difference of one checkpoint."""

    name: str
    unit: str
    value: Callable[[Leak], float]
    step: Callable[[Leak], float]


COPIES = Quantity(
    "samples that are copies",
    "share of samples, beyond the control",
    lambda leak: leak.excess,
    lambda leak: 1 / max(1, leak.samples),
)
FOUND = Quantity(
    "training images found",
    "share of the unique images",
    lambda leak: leak.found,
    lambda leak: 1 / max(1, leak.planted),
)


@dataclasses.dataclass(frozen=True)
class Contrast:
    """The factor, the value that the paper says leaks more, the one that leaks less, and their names on the page.

    ``claim`` is that of each part, with the quantity's name put in for "{}". Further values of the factor are shown and not
    judged.
    """

    letter: str
    factor: str
    more: Any
    less: Any
    names: Mapping[Any, str]
    rule: str
    quantities: Sequence[Quantity]
    claim: str
    lacking: str


def measure_contrast(
    study: Study, contrast: Contrast, sentence: Callable[[Mapping[Any, float], Sequence[Part]], str]
) -> Measured:
    """Return the difference between the two values, seed by seed: the mean over the checkpoints and settings of both."""
    found = [
        family
        for family in families(study.models(contrast.letter), contrast.factor)
        if {(contrast.more,), (contrast.less,)} <= set(family.levels)
    ]
    if not found:
        return Measured(lacking=contrast.lacking)
    specs = [spec for family in found for spec in family.models]
    seeds = study.complete_seeds(specs)
    used = [spec for spec in specs if spec.seed in seeds]
    leaks = {spec.id: study.leaks(spec, contrast.rule) for spec in used}
    levels = sorted({level[0] for family in found for level in family.levels}, key=list(contrast.names).index)
    tables = [_by_seed(found, leaks, seeds, levels, quantity) for quantity in contrast.quantities]
    every = [leak for rows in leaks.values() for leak in rows.values()]
    parts = [
        Part(
            quantity.name,
            contrast.claim.format(quantity.name),
            quantity.unit,
            {
                seed: row[contrast.more] - row[contrast.less]
                for seed, row in values.items()
                if contrast.more in row and contrast.less in row
            },
            min((quantity.step(leak) for leak in every), default=1.0),
        )
        for quantity, values in zip(contrast.quantities, tables, strict=True)
    ]
    first = tables[0]
    means = {
        level: mean(row[level] for row in first.values())
        for level in levels
        if first and all(level in row for row in first.values())
    }
    return Measured(
        parts=parts,
        n=f"{sum(leak.samples for leak in every):,} samples",
        planned=sorted({spec.seed for spec in specs}),
        models=[spec.id for spec in used],
        missing=study.missing(specs),
        controls=[held_out_control(study, used, contrast.rule)],
        sentence=sentence(means, parts) if means else "",
        plot=_plot(contrast, levels, first, [leak.control for leak in every]),
        table=_table(contrast, found, leaks, seeds, levels),
    )


def _by_seed(
    found: Sequence[Family],
    leaks: Mapping[str, Mapping[int, Leak]],
    seeds: Sequence[int],
    levels: Sequence[Any],
    quantity: Quantity,
) -> dict[int, dict[Any, float]]:
    """Return, for each seed and level, the mean over the families of the mean over the steps that all levels have."""
    by_seed: dict[int, dict[Any, float]] = {}
    for seed in seeds:
        values: dict[Any, list[float]] = {}
        for family in found:
            models = {
                level: leaks[family.levels[level,][seed].id]
                for level in levels
                if seed in family.levels.get((level,), {})
            }
            steps = common_steps(list(models.values()))
            if len(models) < 2 or not steps:
                continue
            for level, rows in models.items():
                values.setdefault(level, []).append(mean(quantity.value(rows[step]) for step in steps))
        if values:
            by_seed[seed] = {level: mean(numbers) for level, numbers in values.items()}
    return by_seed


def _plot(
    contrast: Contrast,
    levels: Sequence[Any],
    values: Mapping[int, Mapping[Any, float]],
    controls: Sequence[float],
) -> Plot | None:
    rows = {
        seed: [row[level] for level in levels]
        for seed, row in values.items()
        if all(level in row for level in levels)
    }
    if not rows:
        return None
    names = [contrast.names[level] for level in levels]
    quantity = contrast.quantities[0]
    series = per_seed_lines(names, rows, 0.0)
    level = mean(controls)
    series.append(
        Series(
            "held-out images",
            [
                series[-1].points[0]._replace(y=level, low=None, high=None, tip=f"held-out: {level:.4f}"),
                series[-1].points[-1]._replace(y=level, low=None, high=None, tip=""),
            ],
            marks=False,
            control=True,
        )
    )
    told = "; ".join(f"{name}: {mean(row[x] for row in rows.values()):.3f}" for x, name in enumerate(names))
    return Plot(
        quantity.name[0].upper() + quantity.name[1:],
        f"{quantity.name} by {contrast.factor}: {told}",
        "",
        quantity.unit,
        series,
        x_scale="named",
        names=names,
        y=(0.0, 0.1),
        caption="Thin: one seed, the mean over its checkpoints. Thick: the mean over the seeds, with its interval. Dashed: "
        "the same count against held-out images.",
    )


def _table(
    contrast: Contrast,
    found: Sequence[Family],
    leaks: Mapping[str, Mapping[int, Leak]],
    seeds: Sequence[int],
    levels: Sequence[Any],
) -> Table | None:
    rows: dict[tuple[int, int], list[Leak]] = {}
    for family in found:
        for position, level in enumerate(levels):
            for seed, spec in family.levels.get((level,), {}).items():
                if seed in seeds:
                    for step, leak in leaks[spec.id].items():
                        rows.setdefault((position, step), []).append(leak)
    if not rows:
        return None
    return Table(
        (
            contrast.factor,
            "step",
            "models",
            "samples that are copies",
            "of held-out",
            "unique images found",
            "of",
        ),
        [
            [
                contrast.names[levels[position]],
                step,
                len(found_leaks),
                mean(leak.share for leak in found_leaks),
                mean(leak.control for leak in found_leaks),
                sum(leak.unique for leak in found_leaks),
                sum(leak.planted for leak in found_leaks),
            ]
            for (position, step), found_leaks in sorted(rows.items())
        ],
    )
