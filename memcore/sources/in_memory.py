"""A training set as one array in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.images import UnreadableImage
from memcore.sources.base import QuarantineEntry, Source, quarantined
from memcore.sources.decoded import DecodedSource, name_of
from memcore.sources.folder import FolderSource
from memcore.sources.npy import ArraySource
from memcore.sources.open import find_kind, open_source


def load_training_set(path: Path) -> tuple[NDArray[np.uint8], list[str], list[QuarantineEntry]]:
    """Return (images (N, H, W, C) uint8, their names, what could not be read).

    ``path`` is what ``open_source`` reads: a folder of images (searched through), an .npy file (N, H, W, C), an .npz file
    with an array ``images``, tars or Parquet. The first readable image's size counts; others are refused.
    """
    source = _open(path)
    if isinstance(source, ArraySource) and len(source.parts) == 1:
        wrong = source.refusal(0)
        if wrong is not None and wrong.reason in ("dtype", "wrong-size"):
            raise ConfigError(f"training={path} must hold uint8 (N, H, W, C), got {wrong}")
    try:
        return load_source(source)
    except ConfigError as error:
        raise ConfigError(f"training={error}") from None


def load_source(source: Source) -> tuple[NDArray[np.uint8], list[str], list[QuarantineEntry]]:
    """Return the images of a source, their names, and what could not be read."""
    reader = DecodedSource(source, None, None, 1)
    reader.shape = reader.first_shape()
    names: list[str] = []
    broken: list[QuarantineEntry] = []
    room = np.empty((_count(source), *reader.shape), np.uint8)
    read: list[NDArray[np.uint8]] = []
    for part in range(len(source.parts)):
        for batch, decoded in reader.read(part, 0):
            for i, pixels in enumerate(decoded):
                if isinstance(pixels, UnreadableImage):
                    broken.append(quarantined(name_of(batch, i), pixels))
                    continue
                if len(names) < len(room):
                    room[len(names)] = pixels
                else:
                    read.append(pixels)
                names.append(name_of(batch, i))
    return (np.stack(read) if read else room[: len(names)]), names, broken


def _open(path: Path) -> Source:
    if path.is_dir() and any(f.suffix.lower() in FolderSource.suffixes for f in path.rglob("*")):
        return open_source(path, FolderSource.kind)
    try:
        return open_source(path, find_kind(path))
    except ConfigError as error:
        raise ConfigError(f"training must be a folder of images, or a file of them: {error}") from None


def _count(source: Source) -> int:
    """Return how many images are known before they are read: those of arrays, which may nearly fill the memory."""
    if isinstance(source, ArraySource):
        return sum(source.count(part) for part in range(len(source.parts)))
    return 0
