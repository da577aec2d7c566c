"""Stored images, read without surprises: generations of an earlier run, and training sets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.images import IMAGE_SUFFIXES, UnreadableImage, decode_file
from memcore.sampling.screens import flag_constant

Batch = tuple[NDArray[np.uint8], list[int], NDArray[np.bool_], list[dict[str, str]]]


class StoredPrompts:
    """Generations on disk: a folder with one folder of images or one .npy (N, H, W, C) a prompt, or a single .npy.

    Names are sorted; a folder's or file's name is the prompt, unless ``prompts.txt`` beside them gives one a line. A
    file name that is a number is its image's seed, otherwise the seed is the position.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries = _entries(path)
        self.prompts = _prompt_names(path, self.entries)
        self.image_shape = self._first_shape()

    @property
    def fingerprint(self) -> str:
        """sha256 over the names and sizes of all files: what tells one stored set from another."""
        digest = hashlib.sha256()
        for entry in self.entries:
            files = [entry] if entry.is_file() else _images_in(entry)
            for file in files:
                digest.update(f"{file.relative_to(self.path.parent)}:{file.stat().st_size}\n".encode())
        return f"stored:{digest.hexdigest()}"

    def describe(self) -> dict[str, str]:
        h, w, c = self.image_shape
        return {
            "kind": "stored generations",
            "prompts": str(len(self.entries)),
            "image_shape": f"{h}x{w}x{c}",
        }

    def count(self, prompt_id: int) -> int:
        entry = self.entries[prompt_id]
        return len(np.load(entry, mmap_mode="r")) if entry.suffix == ".npy" else len(_images_in(entry))

    def read(self, prompt_id: int, batch_size: int) -> Iterator[Batch]:
        """(pixels, seeds, flagged, broken) in order, ``batch_size`` images at a time."""
        entry = self.entries[prompt_id]
        if entry.suffix == ".npy":
            yield from self._read_npy(entry, batch_size)
            return
        files = _images_in(entry)
        for start in range(0, len(files), batch_size):
            images, seeds, broken = [], [], []
            for position, file in enumerate(files[start : start + batch_size], start):
                try:
                    image = decode_file(file)
                    if image.shape != self.image_shape:
                        raise UnreadableImage(
                            "wrong-size", f"{image.shape} where {self.image_shape} is expected"
                        )
                except UnreadableImage as error:
                    broken.append(
                        {
                            "source": str(file.relative_to(self.path)),
                            "reason": error.reason,
                            "detail": str(error),
                        }
                    )
                    continue
                images.append(image)
                seeds.append(int(file.stem) if file.stem.isdecimal() and len(file.stem) < 19 else position)
            pixels = np.stack(images) if images else np.empty((0, *self.image_shape), np.uint8)
            yield pixels, seeds, flag_constant(pixels), broken

    def _read_npy(self, file: Path, batch_size: int) -> Iterator[Batch]:
        try:
            images = np.load(file, mmap_mode="r", allow_pickle=False)
            if images.dtype != np.uint8 or images.shape[1:] != self.image_shape:
                raise ValueError(
                    f"{images.dtype} {images.shape} where uint8 (N, {self.image_shape}) is expected"
                )
        except (ValueError, OSError, EOFError) as error:
            entry = {"source": file.name, "reason": "unreadable", "detail": str(error)}
            yield np.empty((0, *self.image_shape), np.uint8), [], np.empty(0, np.bool_), [entry]
            return
        for start in range(0, len(images), batch_size):
            pixels = np.asarray(images[start : start + batch_size])
            yield pixels, list(range(start, start + len(pixels))), flag_constant(pixels), []

    def _first_shape(self) -> tuple[int, int, int]:
        for entry in self.entries:
            for file in [entry] if entry.suffix == ".npy" else _images_in(entry):
                try:
                    shape = (
                        np.load(file, mmap_mode="r").shape[1:]
                        if file.suffix == ".npy"
                        else decode_file(file).shape
                    )
                except (UnreadableImage, ValueError, OSError, EOFError):
                    continue
                if len(shape) == 3:
                    return int(shape[0]), int(shape[1]), int(shape[2])
        raise ConfigError(f"images={self.path} holds not one readable image")


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


def _entries(path: Path) -> list[Path]:
    if path.is_file() and path.suffix == ".npy":
        return [path]
    if not path.is_dir():
        raise ConfigError(f"images must be a folder or an .npy file, got {path}, which is neither")
    entries = sorted(p for p in path.iterdir() if p.suffix == ".npy" or (p.is_dir() and _images_in(p)))
    if not entries and _images_in(path):
        return [path]
    if not entries:
        raise ConfigError(f"images={path} holds neither folders of images nor .npy files")
    return entries


def _images_in(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES)


def _prompt_names(path: Path, entries: list[Path]) -> list[str]:
    listing = path / "prompts.txt"
    if path.is_dir() and listing.exists():
        names = listing.read_text("utf-8").splitlines()
        if len(names) != len(entries):
            raise ConfigError(f"{listing} has {len(names)} lines for {len(entries)} prompts in {path}")
        return names
    return [entry.stem for entry in entries]
