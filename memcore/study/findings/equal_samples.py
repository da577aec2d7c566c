"""(j) Of equally many samples, a diffusion model gives more of its training images away than a GAN."""

from __future__ import annotations

from collections.abc import Sequence

from memcore.report.wording import percent
from memcore.study.findings.base import Measured, Part
from memcore.study.findings.kinds import (
    GANS,
    NAMES,
    NO_PAIR,
    Checkpoint,
    Pairs,
    TrainingSet,
    checkpoints,
    find_pairs,
    kind_of,
    training_set,
)
from memcore.study.findings.over_seeds import RATIO, held_out_control, mean, point
from memcore.study.findings.paper_table import IMAGES, ROWS, SAMPLES
from memcore.study.findings.plot import Cell, Plot, Series, Table
from memcore.study.findings.reading import Study

LETTER = "j"
TITLE = "Diffusion models leak more than GANs, of equally many samples"
_UNIT = "share of the unique images, beyond the control"


def measure(study: Study) -> Measured:
    """Return how many more training images are extracted from the diffusion model than from the GAN, at the end."""
    pairs = find_pairs(study, LETTER)
    if pairs is None:
        return Measured(lacking=NO_PAIR)
    seeds = study.complete_seeds(pairs.specs)
    used = [spec for spec in pairs.specs if spec.seed in seeds]
    ends = {spec.id: checkpoints(study, spec)[-1] for spec in used}
    step = min((1 / max(1, end.leak.planted) for end in ends.values()), default=1.0)
    single = [of for of in pairs.sets if not of.planted]
    planted = [of for of in pairs.sets if of.planted]

    def by_seed(sets: Sequence[TrainingSet], weight: float) -> dict[int, float]:
        found = {}
        for seed in seeds:
            values = [
                ends[both[0].id].leak.found_beyond - weight * ends[both[1].id].leak.found_beyond
                for of in sets
                if (both := pairs.both(seed, of)) is not None
            ]
            if values:
                found[seed] = mean(values)
        return found

    gan = NAMES[pairs.gan]
    parts = [
        Part(
            name,
            f"of {name}, more are extracted from the diffusion model than from the GAN ({gan})",
            _UNIT,
            by_seed(sets, 1.0),
            step,
        )
        for name, sets in (("single images", single), ("sets with duplicates", planted))
        if sets
    ]
    parts.append(
        Part(
            "more than twice as much",
            f"more than twice as many images are extracted from the diffusion model as from the GAN ({gan})",
            _UNIT,
            by_seed(pairs.sets, 2.0),
            step,
        )
    )
    return Measured(
        parts=parts,
        n=f"{sum(end.leak.samples for end in ends.values()):,} samples",
        planned=sorted({spec.seed for spec in pairs.specs}),
        models=[spec.id for spec in used],
        missing=study.missing(pairs.specs),
        controls=[held_out_control(study, used, RATIO)],
        sentence=_sentence(pairs, seeds, ends),
        plot=_plot(study),
        table=_table(study),
        unmeasured=[
            name for name, sets in (("single images", single), ("sets with duplicates", planted)) if not sets
        ],
        notes=[
            "Kinds with fewer seeds are in the table and in no verdict.",
            f"The paper drew {SAMPLES:,} samples of pretrained models of CIFAR-10 ({IMAGES:,} images in colour, 32 x 32) "
            "and gives no held-out control. Its Frechet distances are on Inception features, those here on a small "
            "classifier, so that only their order compares. (?) marks distances on which our sources disagree.",
        ],
    )


def _done(study: Study) -> dict[tuple[str, TrainingSet], list[Checkpoint]]:
    """Return the last checkpoints of every model of the groups that is done, by kind and training set."""
    found: dict[tuple[str, TrainingSet], list[Checkpoint]] = {}
    for spec in study.models(LETTER):
        if study.is_done(spec) and (rows := checkpoints(study, spec)):
            found.setdefault((kind_of(spec.factors), training_set(spec)), []).append(rows[-1])
    return found


def _sentence(pairs: Pairs, seeds: Sequence[int], ends: dict[str, Checkpoint]) -> str:
    if not seeds:
        return ""
    told = []
    for kind in ("diffusion", pairs.gan):
        leaks = [ends[s.id].leak for s in pairs.specs if s.id in ends and kind_of(s.factors) == kind]
        unique, planted = sum(leak.unique for leak in leaks), sum(leak.planted for leak in leaks)
        told.append(f"{unique:,} of {planted:,} images ({percent(unique / max(1, planted))})")
    return f"{told[0]} are extracted from the diffusion models and {told[1]} from the GANs, of equally many samples."


def _order(kind: str, frechet: float | None) -> tuple[int, float]:
    """Sort GANs first, diffusion last; the farthest from held-out images first."""
    family = 0 if kind in GANS else 2 if kind == "diffusion" else 1
    return family, -(frechet if frechet is not None else float("inf"))


def _distance(rows: Sequence[Checkpoint]) -> float | None:
    known = [row.frechet for row in rows if row.frechet is not None]
    return mean(known) if known else None


def _table(study: Study) -> Table | None:
    found = _done(study)
    if not found:
        return None
    rows: list[list[Cell]] = []
    for of in sorted({of for _, of in found}):
        kinds = {kind: ends for (kind, own), ends in found.items() if own == of}
        for kind in sorted(kinds, key=lambda kind: _order(kind, _distance(kinds[kind]))):
            ends = kinds[kind]
            rows.append(
                [
                    NAMES[kind],
                    of.name,
                    len(ends),
                    ends[0].leak.samples,
                    _distance(ends),
                    sum(end.leak.unique for end in ends),
                    sum(end.leak.planted for end in ends),
                    sum(end.leak.control_unique for end in ends),
                ]
            )
    for row in ROWS:
        distance = f"{row.frechet}" if row.certain else f"{row.frechet} (?)"
        family = "GAN" if row.gan else "diffusion"
        rows.append(
            [f"{row.name} ({family})", "the paper", 1, SAMPLES, distance, row.extracted, IMAGES, None]
        )
    columns = (
        "model",
        "training set",
        "models",
        "samples each",
        "Frechet distance",
        "extracted",
        "of",
        "of held-out",
    )
    return Table(columns, rows)


def _plot(study: Study) -> Plot | None:
    """Draw each kind's models: what was extracted against the distance to held-out images."""
    series = []
    found = _done(study)
    for kind in NAMES:
        points = []
        for (own, of), ends in sorted(found.items()):
            distance = _distance(ends)
            if own == kind and distance is not None:
                tip = f"{NAMES[kind]}, {of.name}, distance {distance:.3g}"
                points.append(point(distance, [end.leak.found_beyond for end in ends], tip))
        if points:
            series.append(Series(NAMES[kind], points, line=False))
    if not series:
        return None
    told = "; ".join(f"{s.name}: {percent(max(0.0, mean(p.y for p in s.points)))}" for s in series)
    return Plot(
        "Images extracted by kind of model",
        f"Share of the training images extracted, the mean over training sets: {told}",
        "Frechet distance to held-out images (better to the left)",
        _UNIT,
        series,
        y=(0.0, 0.1),
        caption="A point is a kind of model on one training set at the end: the mean over the seeds, with its interval.",
    )
