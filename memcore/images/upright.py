"""Make what a decoder gives plain RGB, the right way up."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from memcore.images.reasons import UnreadableImage

Background: TypeAlias = tuple[int, int, int]
Pixels: TypeAlias = NDArray[np.uint8]


def flatten(pixels: Pixels, background: Background | None) -> Pixels:
    """Remove the alpha channel: transparent pixels are composited onto the declared background, or refused."""
    if pixels.shape[2] == 3:
        return pixels
    alpha = pixels[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(pixels[..., :3])
    if background is None:
        raise UnreadableImage(
            "alpha",
            "transparent pixels, whose background is unknown: flatten the image first, or declare a background",
        )
    a = alpha.astype(np.uint32)
    under = np.array(background, dtype=np.uint32)
    return ((pixels[..., :3] * a + under * (255 - a) + 127) // 255).astype(np.uint8)


def turn(pixels: Pixels, orientation: int) -> Pixels:
    """Turn the image the way that EXIF orientation 1 to 8 says."""
    if orientation == 1:
        return pixels
    if orientation > 4:
        pixels = pixels.transpose(1, 0, 2)
    down, right = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}.get(
        orientation, (1, 1)
    )
    return np.ascontiguousarray(pixels[::down, ::right])
