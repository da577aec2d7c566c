"""Findings (p) to (u): what defences cost and what they buy.

A trade is acceptable if a defence leaves at most a tenth of the copies and half of the advantage of membership inference,
and its samples are at most a tenth farther from held-out images; all three against the undefended models of the same seed.
The bounds were fixed before any model of the protocol was trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from memcore.report.wording import percent
from memcore.study.findings.base import Measured, Part, estimate
from memcore.study.findings.defended import (
    FILTERED,
    PLAIN,
    Defended,
    Outcome,
    exposure_by_copies,
    find_defended,
    read_filtered,
    read_outcomes,
)
from memcore.study.findings.over_seeds import ADAPTIVE, held_out_control, mean, written
from memcore.study.findings.plot import Plot, Point, Series, Table
from memcore.study.findings.reading import Study
from memcore.study.protocols.protocol import ModelSpec

#: What an acceptable trade may leave of the copies and of the membership advantage, and add to the Frechet distance.
COPIES_LEFT, ADVANTAGE_LEFT, DISTANCE_MORE = 0.1, 0.5, 0.1
_LACKING = "no groups of this study are an undefended model and a defence."
#: Chance that a sample is a copy, below which an undefended model has nothing to defend.
_LEAST_LEAK = 0.01


def measure_deduplication(study: Study) -> Measured:
    """Return how many copies fewer are among the samples where duplicates were looked for and merged."""
    return _measure_lowering(study, "p", "merging the duplicates that are found")


def measure_cheap(study: Study) -> Measured:
    """Return how many copies fewer are among the samples with each defence that changes how a model is trained."""
    return _measure_lowering(study, "s", "the defence")


def measure_privacy(study: Study) -> Measured:
    """Return whether DP-SGD leaves at most a tenth of the copies, and by how much its samples are worse."""
    read = _Read.of(study, "q")
    if read is None:
        return Measured(lacking=_LACKING)
    parts = []
    for name, rows in read.others.items():
        parts.append(
            Part(
                f"{name} stops copies",
                f"{name}: at most a tenth of the undefended model's copies is left",
                "share of samples",
                {seed: COPIES_LEFT * read.plain[seed].leak - row.leak for seed, row in rows.items()},
                read.step,
            )
        )
        parts.append(
            Part(
                f"{name} costs quality",
                f"{name}: the samples are farther from held-out images",
                "Frechet distance, relative to the undefended model's",
                _finite({seed: _more_distance(row, read.plain[seed]) for seed, row in rows.items()}),
                0.0,
            )
        )
    return read.measured(parts, "Copies beyond the control and Frechet distance")


def measure_guarantee(study: Study) -> Measured:
    """Return how much more an image with most copies is exposed than a single one, under a guarantee for each row."""
    found = find_defended(study, "r")
    specs = [
        spec for d in found.values() for spec in d.main if spec.factors.dp_epsilon and spec.factors.copies
    ]
    specs = [spec for spec in specs if "membership" in spec.attacks]
    if not specs:
        return Measured(lacking="no model of this study has a guarantee, copies and losses.")
    seeds = study.complete_seeds(specs)
    used = [spec for spec in specs if spec.seed in seeds]
    largest = max(spec.factors.dp_epsilon for spec in specs)
    levels: dict[int, dict[int, float]] = {}
    spent: dict[int, float | None] = {}
    for spec in used:
        if spec.factors.dp_epsilon == largest:
            levels[spec.seed] = exposure_by_copies(study, spec)
            spent |= {row["copies"]: row["epsilon"] for row in study.rows(spec, "privacy")}
    parts = [
        Part(
            "most copies against single images",
            "under DP-SGD an image with most copies is more exposed than a single one",
            "bits of exposure",
            {seed: row[max(row)] - row[min(row)] for seed, row in levels.items()},
            0.0,
        )
    ]
    told = "; ".join(
        f"{copies:,} {'copy' if copies == 1 else 'copies'}: epsilon {'beyond any bound' if e is None else f'{e:.3g}'}"
        for copies, e in sorted(spent.items())
    )
    names = sorted({level for row in levels.values() for level in row})
    return Measured(
        parts=parts,
        n=f"{len(levels):,} models",
        planned=sorted({spec.seed for spec in specs}),
        models=[spec.id for spec in used],
        missing=study.missing(specs),
        sentence=f"The guarantee is for a row. {told}." if told else "",
        table=Table(
            ("copies", "epsilon of such an image", "mean exposure (1.44 without a trace)"),
            [
                [f"{n:,}", spent.get(n), written(estimate([row[n] for row in levels.values() if n in row]))]
                for n in names
            ],
        )
        if names
        else None,
    )


def measure_trades(study: Study) -> Measured:
    """Return by how much each defence misses an acceptable trade: above 0 where it does."""
    read = _Read.of(study, "t")
    if read is None:
        return Measured(lacking=_LACKING)
    parts = [
        Part(
            name,
            f"{name}: the trade is not acceptable",
            "how far beyond the worst bound, in shares of the undefended model's value",
            {
                seed: missed
                for seed, row in rows.items()
                if (missed := miss(row, read.plain[seed])) is not None
            },
            0.0,
        )
        for name, rows in read.others.items()
    ]
    return read.measured(parts, "What each defence buys and costs")


def miss(row: Outcome, plain: Outcome) -> float | None:
    """Return how far a trade lies beyond the worst of its three bounds; None if the undefended model leaks nothing.

    Where membership was not measured of a defence, the undefended model's counts: then all of its advantage is left.

    >>> round(miss(Outcome(0.0, 11.0, 0.1), Outcome(0.5, 10.0, 0.4)), 6)
    0.0
    >>> round(miss(Outcome(0.0, 15.0, 0.1), Outcome(0.5, 10.0, 0.4)), 6)
    0.4
    """
    if plain.leak < _LEAST_LEAK:
        return None
    missed = [row.leak / plain.leak - COPIES_LEFT, _more_distance(row, plain) - DISTANCE_MORE]
    if plain.membership is not None and plain.membership > 0:
        own = plain.membership if row.membership is None else row.membership
        missed.append(own / plain.membership - ADVANTAGE_LEFT)
    return max(missed) if all(math.isfinite(value) for value in missed) else None


def _more_distance(row: Outcome, plain: Outcome) -> float:
    return row.frechet / plain.frechet - 1 if plain.frechet > 0 else math.nan


def _finite(values: Mapping[int, float]) -> dict[int, float]:
    return {seed: value for seed, value in values.items() if math.isfinite(value)}


def _measure_lowering(study: Study, letter: str, what: str) -> Measured:
    read = _Read.of(study, letter)
    if read is None:
        return Measured(lacking=_LACKING)
    parts = [
        Part(
            name,
            f"{name}: fewer samples are copies with {what}",
            "share of samples, beyond the control",
            {seed: read.plain[seed].leak - row.leak for seed, row in rows.items()},
            read.step,
        )
        for name, rows in read.others.items()
    ]
    return read.measured(parts, "Copies beyond the control, and Frechet distance")


class _Read:
    """The outcomes of the undefended models and of the defences that a finding reads, in the complete seeds."""

    def __init__(self, study: Study, found: Mapping[str, Defended]) -> None:
        self._study = study
        self._specs: list[ModelSpec] = [spec for d in found.values() for spec in d.models]
        self._seeds = study.complete_seeds(self._specs)
        rows = {name: read_outcomes(study, d, self._seeds) for name, d in found.items()}
        self.plain = rows.pop(PLAIN)
        self.others: dict[str, dict[int, Outcome]] = rows
        self._filters = read_filtered(study, found[PLAIN], self.plain)
        samples = study.protocol.extraction.samples
        self.step = 1 / max(1, samples)

    @classmethod
    def of(cls, study: Study, letter: str) -> _Read | None:
        """Return what a finding reads; None without an undefended model or without a defence."""
        found = find_defended(study, letter)
        if PLAIN not in found or (len(found) < 2 and letter != "u"):
            return None
        read = cls(study, found)
        if letter in ("t", "u") and read._filters:
            read.others[FILTERED] = {seed: outcome for seed, (outcome, _) in read._filters.items()}
        return read if read.others or not read._seeds else None

    def measured(self, parts: Sequence[Part], title: str) -> Measured:
        """Return the parts with the plot and the table of the outcomes."""
        used = [spec for spec in self._specs if spec.seed in self._seeds]
        main = [spec for spec in used if "extraction" in spec.attacks]
        outcomes = {PLAIN: self.plain, **self.others} if self.plain else {}
        return Measured(
            parts=parts,
            n=f"{len(main):,} models with {self._study.protocol.extraction.samples:,} samples each",
            planned=sorted({spec.seed for spec in self._specs}),
            models=[spec.id for spec in used],
            missing=self._study.missing(self._specs),
            controls=[held_out_control(self._study, main, ADAPTIVE)],
            sentence=_sentence(outcomes),
            plot=_plot(outcomes, title, self.step),
            table=_table(outcomes, self.step),
            notes=self._notes(),
        )

    def _notes(self) -> list[str]:
        notes = [
            f"An acceptable trade leaves at most {percent(COPIES_LEFT)} of the undefended model's copies and "
            f"{percent(ADVANTAGE_LEFT)} of LiRA's area above 0.5, and adds at most {percent(DISTANCE_MORE)} to the "
            "Frechet distance. Where LiRA was not run on a defence, it changes neither a set without duplicates "
            "nor the losses, and all of the advantage is taken to be left."
        ]
        if self._filters:
            rows = [row for _, row in self._filters.values()]
            alarms, asked = (sum(r[key] for r in rows) for key in ("refused_held_out", "held_out"))
            notes.append(
                f"The filter refused {sum(r['refused'] for r in rows):,} of {sum(r['samples'] for r in rows):,} samples and "
                f"{alarms:,} of {asked:,} held-out images."
            )
        if self.plain and min(row.leak for row in self.plain.values()) < _LEAST_LEAK:
            notes.append(
                "In at least one seed the undefended model leaks less than 1 %: that seed shows no trade."
            )
        return notes


def measure_filter(study: Study) -> Measured:
    """Return how many copies fewer an output filter lets pass than there are among the samples."""
    read = _Read.of(study, "u")
    if read is None:
        return Measured(lacking="no undefended model of this study has filtered samples.")
    rows = read.others.get(FILTERED, {})
    parts = [
        Part(
            FILTERED,
            "fewer of the samples that pass the filter are copies",
            "share of samples, beyond the control",
            {seed: read.plain[seed].leak - row.leak for seed, row in rows.items()},
            read.step,
        )
    ]
    return read.measured(parts, "What the output filter lets pass")


_COLUMNS: tuple[tuple[str, Callable[[Outcome], float | None]], ...] = (
    ("copies among the samples, beyond the control", lambda row: row.leak),
    ("Frechet to held-out", lambda row: row.frechet),
    ("LiRA: area - 0.5", lambda row: row.membership),
    ("exposure of canaries (bits)", lambda row: row.exposure),
)


def _values(rows: Mapping[int, Outcome], of: Callable[[Outcome], float | None]) -> list[float]:
    return [value for row in rows.values() if (value := of(row)) is not None and math.isfinite(value)]


def _sentence(outcomes: Mapping[str, Mapping[int, Outcome]]) -> str:
    told = [
        f"{name} {percent(max(0.0, mean(_values(rows, lambda row: row.leak))))} at distance "
        f"{mean(distances):.3g}"
        for name, rows in outcomes.items()
        if (distances := _values(rows, lambda row: row.frechet))
    ]
    return (
        f"Copies among the samples, and Frechet distance to held-out images: {'; '.join(told)}."
        if told
        else ""
    )


def _plot(outcomes: Mapping[str, Mapping[int, Outcome]], title: str, step: float) -> Plot | None:
    series = []
    for name, rows in outcomes.items():
        distances = _values(rows, lambda row: row.frechet)
        if distances:
            leak = estimate(_values(rows, lambda row: row.leak), step)
            far = estimate(distances)
            tip = f"{name}: copies {written(leak)}, distance {written(far)}"
            series.append(
                Series(name, [Point(far.mean or 0.0, leak.mean or 0.0, leak.low, leak.high, tip)], line=False)
            )
    if not series:
        return None
    return Plot(
        title,
        "; ".join(s.points[0].tip for s in series),
        "Frechet distance to held-out images (better to the left)",
        "copies among the samples, beyond the control",
        series,
        y=(0.0, 0.1),
        caption="Each point is a defence, the mean over the seeds; its bar is the 95 % interval of the copies. "
        "That of the distance is in the table.",
    )


def _table(outcomes: Mapping[str, Mapping[int, Outcome]], step: float) -> Table | None:
    if not outcomes:
        return None
    return Table(
        ("defence", *(name for name, _ in _COLUMNS)),
        [
            [
                name,
                *(
                    written(estimate(_values(rows, of), step if i == 0 else 0.0))
                    for i, (_, of) in enumerate(_COLUMNS)
                ),
            ]
            for name, rows in outcomes.items()
        ],
    )


ANALYSES: tuple[tuple[str, str, Callable[[Study], Measured]], ...] = (
    ("p", "Deduplication by what is found lowers what leaks", measure_deduplication),
    ("q", "DP-SGD stops extraction and costs quality", measure_privacy),
    ("r", "A guarantee for each image does not cover one that stands there many times", measure_guarantee),
    ("s", "Cheap defences in training lower what leaks", measure_cheap),
    ("t", "No defence gives an acceptable trade", measure_trades),
    ("u", "An output filter stops copies", measure_filter),
)
