"""Models that another study has finished, taken over instead of made again."""

from __future__ import annotations

import dataclasses

from memcore.engine.task import manifest_name
from memcore.errors import RunError
from memcore.storage.digests import verify_bytes, without_head
from memcore.study.folder import FEATURES, FEATURES_HEAD, StudyFolder, asked_digest

_AGAIN = "remove it and its manifest there, and run that study again"
_REMOVED = "remove its model's manifest there, and run that study again"
_AGAIN_NETWORK = "remove it, and it is trained again"


@dataclasses.dataclass(frozen=True)
class TakenOver:
    """How many models were taken over, and how many are finished there but of other data or asked for something else."""

    models: int
    other: int


def take_over(study: StudyFolder, finished: StudyFolder) -> TakenOver:
    """Copy the tables and manifests of models that ``study`` plans and ``finished`` has done.

    A model counts as the same if its factors, seed, data, checkpoints, attacks and their settings are. Every file is checked
    before it is copied, and a manifest comes after its tables. The feature networks come along, so that Frechet
    distances are measured by one network.

    Raises
    ------
    RunError, DamagedFileError
        A file of ``finished`` is missing or not what its manifest recorded.
    """
    data = {name: _digest(study, name) for name in study.protocol.data}
    there, files, mine = finished.manifests(), finished.files(), study.manifests()
    taken = other = 0
    for model, spec in study.specs.items():
        if model in mine or model not in there or there[model].get("given_up"):
            continue
        asked = asked_digest(study.protocol, spec)
        if (there[model].get("asked"), there[model].get("data")) != (asked, data[spec.factors.data]):
            other += 1
            continue
        if not taken:
            _take_features(study, finished)
        for name, digest in files[model].items():
            place = f"{finished.storage.place}/{name}"
            try:
                content = finished.storage.read(name)
            except FileNotFoundError:
                raise RunError(f"{place} is missing: restore it, or {_REMOVED}") from None
            verify_bytes(content, digest, place, _AGAIN)
            study.storage.write(name, content)
        study.storage.write(manifest_name(model), finished.storage.read(manifest_name(model)))
        taken += 1
    return TakenOver(taken, other)


def _digest(study: StudyFolder, name: str) -> str:
    """Return the digest of a data set, as the study's start recorded it."""
    told = str(study.about().get("data", {}).get(f"data.{name}", ""))
    return told.rpartition("sha256 ")[2]


def _take_features(study: StudyFolder, finished: StudyFolder) -> None:
    """Copy the feature networks of data sets that both studies have under one name, where this study has none yet."""
    for name in finished.storage.names(FEATURES):
        file, data = f"{FEATURES}/{name}", name.removesuffix(".weights")
        same = _digest(study, data) == _digest(finished, data) != ""
        if same and study.protocol.quality == finished.protocol.quality and not study.storage.exists(file):
            content = finished.storage.read(file)
            if without_head(FEATURES_HEAD, content) is None:
                raise RunError(f"{finished.storage.place}/{file} is damaged: {_AGAIN_NETWORK}")
            study.storage.write_new(file, content)
