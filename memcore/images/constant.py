"""Recognise images without content, which are not compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore import arrays


def flag_constant(images: Any) -> NDArray[np.bool_]:
    """Return which images have equal pixels throughout: (N, H, W, C) uint8, NumPy or torch, to (N,) bool.

    A safety checker answers with black frames; 500 of them would be a perfect clique of no meaning. Exact: one pixel that
    is one level off makes an image that is compared. The answer is a NumPy array,
    wherever the images are.

    >>> import numpy as np
    >>> flag_constant(np.zeros((2, 4, 4, 3), dtype=np.uint8))
    array([ True,  True])
    """
    if not len(images):
        return np.empty(0, dtype=np.bool_)
    channels = int(images.shape[-1])
    flat = images.reshape(len(images), -1)
    # Almost no image is constant, and three of its pixels show that: only the others are read whole.
    middle = flat.shape[1] // 2 // channels * channels
    first = flat[:, :channels]
    suspects = (first == flat[:, -channels:]).all(1) & (first == flat[:, middle : middle + channels]).all(1)
    flagged = np.array((suspects.cpu().numpy() if arrays.is_torch(suspects) else suspects), dtype=np.bool_)
    for i in np.nonzero(flagged)[0].tolist():
        flagged[i] = bool(
            (flat[i, channels:] == flat[i, :-channels]).all()
        )  # each pixel equals the one before
    return flagged
