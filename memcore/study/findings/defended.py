"""What each defence of a study leaves: leakage by three attacks, and quality, seed by seed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from memcore.study.findings.over_seeds import ADAPTIVE, mean
from memcore.study.findings.pool import LEAST_MODELS, attack_scores, read_pool
from memcore.study.findings.reading import Study
from memcore.study.protocols.protocol import ModelSpec
from memcore.study.rows import CanaryRow, FilteredRow
from memcore.study.statistics import auc

#: What all defences are compared with, and the filter of its samples.
PLAIN, FILTERED = "undefended", "filtered output"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A defence in one seed.

    ``leak`` is the share of samples that are copies beyond the control's, ``frechet`` the distance to held-out images (NaN
    if there is none), ``membership`` the area under LiRA's ROC - 0.5, ``exposure`` that of the canaries; None where it was
    not measured.
    """

    leak: float
    frechet: float
    membership: float | None = None
    exposure: float | None = None


@dataclasses.dataclass(frozen=True)
class Defended:
    """The models of one defence: ``main`` are attacked by extraction, ``pool`` are on random halves."""

    name: str
    main: Sequence[ModelSpec]
    pool: Sequence[ModelSpec]

    @property
    def models(self) -> list[ModelSpec]:
        """Return all of them."""
        return [*self.main, *self.pool]


def find_defended(study: Study, letter: str) -> dict[str, Defended]:
    """Return the defences of the groups that a finding reads, by name, in the protocol's order."""
    names = dict.fromkeys(
        group.defence for group in study.protocol.groups if letter in group.findings and group.defence
    )
    found = {}
    for name in names:
        groups = {group.name for group in study.protocol.groups if group.defence == name}
        mine = [spec for spec in study.specs if groups & set(spec.groups)]
        main = [spec for spec in mine if spec.factors.half < 0 and "extraction" in spec.attacks]
        pool = [spec for spec in mine if spec.factors.half >= 0 and "membership" in spec.attacks]
        if main:
            found[name] = Defended(name, main, pool)
    return found


def read_outcomes(study: Study, defended: Defended, seeds: Sequence[int]) -> dict[int, Outcome]:
    """Return what a defence leaves at the end of training in each of the seeds."""
    found = {}
    for seed in seeds:
        main = next(spec for spec in defended.main if spec.seed == seed)
        leaks = study.leaks(main, ADAPTIVE)
        last = max(leaks)
        found[seed] = Outcome(
            leaks[last].excess,
            frechet_at(study, main, last),
            _membership(study, [spec for spec in defended.pool if spec.seed == seed]),
            _exposure(study, main, last),
        )
    return found


def read_filtered(
    study: Study, plain: Defended, outcomes: Mapping[int, Outcome]
) -> dict[int, tuple[Outcome, FilteredRow]]:
    """Return what the output filter leaves of the undefended models' samples; none of a model without one.

    It hides nothing of a model's losses: an attack on them, by whoever has the weights, is that on the undefended model.
    """
    found = {}
    for seed, outcome in outcomes.items():
        main = next(spec for spec in plain.main if spec.seed == seed)
        rows = cast("list[FilteredRow]", study.rows(main, "filtered"))
        if rows:
            row = max(rows, key=lambda r: r["step"])
            left = row["samples"] - row["refused"]
            leak = (row["hits"] - row["control_hits"]) / left if left else 0.0
            distance = row["frechet"]
            frechet = math.nan if distance is None else distance
            found[seed] = (dataclasses.replace(outcome, leak=leak, frechet=frechet), row)
    return found


def frechet_at(study: Study, spec: ModelSpec, step: int) -> float:
    """Return the Frechet distance to held-out images at a checkpoint; NaN if there is none."""
    rows = {row["step"]: row["frechet"] for row in study.quality(spec) if row["of"] == "held-out"}
    return rows.get(step, math.nan)


def exposure_by_copies(study: Study, spec: ModelSpec) -> dict[int, float]:
    """Return, for each number of copies, the mean exposure of the training images.

    It is log2(others + 1) - log2(rank of the loss). The others are the held-out images. Of an image that leaves
    no trace it is 1.44 in the mean.
    """
    copies = {row["image"]: row["copies"] for row in study.rows(spec, "members") if row["role"] == "member"}
    losses = {
        role: {
            row["image"]: float(np.mean(row["losses"])) for row in study.losses(spec) if row["role"] == role
        }
        for role in ("member", "held-out")
    }
    others = np.sort(list(losses["held-out"].values()))
    found: dict[int, list[float]] = {}
    for image, loss in losses["member"].items():
        rank = 1 + int(np.searchsorted(others, loss))
        found.setdefault(copies[image], []).append(math.log2(len(others) + 1) - math.log2(rank))
    return {level: mean(values) for level, values in sorted(found.items())}


def _membership(study: Study, pool: Sequence[ModelSpec]) -> float | None:
    if len(pool) < LEAST_MODELS:
        return None
    read = read_pool(study, pool)
    return auc(attack_scores(read)[1], read.members) - 0.5


def _exposure(study: Study, spec: ModelSpec, step: int) -> float | None:
    rows = [row for row in cast("list[CanaryRow]", study.rows(spec, "canaries")) if row["step"] == step]
    return mean(row["exposure"] for row in rows) if rows else None
