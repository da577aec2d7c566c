"""Small sums that several findings make over seeds, steps and families."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from memcore.study.findings.base import Control, Estimate, estimate
from memcore.study.findings.plot import Point, Series
from memcore.study.findings.reading import Leak, Study
from memcore.study.protocols.protocol import ModelSpec

#: The rule of the memorised fraction, d1 / d2 < 1/3, and the paper's own.
RATIO, ADAPTIVE = "ratio", "adaptive"


def mean(values: Iterable[float]) -> float:
    """Return the mean of at least one value.

    >>> mean([1, 2])
    1.5
    """
    numbers = list(values)
    return math.fsum(numbers) / len(numbers)


def common_steps(leaks: Sequence[Mapping[int, Leak]]) -> list[int]:
    """Return the steps that all models have a checkpoint at, in order."""
    return sorted(set.intersection(*(set(found) for found in leaks))) if leaks else []


def point(x: float, values: Sequence[float], tip: str, step: float = 0.0) -> Point:
    """Return the mean of values over seeds as a point, with its interval if there are two."""
    found = estimate(values, step)
    return Point(x, found.mean or 0.0, found.low, found.high, f"{tip}: {written(found)}")


def written(found: Estimate, digits: int = 3) -> str:
    """Write an estimate with its interval.

    >>> written(estimate([0.4, 0.5, 0.6]))
    '0.500 (0.252 to 0.748)'
    """
    if found.mean is None:
        return "not measured"
    text = f"{found.mean:.{digits}f}"
    return text if found.low is None else f"{text} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def points_of_100(found: Estimate) -> str:
    """Write an estimate of a difference of shares in percentage points.

    >>> points_of_100(estimate([0.4, 0.5, 0.6]))
    '+50.0 points (+25.2 to +74.8)'
    """
    if found.mean is None:
        return "not measured"
    text = f"{100 * found.mean:+.1f} points"
    return (
        text
        if found.low is None or found.high is None
        else f"{text} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
    )


def held_out_control(study: Study, specs: Sequence[ModelSpec], rule: str) -> Control:
    """Return the share of samples that the rule calls copies of held-out images, over all checkpoints of the models."""
    shares = [leak.control for spec in specs for leak in study.leaks(spec, rule).values()]
    return Control(
        f"samples that the rule {rule!r} calls copies of a held-out set of the same size",
        mean(shares) if shares else None,
        "share of samples",
        len(shares),
    )


def per_seed_lines(
    names: Sequence[str], values: Mapping[int, Sequence[float]], step: float, *, name: str = "mean over seeds"
) -> list[Series]:
    """Return a faint line for each seed over named levels, and the mean with its interval."""
    lines = [
        Series(
            f"seed {seed}",
            [Point(x, y, tip=f"seed {seed}, {names[x]}: {y:.3f}") for x, y in enumerate(row)],
            faint=True,
        )
        for seed, row in values.items()
    ]
    means = [
        point(x, [row[x] for row in values.values()], names[x], step)
        for x in range(len(names) if values else 0)
    ]
    return [*lines, Series(name, means)]
