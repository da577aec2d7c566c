"""A training set as one array in memory."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.images import Background, UnreadableImage
from memcore.images.resize import Resize
from memcore.sources.base import Source, quarantined, shown
from memcore.sources.coverage import Account, Coverage
from memcore.sources.decoded import DecodedSource, name_of
from memcore.sources.entries import QuarantineEntry
from memcore.sources.folder import FolderSource
from memcore.sources.npy import ArraySource
from memcore.sources.open import find_kind, open_source
from memcore.sources.walk import walk

#: Bytes that the memory of a set grows by, at least, if the number of images is not known in advance.
_GROWTH_BYTES = 1 << 24
#: Pieces of each image that its digest reads, bytes of each, and images that are read together.
_SAMPLES, _SAMPLE_BYTES, _SAMPLED_TOGETHER = 16, 64, 4096
#: Bytes of a training set that is digested whole.
_WHOLE_BYTES = 1 << 28


class TrainingSet(NamedTuple):
    """Images (N, H, W, C) uint8, their names, what was left out, and how many files, members or rows there are."""

    images: NDArray[np.uint8]
    names: list[str]
    left_out: list[QuarantineEntry]
    coverage: Coverage | None


def load_training_set(path: Path) -> tuple[NDArray[np.uint8], list[str], list[QuarantineEntry]]:
    """Return (images (N, H, W, C) uint8, their names, what could not be read).

    ``path`` is what ``open_source`` reads: a folder of images (searched recursively), an .npy file (N, H, W, C), an .npz
    file with an array ``images``, tars or Parquet. The first readable image's size counts; others are refused.
    """
    return read_training_set(path)[:3]


def read_training_set(
    path: Path,
    *,
    shape: tuple[int, int, int] | None = None,
    resize: Resize | None = None,
    background: Background | None = None,
) -> TrainingSet:
    """Return the training set at ``path`` as ``load_training_set`` reads it, with the account of everything there.

    ``shape`` (H, W, C), if given, is the size that counts, whatever the first image has. With ``resize`` all images are
    brought to its size; ``background`` is the colour under transparent pixels, which are refused without it.

    Raises ConfigError if there is no image of that size, or if memory cannot hold all of them.
    """
    source = _open(path)
    if isinstance(source, ArraySource) and len(source.parts) == 1:
        wrong = source.refusal(0)
        if wrong is not None and wrong.reason in ("dtype", "wrong-size"):
            raise ConfigError(f"training={shown(path)} must hold uint8 (N, H, W, C), got {wrong}")
    reader = DecodedSource(source, resize, background, 1)
    try:
        reader.shape = shape or reader.first_shape()
        found = _read(reader)
        if not len(found.images):  # say which size there is
            reader.shape = None
            other = reader.first_shape()
    except ConfigError as error:
        raise ConfigError(f"training={error}") from None
    except MemoryError:
        raise ConfigError(
            f"training={shown(path)} does not fit into memory: memcore index makes an index of it, which may be larger"
        ) from None
    if shape is not None and not len(found.images):
        remedy = (
            f"give --resize {shape[0]}x{shape[1]}, with the method that made the model's training images"
            if other[2] == shape[2]
            else f"images of {shape[2]} channels are compared"
        )
        raise ConfigError(
            f"training must hold images of the generations' shape {shape}, {shown(path)} has {other}: {remedy}"
        )
    return found


def load_source(source: Source) -> tuple[NDArray[np.uint8], list[str], list[QuarantineEntry]]:
    """Return the images of a source, their names, and what could not be read."""
    return read_all(source)[:3]


def read_all(source: Source) -> TrainingSet:
    """Return all images of a source, and the account of everything that it holds."""
    reader = DecodedSource(source, None, None, 1)
    reader.shape = reader.first_shape()
    return _read(reader)


def _read(reader: DecodedSource) -> TrainingSet:
    source, shape = reader.source, reader.shape
    assert shape is not None
    names: list[str] = []
    account = Account(source)
    broken: list[QuarantineEntry] = []
    room = np.empty((_count(source), *shape), np.uint8)
    for part in range(len(source.parts)):
        for batch, decoded in reader.read(part, 0):
            for i, pixels in enumerate(decoded):
                broken.extend(account.take(batch, i))
                if isinstance(pixels, UnreadableImage):
                    broken.append(quarantined(name_of(batch, i), pixels))
                    continue
                if len(names) == len(room):  # in place: a second copy might not fit
                    more = max(1, len(names) // 8, _GROWTH_BYTES // math.prod(shape))
                    room.resize((len(names) + more, *shape), refcheck=False)
                room[len(names)] = pixels
                names.append(name_of(batch, i))
        account.end_part(part)
    broken = [*account.left_out, *broken]
    return TrainingSet(room[: len(names)], names, broken, account.close(len(names), broken))


def sampled_digest(images: NDArray[np.uint8], names: Sequence[str]) -> str:
    """Return a digest of images (N, H, W, C), in their order and with their names.

    A set of up to 256 MiB is read whole, of a larger one 1,024 bytes an image: it is told from another one, and from itself
    with an image replaced, but a change of a few pixels may escape. Reading all bytes would cost as much as a match.

    >>> images = np.zeros((2, 64, 64, 3), np.uint8)
    >>> sampled_digest(images, ["a", "b"]) == sampled_digest(images + 1, ["a", "b"])
    False
    """
    found = hashlib.sha256(json.dumps([list(images.shape), list(names)]).encode())
    size = math.prod(images.shape[1:])
    flat = images.reshape(len(images), size)
    starts = np.linspace(0, max(0, size - _SAMPLE_BYTES), _SAMPLES).astype(np.int64)
    if images.nbytes <= _WHOLE_BYTES or size <= _SAMPLES * _SAMPLE_BYTES:
        found.update(np.ascontiguousarray(flat).data)
        return found.hexdigest()
    for first in range(0, len(flat), _SAMPLED_TOGETHER):
        some = flat[first : first + _SAMPLED_TOGETHER]
        parts = [some[:, start : start + _SAMPLE_BYTES] for start in starts.tolist()]
        found.update(np.concatenate(parts, axis=1).data)
    return found.hexdigest()


def _open(path: Path) -> Source:
    try:
        if path.is_dir() and _holds_images(path):
            return open_source(path, FolderSource.kind)
        return open_source(path, find_kind(path))
    except ConfigError as error:
        raise ConfigError(f"training must be a folder of images, or a file of them: {error}") from None


def _holds_images(path: Path) -> bool:
    try:
        folders = walk(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    suffixes = FolderSource.suffixes
    return any(os.path.splitext(name)[1].lower() in suffixes for folder in folders for name in folder.files)


def _count(source: Source) -> int:
    """Return how many images are known in advance: those of arrays, which may nearly fill the memory."""
    if isinstance(source, ArraySource):
        return sum(source.whole_images(part) for part in range(len(source.parts)))
    return 0
