"""Matches whose training image is the one that the generations were made from: it was given, and so not extracted.

An extraction is made without access to the training image (the paper's definition); image-to-image of a training image
has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from memcore.distance import pairwise_tiled_l2
from memcore.images.resize import Resize
from memcore.matching.metric import Criterion, Grid
from memcore.runs.folder import RunFolder
from memcore.runs.rows import MatchRow


def mark_given(
    folder: RunFolder,
    rows: Sequence[MatchRow],
    read_image: Callable[[int], NDArray[np.uint8]],
    *,
    metric: str,
    delta: float,
    grid: Grid,
) -> int:
    """Make matches with a given image no extractions, and return how many were.

    The given image counts as the training image where it is within ``delta`` of it, by the distance that decides
    extractions. What a mask hides from the model is not given, so that such prompts are left as they are.
    """
    if "image" not in folder.conditions:
        return 0
    hides = folder.meta["sampler"]["describe"].get("masks_hide") == "yes"
    marked = 0
    for row in rows:
        condition = folder.condition(int(row["prompt_id"])) if row["extracted"] else None
        if condition is None or condition.image is None or (condition.mask is not None and hides):
            continue
        training = read_image(int(row["training_index"]))
        height, width, channels = map(int, training.shape)
        given = Resize(height, width, "lanczos", "stretch").apply(np.array(condition.image))[..., :channels]
        criterion = Criterion.of(metric, delta, (height, width, channels), grid)
        pair = [np.ascontiguousarray(image[None]) for image in (training, given)]
        ssd = pairwise_tiled_l2(*pair, grid=criterion.cut, output="ssd", channels="last")
        if int(ssd[0, 0]) <= criterion.limit:
            row["extracted"] = False
            marked += 1
    return marked
