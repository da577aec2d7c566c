"""What a finding is, and the rule that decides it, fixed before any seed is run.

A finding has one or more parts. A part is a claim written as one number a seed, above 0 where the claim holds in that seed,
below 0 where its opposite does. Its 95 % interval is Student's t over the seeds.

The rule:

1. A seed counts once every model that the finding needs of it is done. While one is missing, the verdict is withheld: a
   study that is judged as soon as it looks good is judged too often.
2. A part is "shown" if its interval is above 0, "opposite" if it is below, else "not shown".
3. A finding is "shown" if all its parts are, "opposite" if at least one is opposite, else "not shown"; and only if its p
   value, adjusted by Holm over all the findings, is at most 0.05. The p value of "all parts" is the largest of theirs (an
   intersection-union test), that of "one of k parts" k times the smallest (Bonferroni). A finding with neither has p = 1.
4. The spread of a part is never taken as less than half a step of its scale: five seeds that all give 1.0 with three images
   each do not prove a spread of 0.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from memcore.study.findings.plot import Plot, Table
from memcore.study.statistics import holm, sign_flip
from memcore.study.statistics.intervals import import_scipy_stats

Verdict: TypeAlias = Literal["shown", "not shown", "opposite"]
CONFIDENCE = 0.95
ALPHA = 0.05


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval and the two-sided p value of 0; without two seeds only what there is of it.

    ``sign_flip_p`` is the exact test beside it, which assumes no distribution and cannot fall below 2 / 2^seeds. ``spread``
    is the standard deviation that the interval rests on; ``floored`` says that it is the half step of the scale.
    """

    seeds: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    sign_flip_p: float | None = None
    spread: float | None = None
    floored: bool = False

    @property
    def verdict(self) -> Verdict:
        """Return what the interval excludes."""
        if self.low is not None and self.low > 0:
            return "shown"
        return "opposite" if self.high is not None and self.high < 0 else "not shown"


@dataclasses.dataclass(frozen=True)
class Part:
    """One claim: ``values`` holds a number for each complete seed, above 0 where the claim holds.

    ``claim`` is a clause that the page ends with a full stop. ``unit`` is what the number counts, and ``step`` the smallest
    difference that one seed's value can show.
    """

    name: str
    claim: str
    unit: str
    values: Mapping[int, float]
    step: float

    @property
    def estimate(self) -> Estimate:
        """Return the mean over the seeds and its interval."""
        return estimate(list(self.values.values()), self.step)


@dataclasses.dataclass(frozen=True)
class Missing:
    """A model that a finding needs and does not have yet: ``state`` is "unfinished" or "failed"."""

    model: str
    state: str
    seed: int
    why: str = ""


@dataclasses.dataclass(frozen=True)
class Control:
    """What the same measurement gives where there is nothing to find: ``value`` is a mean over ``n`` measurements."""

    name: str
    value: float | None
    unit: str
    n: int


@dataclasses.dataclass(frozen=True)
class Measured:
    """What an analysis reads from the tables.

    ``n`` says what was counted ("10,240 samples"); ``planned`` are the seeds of the protocol, ``models`` those that the
    figures rest on. ``sentence`` gives the figures of the complete seeds. ``lacking`` says what the study has no models or
    tables for; then there is nothing to judge.
    """

    parts: Sequence[Part] = ()
    n: str = ""
    planned: Sequence[int] = ()
    models: Sequence[str] = ()
    missing: Sequence[Missing] = ()
    controls: Sequence[Control] = ()
    sentence: str = ""
    plot: Plot | None = None
    table: Table | None = None
    lacking: str = ""
    notes: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Finding:
    """One finding of the paper with what this study says of it. ``reason`` is why it has this verdict, as a sentence."""

    letter: str
    title: str
    verdict: Verdict
    reason: str
    measured: Measured
    estimates: Sequence[Estimate]
    p: float
    p_holm: float
    settled: bool

    @property
    def sentence(self) -> str:
        """Return what was measured, in one sentence."""
        return self.measured.sentence or self.measured.lacking

    @property
    def seeds(self) -> int:
        """Return the number of complete seeds."""
        return min((e.seeds for e in self.estimates), default=0)

    @property
    def n(self) -> str:
        """Return what was counted."""
        return self.measured.n

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return the interval of the first part."""
        first = self.estimates[0] if self.estimates else None
        return None if first is None or first.low is None or first.high is None else (first.low, first.high)


def estimate(values: Sequence[float], step: float = 0.0) -> Estimate:
    """Return the mean of the values, one a seed, with Student's interval and the p value of a mean of 0.

    The standard deviation is at least ``step`` / 2. One value has no interval.

    >>> e = estimate([0.4, 0.5, 0.6])
    >>> round(e.mean, 3), round(e.low, 3), round(e.high, 3)
    (0.5, 0.252, 0.748)
    """
    if len(values) < 2:
        return Estimate(len(values), values[0] if values else None)
    student = import_scipy_stats("The intervals of a study").t
    n = len(values)
    mean = math.fsum(values) / n
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    floored = spread < step / 2
    spread = max(spread, step / 2)
    error = spread / math.sqrt(n)
    half = float(student.ppf((1 + CONFIDENCE) / 2, n - 1)) * error
    if error > 0:
        p = float(2 * student.sf(abs(mean) / error, n - 1))
    else:
        p = 1.0 if mean == 0 else 0.0
    return Estimate(n, mean, mean - half, mean + half, p, sign_flip(values).p, spread, floored)


def candidate(estimates: Sequence[Estimate]) -> tuple[Verdict, float]:
    """Return the verdict that the parts give together, and its p value before Holm."""
    verdicts = [e.verdict for e in estimates]
    if verdicts and all(v == "shown" for v in verdicts):
        return "shown", max(e.p or 0.0 for e in estimates)
    if "opposite" in verdicts:
        return "opposite", min(
            1.0, len(estimates) * min(e.p or 0.0 for e in estimates if e.verdict == "opposite")
        )
    return "not shown", 1.0


def judge(measured: Sequence[tuple[str, str, Measured]]) -> list[Finding]:
    """Return the findings of (letter, title, what was measured), all of which are one family for Holm."""
    estimates = [[part.estimate for part in m.parts] for _, _, m in measured]
    settled = [_is_settled(m, e) for (_, _, m), e in zip(measured, estimates, strict=True)]
    candidates = [candidate(e) if s else ("not shown", 1.0) for e, s in zip(estimates, settled, strict=True)]
    adjusted = [float(p) for p in holm([p for _, p in candidates])]
    findings = []
    for (letter, title, m), parts, done, (first, p), p_holm in zip(
        measured, estimates, settled, candidates, adjusted, strict=True
    ):
        verdict: Verdict = first if p_holm <= ALPHA else "not shown"
        reason = _reason(m, parts, done, first, p_holm)
        findings.append(Finding(letter, title, verdict, reason, m, parts, p, p_holm, done))
    return findings


def _is_settled(measured: Measured, estimates: Sequence[Estimate]) -> bool:
    """Return whether all planned seeds are complete, at least two of them."""
    planned = len(set(measured.planned))
    return bool(estimates) and planned >= 2 and all(e.seeds == planned for e in estimates)


def _reason(
    measured: Measured, estimates: Sequence[Estimate], settled: bool, first: Verdict, p_holm: float
) -> str:
    """Say in one sentence why the finding has its verdict."""
    planned = len(set(measured.planned))
    seeds = min((e.seeds for e in estimates), default=0)
    if measured.lacking:
        return f"Not measured: {measured.lacking}"
    if not settled:
        if seeds == planned:
            return f"{planned} of {planned} seeds: not shown, since an interval needs at least two."
        failed = sum(m.state == "failed" for m in measured.missing)
        stop = f" ({failed} of the missing models failed)" if failed else ""
        return f"{seeds} of {planned} seeds so far{stop}: not shown yet."
    if first == "not shown":
        return _undecided(measured, estimates)
    if p_holm > ALPHA:
        return f"Not shown: its own interval says {first!r}, but not after Holm over all findings (p = {p_holm:.3f})."
    exclude = "excludes" if len(estimates) == 1 else "of each part excludes"
    if first == "shown":
        return f"Shown: the interval {exclude} 0 and the opposite, after Holm (p {_p(p_holm)})."
    told = "" if len(estimates) == 1 else f" ({_by_part(measured, estimates)})"
    return f"Opposite: an interval lies below 0, after Holm (p {_p(p_holm)}){told}."


def _undecided(measured: Measured, estimates: Sequence[Estimate]) -> str:
    if len(estimates) == 1:
        return "Not shown: the interval includes 0."
    return f"Not shown as a whole ({_by_part(measured, estimates)})."


def _by_part(measured: Measured, estimates: Sequence[Estimate]) -> str:
    return "; ".join(f"{part.name}: {e.verdict}" for part, e in zip(measured.parts, estimates, strict=True))


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
