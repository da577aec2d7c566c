"""A protocol's models: the grid of each group times its seeds, each model once however many groups ask for it."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json

from memcore.errors import ConfigError
from memcore.study.protocols.protocol import (
    DataSpec,
    Factors,
    Group,
    ModelSpec,
    Protocol,
    describe_factors,
)

_DIGITS = 10


def expand(protocol: Protocol) -> list[ModelSpec]:
    """Return the models, each after those of earlier groups, the seeds of a group one after the other.

    A model that several groups ask for has the checkpoints and attacks of all of them. Seeds come first, so that a study
    which is stopped early has whole seeds rather than whole groups.
    """
    found: dict[str, ModelSpec] = {}
    for seed in sorted({seed for group in protocol.groups for seed in group.seeds}):
        for group in protocol.groups:
            if seed not in group.seeds:
                continue
            for factors in combinations(group):
                spec = _make(protocol, group, factors, seed)
                found[spec.id] = _merge(found.get(spec.id), spec)
    return list(found.values())


def combinations(group: Group) -> list[Factors]:
    """Return the factors of every model of a group, without its seeds; the last name of the grid varies fastest.

    >>> [f.n for f in combinations(Group("sizes", grid={"n": (32, 64)}))]
    [32, 64]
    """
    names = list(group.grid)
    return [
        dataclasses.replace(Factors(**group.fixed), **dict(zip(names, values, strict=True)))
        for values in itertools.product(*group.grid.values())
    ]


def model_id(factors: Factors, data: DataSpec, seed: int) -> str:
    """Return the id of a model: a little of what it is, and a digest of all of it but where the data is.

    >>> model_id(Factors(n=32, steps=500), DataSpec(), 3)[:10]
    'n32-x500-s'
    """
    decisive = {
        "factors": {k: v for k, v in describe_factors(factors).items() if k != "data"},
        "data": {k: v for k, v in dataclasses.asdict(data).items() if k != "path"},
        "seed": seed,
    }
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:_DIGITS]
    half = f"-h{factors.half}" if factors.half >= 0 else ""
    return f"n{factors.n}{half}-x{factors.steps}-s{seed}-{digest}"


def _make(protocol: Protocol, group: Group, factors: Factors, seed: int) -> ModelSpec:
    stops = {step for step in group.checkpoints if step < factors.steps} | {factors.steps}
    return ModelSpec(
        model_id(factors, protocol.data[factors.data], seed),
        (group.name,),
        seed,
        factors,
        tuple(sorted(stops)),
        tuple(sorted(set(group.attacks))),
    )


def _merge(first: ModelSpec | None, second: ModelSpec) -> ModelSpec:
    if first is None:
        return second
    if first.factors != second.factors:
        raise ConfigError(
            f"the groups {first.groups[0]!r} and {second.groups[0]!r} name the same data differently: use one name"
        )
    return dataclasses.replace(
        first,
        groups=tuple(dict.fromkeys((*first.groups, *second.groups))),
        checkpoints=tuple(sorted({*first.checkpoints, *second.checkpoints})),
        attacks=tuple(sorted({*first.attacks, *second.attacks})),
    )
