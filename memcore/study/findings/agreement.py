"""(h) Two models on disjoint halves agree where they generalise: equal noise gives equal images once the set is large."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from memcore.errors import RunError
from memcore.report.wording import percent
from memcore.study.findings.base import Control, Measured, Part
from memcore.study.findings.over_seeds import mean, point
from memcore.study.findings.plot import Plot, Point, Series, Table
from memcore.study.findings.reading import Family, Study, families
from memcore.study.protocols.protocol import ModelSpec
from memcore.study.rows import SampleRow, rows_name
from memcore.system.units import count

LETTER = "h"
TITLE = "Two models on disjoint halves agree where they generalise"

#: Of one seed: for each size of a half, the agreement with the same noise and with another one, and the samples compared.
Sizes = Mapping[int, tuple[float, float, int]]


def measure(study: Study) -> Measured:
    """Return how much nearer two models' samples from equal noise are than from different noise, by the halves' size."""
    pools = families([s for s in study.models(LETTER) if s.factors.half >= 0], "half")
    pools = [pool for pool in pools if _pairs(pool)]
    specs = [spec for pool in pools for pair in _pairs(pool) for by_seed in pair for spec in by_seed.values()]
    sizes = {spec.factors.n for spec in specs}
    if len(sizes) < 2:
        return Measured(lacking="no pairs of models on complementary halves of pools of two sizes.")
    seeds = study.complete_seeds(specs)
    found = {seed: _by_size(study, pools, seed) for seed in seeds}
    complete = {seed: row for seed, row in found.items() if len(row) >= 2}
    samples = [n for row in found.values() for _, _, n in row.values()]
    part = Part(
        "large halves against small ones",
        "two models that never saw the same image agree more if each saw many",
        "difference of the agreement",
        {seed: row[max(row)][0] - row[min(row)][0] for seed, row in complete.items()},
        0.0,
    )
    others = [other for row in found.values() for _, other, _ in row.values()]
    return Measured(
        parts=[part],
        n=f"{count(sum(samples), 'pair')} of samples",
        planned=sorted({spec.seed for spec in specs}),
        models=[spec.id for spec in specs if spec.seed in seeds],
        missing=study.missing(specs),
        controls=[
            Control(
                "agreement of samples from different noise",
                mean(others) if others else None,
                "agreement",
                len(others),
            )
        ],
        sentence=_sentence(complete, part),
        plot=_plot(complete),
        table=_table(complete),
        notes=[
            "Agreement: 1 - the mean l2 of two models' samples from equal noise / that from different noise. "
            "1: equal images; 0: the noise "
            "decides nothing."
        ],
    )


def _pairs(pool: Family) -> list[tuple[Mapping[int, ModelSpec], Mapping[int, ModelSpec]]]:
    """Return the complementary halves 2k and 2k + 1 of a pool, each by seed."""
    return [
        (pool.levels[half,], pool.levels[half + 1,])
        for (half,) in pool.levels
        if half % 2 == 0 and (half + 1,) in pool.levels
    ]


def _by_size(study: Study, pools: Sequence[Family], seed: int) -> Sizes:
    rows: dict[int, list[tuple[float, float, int]]] = {}
    for pool in pools:
        for first, second in _pairs(pool):
            if seed in first and seed in second:
                same, other, n = agreement(*_same_noise(study, first[seed], second[seed]))
                rows.setdefault(pool.common.n // 2, []).append((same, other, n))
    return {
        size: (mean(r[0] for r in values), mean(r[1] for r in values), sum(r[2] for r in values))
        for size, values in sorted(rows.items())
    }


def _same_noise(
    study: Study, first: ModelSpec, second: ModelSpec
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the samples of both models from the noises that both have, at the last step that both have."""
    stored = [_pixels(study, spec) for spec in (first, second)]
    steps = stored[0].keys() & stored[1].keys()
    step = max(steps, default=None)
    seeds = sorted(stored[0][step].keys() & stored[1][step].keys()) if step is not None else []
    if step is None or len(seeds) < 3:
        raise RunError(
            f"{study.storage.place}/{rows_name(first.id, 'samples')} and {rows_name(second.id, 'samples')} have "
            f"{len(seeds)} samples of equal noise in common, and 3 are needed: remove both models' manifests, "
            f"and run the study again"
        )
    a, b = (np.stack([images[step][s] for s in seeds]) for images in stored)
    return a, b


def _pixels(study: Study, spec: ModelSpec) -> dict[int, dict[int, NDArray[np.uint8]]]:
    found: dict[int, dict[int, NDArray[np.uint8]]] = {}
    for row in study.samples(spec):
        found.setdefault(row["step"], {})[row["seed"]] = _image(study, spec, row)
    return found


def _image(study: Study, spec: ModelSpec, row: SampleRow) -> NDArray[np.uint8]:
    shape = (row["height"], row["width"], row["channels"])
    pixels = np.frombuffer(row["pixels"], np.uint8)
    if pixels.size != np.prod(shape):
        raise RunError(
            f"{study.storage.place}/{rows_name(spec.id, 'samples')} is damaged: sample {row['seed']} has "
            f"{pixels.size} bytes "
            f"instead of {np.prod(shape)}; remove it and its manifest"
        )
    return pixels.reshape(shape)


def agreement(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> tuple[float, float, int]:
    """Return the agreement with equal noise, that of neighbours with different noise, and the number of pairs.

    ``first`` and ``second`` are (n, height, width, channels); images i of both are from the same noise.

    >>> images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2, 1) * 20
    >>> agreement(images, images)[0]
    1.0
    """
    n = len(first)
    a, b = (images.reshape(n, -1).astype(np.float64) / 255 for images in (first, second))
    distances = np.stack([np.sqrt(((row - b) ** 2).mean(1)) for row in a])
    same = np.eye(n, dtype=bool)
    neighbour = np.roll(same, 1, axis=1)
    # The control is one shift of the noises; what it is compared with leaves it out, as it leaves out the equal ones.
    different = float(distances[~same & ~neighbour].mean())
    if different == 0:
        return 0.0, 0.0, n  # every sample is the same image: noise decides nothing
    return (
        1 - float(distances[same].mean()) / different,
        1 - float(distances[neighbour].mean()) / different,
        n,
    )


def _sentence(found: Mapping[int, Sizes], part: Part) -> str:
    if not found:
        return ""
    sizes = sorted({size for row in found.values() for size in row})
    small, large = (
        mean(row[size][0] for row in found.values() if size in row) for size in (sizes[0], sizes[-1])
    )
    return (
        f"From equal noise, models on disjoint halves of {sizes[-1]:,} images are {percent(max(0.0, large))} "
        f"nearer to each other than from "
        f"different noise, models on {sizes[0]:,} images {percent(max(0.0, small))}."
    )


def _plot(found: Mapping[int, Sizes]) -> Plot | None:
    if not found:
        return None
    sizes = sorted({size for row in found.values() for size in row})
    lines = [
        Series(
            f"seed {seed}",
            [
                Point(size, row[size][0], tip=f"seed {seed}, {size:,} images: {row[size][0]:.3f}")
                for size in row
            ],
            faint=True,
        )
        for seed, row in found.items()
    ]
    means = [
        point(size, [row[size][0] for row in found.values() if size in row], f"{size:,} images")
        for size in sizes
    ]
    control = [
        point(
            size, [row[size][1] for row in found.values() if size in row], f"different noise, {size:,} images"
        )
        for size in sizes
    ]
    told = "; ".join(f"{p.x:,.0f} images: {p.y:.3f}" for p in means)
    return Plot(
        "Agreement of two models",
        f"Agreement of models on disjoint halves, by the images in each half: {told}",
        "images in each half (log scale)",
        "agreement from equal noise",
        [
            *lines,
            Series("mean over seeds", means),
            Series("different noise", [p._replace(low=None, high=None) for p in control], control=True),
        ],
        x_scale="log",
        y=(0.0, 1.0),
        caption="Thin: one seed. Thick: their mean, with its interval. Dashed: samples from different noise.",
    )


def _table(found: Mapping[int, Sizes]) -> Table | None:
    rows = [
        [f"{seed}", size, pairs, same, other]
        for seed, row in found.items()
        for size, (same, other, pairs) in row.items()
    ]
    return (
        Table(("seed", "images in each half", "pairs", "equal noise", "different noise"), rows)
        if rows
        else None
    )
