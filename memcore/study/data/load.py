"""The data set that a protocol names."""

from __future__ import annotations

from collections.abc import Callable

from memcore.study.data.bundled import load_bundled
from memcore.study.data.cifar10 import load_cifar10
from memcore.study.data.clip_art import load_clip_art
from memcore.study.data.fashion import load_fashion
from memcore.study.data.images import ImageSet
from memcore.study.data.stored import load_stored
from memcore.study.protocols.protocol import DataKind, DataSpec

LOADERS: dict[DataKind, Callable[[DataSpec], ImageSet]] = {
    "bundled": load_bundled,
    "fashion": load_fashion,
    "cifar10": load_cifar10,
    "clip-art": load_clip_art,
    "stored": load_stored,
}


def load_data(spec: DataSpec) -> ImageSet:
    """Return the images of a data set. Raises ConfigError, which says how to get what is missing."""
    return LOADERS[spec.kind](spec)
