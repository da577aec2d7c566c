"""The tables of a defended training: what was done, and what epsilon it has."""

from __future__ import annotations

import math

from memcore.study.defences.merging import MergedSet
from memcore.study.measures import Rows, Subject
from memcore.study.protocols.protocol import DEFENCES, Factors
from memcore.study.rows import Name
from memcore.study.training.accountant import noise_for, spent_epsilon


def defence_rows(subject: Subject, merged: MergedSet) -> list[tuple[Name, Rows]]:
    """Return the tables "defence" and "privacy" of a model; none of a model without a defence in its training."""
    factors, plain = subject.spec.factors, Factors()
    if all(getattr(factors, name) == getattr(plain, name) for name in DEFENCES):
        return []
    steps, rows = factors.steps - factors.public_steps, len(merged.sets.rows())
    rate = factors.batch / rows
    noise = 0.0
    privacy: Rows = []
    if factors.dp_epsilon:
        noise = noise_for(factors.dp_epsilon, factors.dp_delta, rate, steps)
        levels = {1, *merged.sets.copies.tolist()} - {0}
        if factors.canaries:
            levels.add(merged.sets.canary_copies)
        for copies in sorted(levels):
            spent = spent_epsilon(noise, rate, steps, factors.dp_delta, copies=int(copies))
            privacy.append({"copies": int(copies), "epsilon": spent if math.isfinite(spent) else None})
    row = {
        "merge": factors.merge,
        "removed": merged.removed,
        "wrongly": merged.wrongly,
        "u_shape": factors.u_shape,
        "ambient": factors.ambient,
        "public": factors.public,
        "public_steps": factors.public_steps,
        "trainable": factors.trainable,
        "epsilon": factors.dp_epsilon,
        "delta": factors.dp_delta,
        "clip": factors.dp_clip,
        "draws": factors.dp_draws,
        "noise": noise,
        "rate": rate if factors.dp_epsilon else 0.0,
        "private_steps": steps,
    }
    tables: list[tuple[Name, Rows]] = [("defence", [row])]
    return [*tables, ("privacy", privacy)] if privacy else tables
