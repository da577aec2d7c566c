"""The membership attacks' scores and curves as tables, so that another person recomputes and redraws them."""

# No "from __future__ import annotations": the schemas are derived from the annotations.

from typing import TypedDict

import pyarrow as pa

from memcore.runs.rows import Int64
from memcore.runs.schema import make_schema
from memcore.study.findings.pool import ATTACKS, attack_scores, find_pool_models, read_pool
from memcore.study.findings.reading import Study
from memcore.study.statistics import roc


class ScoreRow(TypedDict):
    """An image under an attacked model: whether it was a member, and what each attack says; higher means member."""

    seed: Int64
    model: str
    image: Int64
    member: bool
    threshold: float
    lira: float
    strong: float


class RocRow(TypedDict):
    """A point of an attack's curve: the rates of "at or above ``score``", over all models of the seed's pool."""

    seed: Int64
    attack: str
    score: float
    fpr: float
    tpr: float


def score_tables(study: Study) -> dict[str, pa.Table]:
    """Return the tables "membership_scores" and "membership_roc" of the complete seeds; both are empty without any."""
    specs = find_pool_models(study)
    scored: list[ScoreRow] = []
    curves: list[RocRow] = []
    for seed in study.complete_seeds(specs):
        pool = read_pool(study, [spec for spec in specs if spec.seed == seed])
        scores = attack_scores(pool)
        scored += [
            {
                "seed": seed,
                "model": model,
                "image": image,
                "member": bool(pool.members[m, i]),
                "threshold": float(scores[0][m, i]),
                "lira": float(scores[1][m, i]),
                "strong": float(scores[2][m, i]),
            }
            for m, model in enumerate(pool.models)
            for i, image in enumerate(pool.images)
        ]
        for attack, values in zip(ATTACKS, scores, strict=True):
            curve = roc(values, pool.members)
            curves += [
                {"seed": seed, "attack": attack, "score": float(score), "fpr": float(fpr), "tpr": float(tpr)}
                for score, fpr, tpr in zip(curve.score, curve.fpr, curve.tpr, strict=True)
            ]
    return {
        "membership_scores": pa.Table.from_pylist(scored, schema=make_schema(ScoreRow)),
        "membership_roc": pa.Table.from_pylist(curves, schema=make_schema(RocRow)),
    }
