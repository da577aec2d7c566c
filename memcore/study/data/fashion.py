"""Fashion-MNIST from its IDX files: MIT licence, Zalando SE; Debian's package ``dataset-fashion-mnist`` holds them."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.study.data.images import ImageSet, shrink
from memcore.study.protocols.protocol import DataSpec
from memcore.system.places import where

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
SOURCE = "Fashion-MNIST (Zalando SE, MIT licence)"
_FILES = {
    "images": ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"),
    "labels": ("train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"),
}
#: Bytes of an image's side in the files, and after a border of two black pixels, which makes it divisible.
_SIDE, _PADDED = 28, 32
_UBYTE = 8


def load_fashion(spec: DataSpec) -> ImageSet:
    """Return the 60,000 training images, and the 10,000 test images as the reference.

    Raises ConfigError if the files are missing or damaged.
    """
    folder = Path(spec.path) if spec.path else DEBIAN
    (images, reference), (labels, reference_labels) = (
        [read_idx(_find(folder, name)) for name in names] for names in _FILES.values()
    )
    for file, found in (("train", images), ("t10k", reference)):
        if found.shape[1:] != (_SIDE, _SIDE):
            raise ConfigError(f"{folder}/{file}-images must hold images of 28 x 28, got {found.shape[1:]}")
    if len(images) != len(labels) or len(reference) != len(reference_labels):
        raise ConfigError(f"{folder} has {len(images):,} images and {len(labels):,} labels")
    return ImageSet(
        _fit(images, spec.side),
        labels.astype(np.int64),
        _fit(reference, spec.side),
        reference_labels.astype(np.int64),
        SOURCE,
    )


def _find(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise ConfigError(
        f"{folder / name}.gz does not exist{where(folder)}: apt-get install dataset-fashion-mnist, or name the "
        "folder of the four IDX files as path"
    )


def _fit(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    border = (_PADDED - _SIDE) // 2
    padded = np.pad(images, ((0, 0), (border, border), (border, border)))[..., None]
    return shrink(padded, side, "Fashion-MNIST, 32 with its border,")


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the array of an IDX file of unsigned bytes, compressed or not.

    Raises ConfigError if the file is damaged or holds something else.
    """
    data = path.read_bytes()
    try:
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{path} is damaged: {error}") from None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != _UBYTE or not 1 <= data[3] <= 4:
        raise ConfigError(f"{path} is no IDX file of unsigned bytes")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise ConfigError(f"{path} ends in its header")
    shape = struct.unpack(f">{data[3]}I", data[4:start])
    if len(data) - start != math.prod(shape):
        raise ConfigError(f"{path} holds {len(data) - start:,} bytes, its header says {math.prod(shape):,}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
