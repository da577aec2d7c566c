"""A training set as one array in memory (or mapped)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.images import IMAGE_SUFFIXES, UnreadableImage, decode_file


def load_training_set(path: Path) -> tuple[NDArray[np.uint8], list[str], list[dict[str, str]]]:
    """(images (N, H, W, C) uint8, their names, what could not be read).

    A folder of images (searched through), an .npy file (N, H, W, C), which is mapped and not loaded, or an .npz file
    with an array ``images``.
    """
    if path.is_file() and path.suffix in (".npy", ".npz"):
        images = _load_array(path)
        return images, [str(i) for i in range(len(images))], []
    if not path.is_dir():
        raise ConfigError(f"training must be a folder of images, an .npy or an .npz file, got {path}")
    files = sorted(f for f in path.rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES)
    read: list[NDArray[np.uint8]] = []
    names: list[str] = []
    broken: list[dict[str, str]] = []
    for file in files:
        name = str(file.relative_to(path))
        try:
            image = decode_file(file)
            if read and image.shape != read[0].shape:
                raise UnreadableImage("wrong-size", f"{image.shape} where {read[0].shape} is expected")
        except UnreadableImage as error:
            broken.append({"source": name, "reason": error.reason, "detail": str(error)})
            continue
        read.append(image)
        names.append(name)
    if not read:
        raise ConfigError(f"training={path} holds not one readable image")
    return np.stack(read), names, broken


def _load_array(path: Path) -> NDArray[np.uint8]:
    try:
        loaded: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        images = loaded["images"] if path.suffix == ".npz" else loaded
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise ConfigError(f"training={path} cannot be read: {error}") from None
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        raise ConfigError(f"training={path} must hold uint8 (N, H, W, C), got {images.dtype} {images.shape}")
    mapped: NDArray[np.uint8] = images
    return mapped
