"""Studies so small that a test can run one: a few images of blobs, and protocols of a few steps."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memcore.study.data import cifar10

SIDE = 8
TINY = """
name = "tiny"
about = "for tests"
interval = 4
[data.images]
kind = "stored"
path = "{path}"
side = 8
grey = true
block = 100
[extraction]
samples = 70
steps = 2
keep = 4
[membership]
timesteps = [50, 100]
draws = 2
[inpainting]
images = 2
tries = 2
steps = 2
[quality]
steps = 3
samples = 70
features = 8
[canaries]
candidates = 8
draws = 1
[[groups]]
name = "sets"
findings = ["b"]
seeds = 2
checkpoints = [5]
attacks = ["extraction", "quality", "inpainting", "membership", "samples", "canaries"]
fixed = {{ n = 12, steps = 9, width = 8, batch = 4, canaries = 1, copies = [[2, 3]] }}
[[groups]]
name = "halves"
findings = ["g"]
attacks = ["membership"]
fixed = {{ n = 24, steps = 6, width = 8, batch = 4, prediction = "v_prediction", flips = true }}
grid = {{ half = [0, 1] }}
[[groups]]
name = "shared"
attacks = ["samples"]
checkpoints = [3]
fixed = {{ n = 12, steps = 9, width = 8, batch = 4, canaries = 1, copies = [[2, 3]] }}
"""


def blobs(count: int, seed: int = 0, channels: int = 1) -> NDArray[np.uint8]:
    """Images of one soft blob each, (count, 8, 8, channels)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    at = rng.uniform(1, SIDE - 1, (count, 2, 1, 1))
    wide = rng.uniform(0.7, 3, (count, 1, 1))
    bright = rng.uniform(100, 255, (count, 1, 1, channels))
    heights = np.exp(-((y - at[:, 0]) ** 2 + (x - at[:, 1]) ** 2) / wide**2)[..., None]
    images: NDArray[np.uint8] = np.rint(heights * bright).astype(np.uint8)
    return images


def write_tiny(folder: Path, text: str = TINY) -> Path:
    """Write the images and the protocol, and return the protocol's path."""
    images = folder / "images.npy"
    np.save(images, blobs(300, channels=3))
    protocol = folder / "tiny.toml"
    protocol.write_text(text.format(path=images))
    return protocol


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    """Write an IDX file of unsigned bytes, compressed."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes(), 1))


def write_cifar10(path: Path, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8], str]:
    """Write an archive of the layout of CIFAR-10's binary version: (60,000 images, their labels, MD5 of the archive)."""
    rng = np.random.default_rng(seed)
    names = (*cifar10.TRAINING, cifar10.TEST)
    patches = rng.integers(0, 256, (10_000 * len(names), 4, 4, 3), np.uint8)
    images = patches.repeat(8, axis=1).repeat(8, axis=2)
    labels = rng.permutation(np.repeat(np.arange(10, dtype=np.uint8), 1000 * len(names)))
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for i, name in enumerate(names):
            rows = slice(10_000 * i, 10_000 * (i + 1))
            planes = images[rows].transpose(0, 3, 1, 2).reshape(10_000, -1)
            data = np.concatenate([labels[rows, None], planes], axis=1).tobytes()
            member = tarfile.TarInfo(f"{cifar10.FOLDER}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return images, labels, hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
