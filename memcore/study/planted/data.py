"""What the planted models are trained on: a part of the demo's training set, at the sizes of their stages."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from memcore.study.captions import Kind
from memcore.study.dataset import SIZE, TrainingSet, build_training_set
from memcore.study.emoji import load_art

#: Images with many copies, images that are there once, and captions with many different images or many near-duplicates.
KINDS: tuple[Kind, ...] = ("dup200", "once", "generic", "variations")
#: Pixels of a side of the first stage's images.
SMALL = 16


def planted_set() -> TrainingSet:
    """Return the images and labels of ``KINDS`` from the demo's training set, in its order."""
    whole = build_training_set(load_art())
    kept = [i for i, item in enumerate(whole.items) if item.kind in KINDS]
    return TrainingSet(whole.images[kept], tuple(whole.items[i] for i in kept))


def shrink(images: NDArray[np.uint8], side: int = SMALL) -> NDArray[np.uint8]:
    """Return images (N, H, W, 3) uint8 at side x side, each pixel the mean of those that it covers."""
    pictures = [Image.fromarray(image).resize((side, side), Image.Resampling.BOX) for image in images]
    return np.stack([np.asarray(picture) for picture in pictures])


def to_model(images: NDArray[np.uint8]) -> torch.Tensor:
    """Convert (N, H, W, 3) uint8 to (N, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 127.5 - 1


class Entries:
    """Take entries of a training set in a new random order each epoch, so that all copies are seen equally often."""

    def __init__(self, training: TrainingSet, random: torch.Generator) -> None:
        self._entries = torch.from_numpy(training.entries())
        self._random = random
        self._queue = torch.empty(0, dtype=torch.int64)

    def take(self, count: int) -> torch.Tensor:
        """Return the indices of the next ``count`` images, (count,) int64."""
        while len(self._queue) < count:
            order = torch.randperm(len(self._entries), generator=self._random)
            self._queue = torch.cat([self._queue, self._entries[order]])
        taken, self._queue = self._queue[:count], self._queue[count:]
        return taken


def crop(
    small: torch.Tensor, large: torch.Tensor, side: int, random: torch.Generator
) -> tuple[torch.Tensor, ...]:
    """Return one window of ``side`` pixels of each of two stacks of the same size, at the same place."""
    span = SIZE - side + 1
    top, left = (int(v) for v in torch.randint(span, (2,), generator=random))
    return tuple(t[:, :, top : top + side, left : left + side] for t in (small, large))


def enlarge(small: torch.Tensor, side: int = SIZE) -> torch.Tensor:
    """Return small images (N, 3, h, w) at side x side as DeepFloyd IF's second stage enlarges them."""
    return F.interpolate(small, (side, side), mode="bilinear", align_corners=True)
