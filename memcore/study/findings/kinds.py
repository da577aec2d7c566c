"""Kinds of models on the same training sets: which are compared, and what each checkpoint of them gives."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from memcore.study.findings.over_seeds import ADAPTIVE, RATIO, mean
from memcore.study.findings.reading import Leak, Study
from memcore.study.protocols.protocol import Factors, ModelKind, ModelSpec

GANS: tuple[ModelKind, ...] = ("dcgan", "wgan-gp", "stylegan")
NAMES: dict[str, str] = {
    "diffusion": "diffusion",
    "dcgan": "DCGAN, hinge loss",
    "wgan-gp": "WGAN-GP",
    "stylegan": "small StyleGAN2",
    "flow": "flow matching",
    "autoregressive": "autoregressive (VQ)",
    "loaded": "trained elsewhere",
}
NO_PAIR = "no diffusion model and GAN of this study are trained on the same images."


class TrainingSet(NamedTuple):
    """What decides a model's images besides its seed."""

    data: str
    n: int
    copies: tuple[tuple[int, int], ...]
    deduplicated: bool

    @property
    def planted(self) -> bool:
        """Return whether images are there several times."""
        return bool(self.copies) and not self.deduplicated

    @property
    def rule(self) -> str:
        """Return the rule that counts copies: d1 / d2 < 1/3, or of planted duplicates the adaptive distance."""
        return ADAPTIVE if self.planted else RATIO

    @property
    def name(self) -> str:
        """Return what the page calls it."""
        kind = "with duplicates" if self.planted else "single images"
        return f"n = {self.n:,}, {kind}"


class Checkpoint(NamedTuple):
    """A checkpoint: the Frechet distance to held-out images, None where it was not measured, and what was found."""

    step: int
    frechet: float | None
    leak: Leak


@dataclasses.dataclass(frozen=True)
class Pairs:
    """A diffusion model and a GAN on the same images: ``models`` by seed, training set and kind."""

    gan: str
    models: Mapping[tuple[int, TrainingSet, str], ModelSpec]

    @property
    def specs(self) -> list[ModelSpec]:
        """Return all models."""
        return list(self.models.values())

    @property
    def sets(self) -> list[TrainingSet]:
        """Return the training sets."""
        return sorted({of for _, of, _ in self.models})

    def both(self, seed: int, of: TrainingSet) -> tuple[ModelSpec, ModelSpec] | None:
        """Return the diffusion model and the GAN of a seed and a training set; None if the seed has none."""
        key = (seed, of, "diffusion")
        return (self.models[key], self.models[seed, of, self.gan]) if key in self.models else None


def kind_of(factors: Factors) -> str:
    """Return the kind of a model: its factor ``model``, or "loaded" for a generator that was trained elsewhere."""
    return "loaded" if factors.generator else factors.model


def training_set(spec: ModelSpec) -> TrainingSet:
    """Return what decides a model's images."""
    f = spec.factors
    return TrainingSet(f.data, f.n, f.copies, f.deduplicated)


def find_pairs(study: Study, letter: str) -> Pairs | None:
    """Return the pairs of the groups of a finding; None if there are none.

    The GAN is the kind with most seeds; of several, the one whose samples are nearest to held-out images at the end.
    """
    specs = study.models(letter)
    gans = {kind: [s for s in specs if kind_of(s.factors) == kind] for kind in GANS}
    most = max(len({s.seed for s in of}) for of in gans.values())
    diffusion = [s for s in specs if kind_of(s.factors) == "diffusion"]
    if not most or not diffusion:
        return None
    full = [kind for kind, of in gans.items() if len({s.seed for s in of}) == most]
    gan = min(full, key=lambda kind: _final_distance(study, gans[kind])) if len(full) > 1 else full[0]
    models = {(s.seed, training_set(s), kind_of(s.factors)): s for s in [*diffusion, *gans[gan]]}
    paired = {
        key: s for key, s in models.items() if {(*key[:2], "diffusion"), (*key[:2], gan)} <= models.keys()
    }
    return Pairs(gan, paired) if paired else None


def checkpoints(study: Study, spec: ModelSpec) -> list[Checkpoint]:
    """Return the checkpoints of a model that is done, in the order of training."""
    distances = {row["step"]: row["frechet"] for row in study.quality(spec) if row["of"] == "held-out"}
    return [
        Checkpoint(step, value if math.isfinite(value := distances.get(step, math.nan)) else None, leak)
        for step, leak in study.leaks(spec, training_set(spec).rule).items()
    ]


def _final_distance(study: Study, specs: Sequence[ModelSpec]) -> float:
    """Return the mean distance at the end of the models that are done; infinity if it was not measured."""
    ends = [rows[-1].frechet for s in specs if study.is_done(s) and (rows := checkpoints(study, s))]
    known = [value for value in ends if value is not None]
    return mean(known) if known else math.inf
