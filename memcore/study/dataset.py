"""The training set with planted duplicates, its truth, and the audit's list of prompts.

Every image is composed once, on its own coloured background, and training changes none of them: the training
set on the disk is what the model saw. The same art gives the same bytes.
"""

from __future__ import annotations

import colorsys
import dataclasses
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.distance import pairwise_tiled_l2
from memcore.errors import ConfigError, RunError
from memcore.study import captions
from memcore.study.captions import AUDITED, COPIES, EXPECTED, Kind
from memcore.study.emoji import ART_SIZE, Art, compose, resize_art, rotate_hue

FORMAT = 1
SIZE = 64
GRID = (4, 4)
SEED = 0
#: Least tiled l2, in [0, 1], between two images of single-image captions: twice the threshold of an edge.
MIN_APART = 0.3
#: Backgrounds tried for one image before the lists of captions are called unusable.
_TRIES = 200
_TILE = SIZE // GRID[0]
#: Pixels of a flat caption's emoji: it nearly fills one tile, so it cannot hide in an average over the image.
_STICKER = 15
#: Pixels of the smallest of a shape's variants.
_SMALLEST = 36


@dataclasses.dataclass(frozen=True)
class Item:
    """The label of a unique training image, which is ``copies`` times in the training set."""

    caption: str
    kind: Kind
    copies: int
    emoji: str


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingSet:
    """``images`` (M, 64, 64, 3) uint8, unique, and their labels in the same order."""

    images: NDArray[np.uint8]
    items: tuple[Item, ...]

    def entries(self) -> NDArray[np.int64]:
        """Return the training set with its duplicates: each image's index, as often as it was planted."""
        return np.repeat(np.arange(len(self.items)), [item.copies for item in self.items])

    def captions(self) -> tuple[str, ...]:
        """Return every caption once, in order of first appearance."""
        return tuple(dict.fromkeys(item.caption for item in self.items))


@dataclasses.dataclass(frozen=True)
class DemoPaths:
    """The bundled model, training images, labels, truth and prompts."""

    folder: Path
    model: Path
    train: Path
    train_json: Path
    truth: Path
    prompts: Path


def build_training_set(art: Art) -> TrainingSet:
    """Compose every image, in a fixed order and from a fixed seed."""
    missing = [name for name in captions.emoji_names() if name not in art]
    if missing:
        raise ConfigError(f"the art lacks {len(missing)} emoji, the first is {missing[0]!r}")
    rng = np.random.default_rng(SEED)
    images: list[NDArray[np.uint8]] = []
    items: list[Item] = []

    def add(image: NDArray[np.uint8], caption: str, kind: Kind, emoji: str) -> None:
        images.append(image)
        items.append(Item(caption, kind, COPIES[kind], emoji))

    for kind, names in captions.SINGLE.items():
        for name in names:
            add(_far_image(art[name], images, name, rng), name, kind, name)
    for caption, names in captions.GENERIC.items():
        for name in names:
            add(_centred(art[name], _background(rng)), caption, "generic", name)
    generic = sorted(name for names in captions.GENERIC.values() for name in names)
    for caption, background in captions.FLAT.items():
        for _ in range(captions.FLAT_IMAGES):
            names = tuple(map(str, rng.choice(generic, 4, replace=False)))
            add(_stickers([art[name] for name in names], background), caption, "flat", ", ".join(names))
    for caption, (name, count) in captions.VARIATIONS.items():
        for _ in range(count):
            turned = rotate_hue(art[name], int(rng.integers(256)))
            shape = resize_art(turned, int(rng.integers(_SMALLEST, ART_SIZE + 1)))
            add(_centred(shape, _background(rng)), caption, "variations", name)
    return TrainingSet(np.stack(images), tuple(items))


def truth(training: TrainingSet) -> dict[str, Any]:
    """Return the content of truth.json: whether each audited caption must be flagged, and its training images."""
    entries = [_make_entry(training, caption) for caption in audited_captions(training)]
    return {"format": FORMAT, "prompts": entries}


def audited_captions(training: TrainingSet) -> tuple[str, ...]:
    """Return the audit's prompts in order: of each kind of caption the first ``captions.AUDITED``."""
    seen: dict[str, int] = {}
    kept = []
    for caption in training.captions():
        kind = next(item.kind for item in training.items if item.caption == caption)
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] <= AUDITED.get(kind, len(training.items)):
            kept.append(caption)
    return tuple(kept)


def save(training: TrainingSet, folder: Path) -> None:
    """Write train.npz, train.json, truth.json and prompts.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "train.npz", images=training.images)
    rows = [{"index": i, **dataclasses.asdict(item)} for i, item in enumerate(training.items)]
    lines = ",\n".join(json.dumps(row) for row in rows)
    _write(folder / "train.json", f'{{"format": {FORMAT}, "images": [\n{lines}\n]}}\n')
    lines = ",\n".join(json.dumps(entry) for entry in truth(training)["prompts"])
    _write(folder / "truth.json", f'{{"format": {FORMAT}, "prompts": [\n{lines}\n]}}\n')
    _write(folder / "prompts.txt", "\n".join(audited_captions(training)) + "\n")


def load(folder: Path) -> TrainingSet:
    """Read the training set that ``save`` wrote."""
    with np.load(folder / "train.npz") as stored:
        images: NDArray[np.uint8] = stored["images"]
    content = json.loads((folder / "train.json").read_text(encoding="utf-8"))
    if content.get("format") != FORMAT or len(content["images"]) != len(images):
        raise RunError(f"{folder / 'train.json'} does not describe the images of train.npz")
    items = tuple(Item(row["caption"], row["kind"], row["copies"], row["emoji"]) for row in content["images"])
    return TrainingSet(images, items)


def load_demo() -> DemoPaths:
    """Return where the bundled demo's files are. Raises RunError if the package lacks them."""
    folder = Path(str(files("memcore") / "demo_data"))
    paths = DemoPaths(
        folder,
        folder / "model",
        folder / "train.npz",
        folder / "train.json",
        folder / "truth.json",
        folder / "prompts.txt",
    )
    missing = [str(p) for p in dataclasses.astuple(paths) if not Path(p).exists()]
    if missing:
        make = "python -m memcore.study.tiny_sd train --out FOLDER"
        raise RunError(f"the bundled demo lacks {missing[0]}: {make} makes one")
    return paths


def _make_entry(training: TrainingSet, caption: str) -> dict[str, Any]:
    indices = [i for i, item in enumerate(training.items) if item.caption == caption]
    item = training.items[indices[0]]
    return {
        "prompt": caption,
        "kind": item.kind,
        "copies": item.copies,
        "expected": EXPECTED[item.kind],
        "training_images": indices,
    }


def _far_image(
    rgba: NDArray[np.uint8], others: list[NDArray[np.uint8]], name: str, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Put the emoji on a background with which it is at least MIN_APART from all the others."""
    for _ in range(_TRIES):
        image = _centred(rgba, _background(rng))
        if not others:
            return image
        # The oracle, not the native core: this must work, with the same answer, before anything is compiled.
        distances = pairwise_tiled_l2(image[None], np.stack(others), grid=GRID, backend="reference")
        if distances.min() >= MIN_APART:
            return image
    raise ConfigError(f"no background puts {name!r} {MIN_APART} apart from the other images")


def _centred(rgba: NDArray[np.uint8], background: tuple[int, int, int]) -> NDArray[np.uint8]:
    margin = (SIZE - rgba.shape[0]) // 2
    return compose(rgba, background, margin, margin, SIZE)


def _stickers(emoji: Sequence[NDArray[np.uint8]], background: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Put four tiny emoji into the four tiles in the middle, one each."""
    image = np.empty((SIZE, SIZE, 3), np.uint8)
    image[:] = background
    for i, rgba in enumerate(emoji):
        top, left = _TILE * (1 + i // 2), _TILE * (1 + i % 2)
        cell = compose(resize_art(rgba, _STICKER), background, 0, 0, _TILE)
        image[top : top + _TILE, left : left + _TILE] = cell
    return image


def _background(rng: np.random.Generator) -> tuple[int, int, int]:
    """Return a clear, light colour of any hue, never so dark or grey that an emoji is hard to see."""
    hue, saturation, value = rng.uniform(0, 1), rng.uniform(0.2, 0.75), rng.uniform(0.7, 1)
    red, green, blue = (round(255 * v) for v in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
