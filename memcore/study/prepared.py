"""The data sets of a study, loaded once by each worker."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import torch

from memcore.engine.task import Identity
from memcore.errors import ConfigError, RunError
from memcore.storage.base import Storage
from memcore.storage.digests import headed, without_head
from memcore.study.classifier import FeatureNetwork
from memcore.study.data.images import ImageSet
from memcore.study.data.load import load_data
from memcore.study.data.public import public_images
from memcore.study.data.sets import draw_sets
from memcore.study.folder import FEATURES, FEATURES_HEAD, describe_protocol
from memcore.study.protocols.expand import expand
from memcore.study.protocols.protocol import Protocol
from memcore.study.training.make import check_images
from memcore.study.training.trainer import weights_digest


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedData:
    """A data set and the digest of all its images and labels."""

    data: ImageSet
    digest: str


def prepare_data(protocol: Protocol) -> dict[str, PreparedData]:
    """Return the data sets that models of the protocol use, by name.

    Raises ConfigError if one is missing, or has too few images for a model.
    """
    check_device(protocol.device)
    specs = expand(protocol)
    used = [
        name
        for name in protocol.data
        if any(name in (spec.factors.data, spec.factors.public) for spec in specs)
    ]
    found = {}
    for name in used:
        try:
            data = load_data(protocol.data[name])
        except ConfigError as error:
            raise ConfigError(f"data.{name}: {error}") from None
        found[name] = PreparedData(data, data.digest())
    for spec in specs:
        data = found[spec.factors.data].data
        if not spec.factors.folder and not spec.factors.generator:
            check_images(spec.factors, data.shape)
        if spec.factors.labels == "class" and not data.classes:
            raise ConfigError(f"data.{spec.factors.data} has no classes: labels can be 'none' or 'unique'")
        draw_sets(data, protocol.data[spec.factors.data], spec.factors, spec.seed)
        public_images(protocol, spec, {name: held.data for name, held in found.items()})
    return found


def check_device(device: str) -> None:
    """Raise ConfigError unless models can be trained on the device here."""
    try:
        torch.empty(1, device=torch.device(device))
    except (RuntimeError, AssertionError) as error:
        cause = str(error).strip().partition(chr(10))[0]
        raise ConfigError(f"device {device!r} cannot be used on this machine: {cause}") from None


def identify(protocol: Protocol, prepared: dict[str, PreparedData]) -> Identity:
    """Return what tells one study's results from another's: all of the protocol that decides them, and the data."""
    digests = {name: held.digest for name, held in prepared.items()}
    payload = {"protocol": describe_protocol(protocol), "data": digests}
    fingerprint = hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()
    described = {
        f"data.{name}": f"{held.data.source}, sha256 {held.digest}" for name, held in prepared.items()
    }
    return Identity(fingerprint, described)


def feature_network(
    storage: Storage, protocol: Protocol, name: str, data: ImageSet
) -> tuple[FeatureNetwork, str]:
    """Return the feature network of a data set and the digest of its weights: trained once a study, then read."""
    file = f"{FEATURES}/{name}.weights"
    network = FeatureNetwork(data, protocol.quality)
    try:
        kept = storage.read(file)
    except FileNotFoundError:
        network.train()
        storage.write_new(file, headed(FEATURES_HEAD, network.weights()))
        kept = storage.read(file)  # another worker may have been faster, on another machine
    weights = without_head(FEATURES_HEAD, kept)
    if weights is None:
        raise RunError(f"{storage.place}/{file} is damaged: remove it, and run the study again")
    network.load_weights(weights)
    return network, weights_digest(weights)
