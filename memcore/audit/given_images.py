"""Generations that are near the image that they were made from: what was given says nothing of the training set.

A generation within the run's threshold of its given image, by the distance of the edges, is counted and not compared, as
a blanked one is. So every clique is of images that are farther from the given one than its members may be from each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore import arrays
from memcore.conditions import Condition
from memcore.distance import pairwise_tiled_l2
from memcore.images.resize import Resize
from memcore.runs.config import Config
from memcore.sampling.batches import RequestBatch
from memcore.types import Threshold

#: The reason of the note that says how many of a prompt's generations are near its given image.
REASON = "given-image"


def shown_image(condition: Condition | None, *, masks_hide: bool) -> NDArray[np.uint8] | None:
    """Return the image of which the model has seen all; None where there is none, or a mask has covered a part of it."""
    if condition is None or condition.image is None or (condition.mask is not None and masks_hide):
        return None
    return condition.image


def distances_to(image: NDArray[np.uint8], pixels: Any, grid: tuple[int, int]) -> NDArray[np.float32]:
    """Return (N,) tiled l2 in [0, 1] between generations (N, H, W, C) and a given image, resized if it has another size."""
    return np.asarray(_on_host(pairwise_tiled_l2(pixels, _like(image, pixels), grid=grid, channels="last")))[
        :, 0
    ]


def find_near(
    batch: RequestBatch, pixels: Any, config: Config, *, masks_hide: bool
) -> NDArray[np.bool_] | None:
    """Return (N,) which of a batch's images (N, H, W, C) are within the threshold of the image that they were made from.

    None where no request has an image that the model sees whole. Exact, as the edges are.
    """
    near, start, found = np.zeros(len(batch), np.bool_), 0, False
    _, height, width, channels = map(int, pixels.shape)
    limit = Threshold(config.threshold).ssd_max(
        (height // config.grid[0]) * (width // config.grid[1]) * channels
    )
    for run in batch.runs:
        rows = slice(start, start + len(run.seeds))
        start = rows.stop
        image = shown_image(run.condition, masks_hide=masks_hide)
        if image is None:
            continue
        found = True
        own = pixels[rows]
        ssd = pairwise_tiled_l2(own, _like(image, own), grid=config.grid, output="ssd", channels="last")
        near[rows] = np.asarray(_on_host(ssd))[:, 0] <= limit
    return near if found else None


def _like(image: NDArray[np.uint8], pixels: Any) -> Any:
    """Return the given image as (1, H, W, C), of the size and where the generations are."""
    height, width, channels = (int(side) for side in pixels.shape[1:])
    if image.shape[:2] != (height, width):
        image = Resize(height, width, "lanczos", "stretch").apply(np.ascontiguousarray(image))
    if channels == 1:  # a picture without colours has the same value three times
        image = image[..., :1]
    one = np.array(image[None])
    if not arrays.is_torch(pixels):
        return one
    import torch

    return torch.from_numpy(one).to(pixels.device)


def _on_host(values: Any) -> Any:
    return values.cpu() if hasattr(values, "cpu") else values
