"""A study on disk: its protocol, who it was started by, and the tables of its finished models.

protocol.toml               the protocol, as it was given
study.json                  format, fingerprint, and the data sets with their digests
rows/MODEL.TABLE.parquet    the tables of a finished model (rows.py)
features/DATA.weights       the feature network of the Frechet distance
manifest/, partial/         the engine's
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from memcore.engine.launchers.slurm import FOLDER as SLURM
from memcore.engine.task import Identity, manifest_name
from memcore.errors import ConfigError, DamagedFileError, RunError
from memcore.runs.meta import difference
from memcore.storage.base import Storage
from memcore.storage.digests import FileDigest, read_digest, read_sealed
from memcore.storage.local import LocalStorage
from memcore.storage.open import open_storage
from memcore.study.protocols.expand import expand
from memcore.study.protocols.protocol import Attack, ModelSpec, Protocol
from memcore.study.protocols.read import parse_protocol, with_paths
from memcore.study.rows import ROWS, TABLES, rows_name
from memcore.system.parsing import check_shape, parse_json

FORMAT = 1
PROTOCOL = "protocol.toml"
STUDY = "study.json"
FEATURES = "features"
#: The first words of a network's file, which holds its own digest.
FEATURES_HEAD = "memcore features 1"
#: The settings of a protocol that decide the tables of an attack.
_SETTINGS: Mapping[Attack, tuple[str, ...]] = {
    "extraction": ("extraction",),
    "samples": ("extraction",),
    "quality": ("extraction", "quality"),
    "filter": ("extraction", "quality", "filter"),
    "membership": ("membership",),
    "inpainting": ("inpainting",),
    "canaries": ("canaries",),
}
_AGAIN = "remove it, and run the study again"


class _Manifest(TypedDict):
    """What is read of a model's manifest."""

    given_up: bool
    started: float
    finished: float
    units: int
    files: NotRequired[dict[str, object]]
    asked: NotRequired[str]
    data: NotRequired[str]
    detail: NotRequired[str]


class _Study(TypedDict):
    """What is read of ``study.json``."""

    format: int
    fingerprint: str
    data: NotRequired[dict[str, str]]


class StudyFolder:
    """An opened study. ``specs`` are its models by id, in the protocol's order."""

    def __repr__(self) -> str:
        """Return one line: where it is, and how many models it has."""
        return f"StudyFolder({self.storage.place!r}, models={len(self.specs)})"

    def __init__(self, storage: Storage, protocol: Protocol) -> None:
        self.storage = storage
        self.protocol = protocol
        self.specs: dict[str, ModelSpec] = {spec.id: spec for spec in expand(protocol)}

    @classmethod
    def open(cls, place: str) -> StudyFolder:
        """Open the study at a path or URL. Raises RunError if there is none."""
        return cls.open_storage(open_storage(place))

    @classmethod
    def open_storage(cls, storage: Storage) -> StudyFolder:
        """Open the study in a storage."""
        try:
            data = storage.read(PROTOCOL)
        except (FileNotFoundError, NotADirectoryError):
            raise RunError(
                f"{storage.place} holds no study (no {PROTOCOL}): memcore study run PROTOCOL {storage.place} starts one"
            ) from None
        return cls(storage, parse_protocol(data, f"{storage.place}/{PROTOCOL}"))

    def about(self) -> dict[str, Any]:
        """Return what ``study.json`` says. Raises RunError if it is damaged or of another format."""
        try:
            found = parse_json(self.storage.read(STUDY))
            check_shape(found, dict[str, object], STUDY)
            if found.get("format") != FORMAT:
                raise ValueError(f"it has format {found.get('format')}, this version reads format {FORMAT}")
            check_shape(found, _Study, STUDY)
        except FileNotFoundError:
            raise RunError(f"{self.storage.place} holds no {STUDY}: the study was not started yet") from None
        except ValueError as error:
            raise RunError(f"{self.storage.place}/{STUDY} cannot be used: {error}") from None
        return dict(found)

    def manifests(self) -> dict[str, dict[str, Any]]:
        """Return the manifests of the models that are done or were given up."""
        found = {}
        for model in self.specs:
            try:
                data = self.storage.read(manifest_name(model))
            except FileNotFoundError:
                continue
            place = f"{self.storage.place}/{manifest_name(model)}"
            found[model] = read_sealed(data, place, _AGAIN, since=FORMAT)
            _check_manifest(found[model], model, place)
            asked = asked_digest(self.protocol, self.specs[model])
            if found[model].get("asked", asked) != asked:
                raise RunError(
                    f"{place} is of a model that was asked for other checkpoints, attacks or settings than this study's: "
                    f"{_AGAIN}"
                )
        return found

    def files(self) -> dict[str, dict[str, FileDigest]]:
        """Return the digests of the tables of each finished model, as its manifest recorded them."""
        return {
            model: {
                str(name): read_digest(digest, f"{self.storage.place}/{manifest_name(model)}", _AGAIN)
                for name, digest in dict(manifest.get("files", {})).items()
            }
            for model, manifest in self.manifests().items()
        }

    def missing_tables(self) -> dict[str, list[str]]:
        """Return the names of the tables that a manifest has and the folder lacks, by their model."""
        there = {f"{ROWS}/{name}" for name in self.storage.names(ROWS)}
        lacking = {model: sorted(files.keys() - there) for model, files in self.files().items()}
        return {model: names for model, names in lacking.items() if names}


def _check_manifest(manifest: Mapping[str, Any], model: str, place: str) -> None:
    """Raise DamagedFileError unless a manifest is as ``StudyWork`` writes it, and names tables of its model alone."""
    try:
        check_shape(manifest, _Manifest, "it")
        own = {rows_name(model, table) for table in TABLES}
        if others := manifest.get("files", {}).keys() - own:
            raise ValueError(f"it names {min(others)!r}, which is no table of its model")
    except ValueError as error:
        raise DamagedFileError(f"{place} is damaged: {error}; {_AGAIN}") from None


class StudyStart:
    """The start of a study, or of its continuation, as a launcher sees it."""

    def __repr__(self) -> str:
        """Return one line: where the study is to be."""
        return f"StudyStart({self.storage.place!r})"

    def __init__(self, place: str, data: bytes, name: str, paths: Mapping[str, str] | None = None) -> None:
        """Read the protocol; ``name`` is what errors call it, ``paths`` says where data sets are by their names."""
        self.storage = open_storage(place)
        self.protocol = with_paths(parse_protocol(data, name), paths or {})
        self._bytes = data

    def check_startable(self) -> None:
        """Raise RunError unless a study may be started or continued there, ConfigError if it has another protocol."""
        storage = self.storage
        if isinstance(storage, LocalStorage) and storage.path.exists() and not storage.path.is_dir():
            raise RunError(f"{storage.place} is a file: choose a folder for the study")
        names = storage.names()
        if PROTOCOL in names:
            self._check_protocol(StudyFolder.open_storage(storage).protocol)
        elif not all(name == SLURM or name.startswith(".") for name in names):
            raise RunError(f"{storage.place} is not empty and holds no study: choose another folder")

    def open(self, identity: Identity) -> StudyFolder:
        """Start the study, or check that it is the one that was started."""
        self.check_startable()
        about = {"format": FORMAT, "fingerprint": identity.fingerprint, "data": dict(identity.describe)}
        self.storage.write_new(PROTOCOL, self._bytes)
        self.storage.write_new(STUDY, json.dumps(about, indent=1).encode())
        folder = StudyFolder.open_storage(self.storage)
        before = folder.about()
        if before["fingerprint"] != identity.fingerprint:
            lines = difference(_strings(before.get("data")), identity.describe)
            what = "; ".join(lines) or "its models differ"
            raise ConfigError(f"{self.storage.place} was started with other data or another protocol: {what}")
        return folder

    def _check_protocol(self, before: Protocol) -> None:
        told = [describe_protocol(protocol) for protocol in (before, self.protocol)]
        if told[0] != told[1]:
            lines = difference(*told)
            raise ConfigError(
                f"{self.storage.place} was started with another protocol: {'; '.join(lines[:3])}"
                f"{f' and {len(lines) - 3} more' if len(lines) > 3 else ''}; choose another folder for the study"
            )


def asked_digest(protocol: Protocol, spec: ModelSpec) -> str:
    """Return one digest of all that decides a model's tables besides its id: checkpoints, attacks and their settings.

    >>> from memcore.study.protocols.read import read_protocol
    >>> quick = read_protocol("quick")
    >>> first = expand(quick)[0]
    >>> later = dataclasses.replace(first, checkpoints=(*first.checkpoints, 10**6))
    >>> asked_digest(quick, first) == asked_digest(quick, later)
    False
    """
    names = {name for attack in spec.attacks for name in _SETTINGS[attack]}
    if spec.factors.merge == "embeddings":  # those of the feature network
        names.add("quality")
    settings = {name: dataclasses.asdict(getattr(protocol, name)) for name in sorted(names)}
    decisive = {
        "checkpoints": spec.checkpoints,
        "attacks": spec.attacks,
        "device": protocol.device,
        **settings,
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def describe_protocol(protocol: Protocol) -> dict[str, str]:
    """Return what decides the results of a protocol as flat entries: each model, each setting."""
    told = {
        name: str(getattr(protocol, name))
        for name in ("extraction", "membership", "inpainting", "quality", "canaries", "device")
    }
    for spec in expand(protocol):
        told[f"model {spec.id}"] = f"groups {spec.groups}, checkpoints {spec.checkpoints}, {spec.attacks}"
    return told


def _strings(found: object) -> Mapping[str, str]:
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}
