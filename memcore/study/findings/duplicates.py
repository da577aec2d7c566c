"""(a) Duplicates are extracted, single images much less: dose and response over the copies planted in one set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from memcore.report.wording import percent
from memcore.study.findings.base import Measured, Part
from memcore.study.findings.over_seeds import ADAPTIVE, held_out_control, mean, point
from memcore.study.findings.plot import Plot, Point, Series, Table
from memcore.study.findings.reading import Study
from memcore.study.protocols.protocol import ModelSpec
from memcore.system.units import count

LETTER = "a"
TITLE = "Duplicates are extracted, single images much less"

#: Of one model: for each number of copies, the unique images planted and found.
Levels = Mapping[int, tuple[int, int]]


def measure(study: Study) -> Measured:
    """Return the share of the unique images that were found, by their number of copies, at the end of training."""
    specs = study.models(LETTER)
    if not specs:
        return Measured(lacking="no model of this study has planted duplicates.")
    seeds = study.complete_seeds(specs)
    done = [spec for spec in specs if spec.seed in seeds]
    levels = {spec.id: found for spec in done if len(found := _levels(study, spec)) >= 2}
    used = [spec for spec in done if spec.id in levels]
    if done and not used:
        return Measured(lacking="no model of this study has images with different numbers of copies.")
    shares = {seed: _shares([levels[s.id] for s in used if s.seed == seed]) for seed in seeds}
    most = max((max(found) for found in levels.values()), default=0)
    least_planted = min((planted for found in levels.values() for planted, _ in found.values()), default=1)
    parts = [
        Part(
            "duplicates against single images",
            "a larger share is found of the images with most copies than of single ones",
            "difference of the shares found",
            {seed: row[max(row)] - row[min(row)] for seed, row in shares.items()},
            1 / least_planted,
        ),
        Part(
            "dose and response",
            "each tenfold of the copies adds to the share found",
            "share a tenfold",
            {seed: _slope(row) for seed, row in shares.items()},
            1 / least_planted / max(1.0, math.log10(max(most, 2))),
        ),
    ]
    return Measured(
        parts=parts,
        n=_counted(levels),
        planned=sorted({spec.seed for spec in specs}),
        models=[spec.id for spec in used],
        missing=study.missing(specs),
        controls=[held_out_control(study, used, ADAPTIVE)],
        sentence=_sentence(shares, parts),
        plot=_plot(study, used, shares, 1 / least_planted),
        table=_table(levels, shares),
        notes=[
            "Found: the nearest training image of at least one sample by the paper's adaptive rule, duplicates merged first."
        ],
    )


def _levels(study: Study, spec: ModelSpec) -> Levels:
    rows = [
        row
        for row in study.extraction(spec)
        if row["rule"] == ADAPTIVE and row["of"] == "train" and row["copies"] > 0 and row["planted"] > 0
    ]
    last = max((row["step"] for row in rows), default=0)
    return {row["copies"]: (row["planted"], row["unique"]) for row in rows if row["step"] == last}


def _shares(models: Sequence[Levels]) -> dict[int, float]:
    """Return the share found by copies, over all models of one seed."""
    copies = sorted({c for found in models for c in found})
    return {
        c: sum(found[c][1] for found in models if c in found)
        / sum(found[c][0] for found in models if c in found)
        for c in copies
    }


def _slope(shares: Mapping[int, float]) -> float:
    """Return the least-squares slope of the share over log10 of the copies."""
    x = [math.log10(c) for c in shares]
    middle, level = mean(x), mean(shares.values())
    return math.fsum((a - middle) * (y - level) for a, y in zip(x, shares.values(), strict=True)) / math.fsum(
        (a - middle) ** 2 for a in x
    )


def _counted(levels: Mapping[str, Levels]) -> str:
    planted = sum(p for found in levels.values() for c, (p, _) in found.items() if c > 1)
    single = sum(p for found in levels.values() for c, (p, _) in found.items() if c == 1)
    return f"{count(planted, 'image')} with copies and {single:,} without"


def _sentence(shares: Mapping[int, Mapping[int, float]], parts: Sequence[Part]) -> str:
    if not shares:
        return ""
    rows = list(shares.values())
    low, high = min(rows[0]), max(rows[0])
    of_low, of_high = (mean(row[c] for row in rows if c in row) for c in (low, high))
    slope = parts[1].estimate.mean or 0.0
    return (
        f"Of the images with {high:,} copies {percent(of_high)} were extracted, of those with "
        f"{count(low, 'copy', 'copies')} {percent(of_low)}: {100 * slope:+.0f} points a tenfold."
    )


def _plot(
    study: Study, used: Sequence[ModelSpec], shares: Mapping[int, Mapping[int, float]], step: float
) -> Plot | None:
    if not shares:
        return None
    copies = sorted({c for row in shares.values() for c in row})
    seeds = [
        Series(
            f"seed {seed}",
            [Point(c, y, tip=f"seed {seed}, {count(c, 'copy', 'copies')}: {y:.3f}") for c, y in row.items()],
            faint=True,
        )
        for seed, row in shares.items()
    ]
    means = [
        point(c, [row[c] for row in shares.values() if c in row], count(c, "copy", "copies"), step)
        for c in copies
    ]
    series = [*seeds, Series("mean over seeds", means)]
    control = [_held_out_found(study, spec) for spec in used]
    if control:
        level = mean(control)
        tip = f"held-out images found: {level:.4f}"
        series.append(
            Series(
                "held-out images",
                [Point(c, level, tip=tip) for c in (copies[0], copies[-1])],
                marks=False,
                control=True,
            )
        )
    summary = "Share of the images extracted by copies: " + "; ".join(
        f"{p.x:g}: {percent(p.y)}" for p in means
    )
    return Plot(
        "Dose and response",
        summary,
        "copies in the training set (log scale)",
        "share of the images extracted",
        series,
        x_scale="log",
        y=(0.0, 1.0),
        caption="Thin: one seed. Thick: their mean, with its interval. Dashed: images that were not trained on.",
    )


def _held_out_found(study: Study, spec: ModelSpec) -> float:
    """Return the share of the held-out images that the same rule finds."""
    rows = [
        r
        for r in study.extraction(spec)
        if r["rule"] == ADAPTIVE and r["of"] == "held-out" and r["copies"] == 0
    ]
    last = max(rows, key=lambda row: row["step"])
    return last["unique"] / max(1, last["planted"])


def _table(levels: Mapping[str, Levels], shares: Mapping[int, Mapping[int, float]]) -> Table | None:
    copies = sorted({c for found in levels.values() for c in found})
    rows = []
    for c in copies:
        planted = sum(found[c][0] for found in levels.values() if c in found)
        unique = sum(found[c][1] for found in levels.values() if c in found)
        rows.append([f"{c:,}", planted, unique, unique / planted])
    return Table(("copies", "images planted", "extracted", "share"), rows) if shares else None
