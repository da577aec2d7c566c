"""CIFAR-10 from the official archive of its binary version, checked by its hash. The pickles are never read.

The user downloads ``cifar-10-binary.tar.gz`` and keeps it as it is: memcore ships no image of it.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.study.data.images import ImageSet, make_grey, shrink
from memcore.study.protocols.protocol import DataSpec
from memcore.system.places import where

SOURCE = "CIFAR-10 (A. Krizhevsky, 2009), the user's own copy"
ARCHIVE = "cifar-10-binary.tar.gz"
#: As its authors state it, on https://www.cs.toronto.edu/~kriz/cifar.html.
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
TRAINING = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST = "test_batch.bin"
FOLDER = "cifar-10-batches-bin"
IMAGES, SIDE, CLASSES = 10_000, 32, 10
#: A record is its label and 1,024 bytes of each of red, green and blue.
RECORD = 1 + 3 * SIDE * SIDE


def load_cifar10(spec: DataSpec, md5: str = MD5) -> ImageSet:
    """Return the 50,000 training images, and the 10,000 test images as the reference.

    Raises ConfigError if the archive is not the official one.
    """
    path = Path(spec.path or ARCHIVE)
    if not path.is_file():
        raise ConfigError(
            f"path must be the official archive {ARCHIVE}; {path} does not exist{where(path)}, or is a folder"
        )
    data = path.read_bytes()
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != md5:
        raise ConfigError(f"{path} is not the official {ARCHIVE}: its MD5 is {found}, not {md5}")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        parts = [_read(archive, name) for name in (*TRAINING, TEST)]
    images = np.concatenate([part[0] for part in parts[:-1]])
    labels = np.concatenate([part[1] for part in parts[:-1]])
    return ImageSet(_fit(images, spec), labels, _fit(parts[-1][0], spec), parts[-1][1], SOURCE)


def _fit(images: NDArray[np.uint8], spec: DataSpec) -> NDArray[np.uint8]:
    images = shrink(images, spec.side, "CIFAR-10")
    return make_grey(images) if spec.grey else images


def _read(archive: tarfile.TarFile, name: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        member = archive.extractfile(f"{FOLDER}/{name}")
    except KeyError:
        member = None
    data = b"" if member is None else member.read()
    if len(data) != IMAGES * RECORD:
        raise ConfigError(f"{FOLDER}/{name} has {len(data):,} bytes, CIFAR-10's has {IMAGES * RECORD:,}")
    records = np.frombuffer(data, np.uint8).reshape(IMAGES, RECORD)
    if int(records[:, 0].max()) >= CLASSES:
        raise ConfigError(f"{FOLDER}/{name} has the label {int(records[:, 0].max())}, CIFAR-10's go to 9")
    images = records[:, 1:].reshape(IMAGES, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, 0].astype(np.int64)
