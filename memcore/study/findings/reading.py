"""A study as findings see it: which models the protocol plans, which of them are done, and their stored tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, cast

from memcore.engine.task import manifest_name
from memcore.errors import RunError
from memcore.storage.base import Storage
from memcore.storage.digests import FileDigest
from memcore.study import tables
from memcore.study.findings.base import Missing
from memcore.study.folder import StudyFolder
from memcore.study.protocols.protocol import Factors, ModelSpec, Protocol
from memcore.study.rows import (
    ExtractionRow,
    InpaintingRow,
    LossRow,
    Name,
    PictureRow,
    QualityRow,
    SampleRow,
    rows_name,
)
from memcore.study.status import State, states


@dataclasses.dataclass(frozen=True)
class Leak:
    """What one rule found in the samples of one checkpoint, all levels of duplication together.

    ``share`` of the samples are copies of a training image, ``control`` of held-out ones; ``excess`` is what is left.
    """

    step: int
    samples: int
    hits: int
    unique: int
    planted: int
    control_hits: int
    control_samples: int
    control_unique: int
    control_planted: int

    @property
    def share(self) -> float:
        """Return the share of the samples that are copies of a training image."""
        return self.hits / self.samples if self.samples else 0.0

    @property
    def control(self) -> float:
        """Return the share of the samples that pass as copies of a held-out image."""
        return self.control_hits / self.control_samples if self.control_samples else 0.0

    @property
    def excess(self) -> float:
        """Return the share beyond the control's."""
        return self.share - self.control

    @property
    def found(self) -> float:
        """Return the share of the unique training images that were found."""
        return self.unique / self.planted if self.planted else 0.0

    @property
    def found_beyond(self) -> float:
        """Return the share of the unique training images that were found, beyond that of held-out images."""
        control = self.control_unique / self.control_planted if self.control_planted else 0.0
        return self.found - control


@dataclasses.dataclass(frozen=True)
class Study:
    """The planned models of a study and what is stored of them. Tables are read when they are asked for.

    ``states`` has a state for each model's id, ``files`` the digests of the tables of those that are done, and ``why`` the
    last error of those that failed.
    """

    protocol: Protocol
    specs: Sequence[ModelSpec]
    states: Mapping[str, State]
    storage: Storage
    files: Mapping[str, Mapping[str, FileDigest]]
    why: Mapping[str, str] = dataclasses.field(default_factory=dict)
    #: The network that measured a data set's Frechet distances, and a model that says so.
    _networks: dict[str, tuple[str, str]] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(cls, folder: StudyFolder) -> Study:
        """Return what an opened study plans and holds. Raises RunError if a manifest is damaged."""
        held, why = states(folder)
        return cls(folder.protocol, list(folder.specs.values()), held, folder.storage, folder.files(), why)

    def models(self, letter: str) -> list[ModelSpec]:
        """Return the models of the groups that a finding reads, done or not."""
        groups = {group.name for group in self.protocol.groups if letter in group.findings}
        return [spec for spec in self.specs if groups & set(spec.groups)]

    def is_done(self, spec: ModelSpec) -> bool:
        """Return whether a model's tables are all stored."""
        return self.states.get(spec.id, "unfinished") == "done"

    def missing(self, specs: Sequence[ModelSpec]) -> list[Missing]:
        """Return those of the models that are not done."""
        return [
            Missing(spec.id, self.states.get(spec.id, "unfinished"), spec.seed, self.why.get(spec.id, ""))
            for spec in specs
            if not self.is_done(spec)
        ]

    def complete_seeds(self, specs: Sequence[ModelSpec]) -> list[int]:
        """Return the seeds of which every one of the models is done: a seed never counts with part of its models."""
        seeds = {spec.seed for spec in specs}
        return sorted(seeds - {spec.seed for spec in specs if not self.is_done(spec)})

    def rows(self, spec: ModelSpec, table: Name) -> list[dict[str, Any]]:
        """Return a model's table as rows, none if the model has none."""
        return tables.read_rows(self.storage, spec.id, table, self.files.get(spec.id, {}))

    def extraction(self, spec: ModelSpec) -> list[ExtractionRow]:
        """Return what was extracted from a model."""
        return cast("list[ExtractionRow]", self.rows(spec, "extraction"))

    def quality(self, spec: ModelSpec) -> list[QualityRow]:
        """Return the Frechet distances of a model's checkpoints.

        Raises RunError where another model of the same data was measured by another network.
        """
        rows = cast("list[QualityRow]", self.rows(spec, "quality"))
        for row in rows:
            network, other = self._networks.setdefault(spec.factors.data, (row["features_sha256"], spec.id))
            if network != row["features_sha256"]:
                raise RunError(
                    f"{self.storage.place}: the Frechet distances of {other} and {spec.id} are by two networks, and cannot "
                    f"be compared: remove {manifest_name(spec.id)}, and run the study again"
                )
        return rows

    def losses(self, spec: ModelSpec) -> list[LossRow]:
        """Return a model's losses on each image."""
        return cast("list[LossRow]", self.rows(spec, "losses"))

    def loss_axes(self, spec: ModelSpec) -> dict[str, Any]:
        """Return what the losses were taken over: ``timesteps``, ``draws``, ``flips``."""
        return tables.read_axes(self.storage, spec.id, self.files.get(spec.id, {}))

    def inpainting(self, spec: ModelSpec) -> list[InpaintingRow]:
        """Return the scores of the inpainting attack."""
        return cast("list[InpaintingRow]", self.rows(spec, "inpainting"))

    def samples(self, spec: ModelSpec) -> list[SampleRow]:
        """Return the stored samples of a model."""
        return cast("list[SampleRow]", self.rows(spec, "samples"))

    def pictures(self, spec: ModelSpec) -> list[PictureRow]:
        """Return a model's pictures of hits."""
        return cast("list[PictureRow]", self.rows(spec, "pictures"))

    def leaks(self, spec: ModelSpec, rule: str) -> dict[int, Leak]:
        """Return what a rule found, by step, in the order of the steps.

        Raises RunError where the count on the held-out set is missing: no figure without its control.
        """
        train: dict[int, ExtractionRow] = {}
        control: dict[int, ExtractionRow] = {}
        for row in self.extraction(spec):
            if row["rule"] == rule and row["copies"] == 0:
                (train if row["of"] == "train" else control)[row["step"]] = row
        bare = sorted(train.keys() - control.keys())
        if bare:
            raise RunError(
                f"{self.storage.place}/{rows_name(spec.id, 'extraction')} has no held-out control of the rule "
                f"{rule!r} at step "
                f"{bare[0]}: remove the file and its manifest, and run the study again"
            )
        return {
            step: Leak(
                step,
                row["samples"],
                row["hits"],
                row["unique"],
                row["planted"],
                control[step]["hits"],
                control[step]["samples"],
                control[step]["unique"],
                control[step]["planted"],
            )
            for step, row in sorted(train.items())
        }


@dataclasses.dataclass(frozen=True)
class Family:
    """Models that differ in the ``varied`` factors and their seed alone: ``levels`` maps their values to models by seed."""

    common: Factors
    varied: tuple[str, ...]
    levels: Mapping[tuple[Any, ...], Mapping[int, ModelSpec]]

    @property
    def models(self) -> list[ModelSpec]:
        """Return all models of the family."""
        return [spec for by_seed in self.levels.values() for spec in by_seed.values()]

    @property
    def seeds(self) -> list[int]:
        """Return the seeds that every level has."""
        return sorted(set.intersection(*(set(by_seed) for by_seed in self.levels.values())))


def families(specs: Sequence[ModelSpec], *varied: str, least: int = 2) -> list[Family]:
    """Return the families of at least ``least`` levels.

    >>> from memcore.study.protocols.protocol import Factors, ModelSpec
    >>> specs = [ModelSpec(f"{f}{s}", (), s, Factors(flips=f), (), ()) for f in (False, True) for s in (0, 1)]
    >>> [list(family.levels) for family in families(specs, "flips")]
    [[(False,), (True,)]]
    """
    found: dict[Factors, dict[tuple[Any, ...], dict[int, ModelSpec]]] = {}
    blank = {name: getattr(Factors(), name) for name in varied}
    for spec in specs:
        common = dataclasses.replace(spec.factors, **blank)
        level = tuple(getattr(spec.factors, name) for name in varied)
        found.setdefault(common, {}).setdefault(level, {})[spec.seed] = spec
    return [
        Family(common, varied, dict(sorted(levels.items())))
        for common, levels in found.items()
        if len(levels) >= least
    ]
