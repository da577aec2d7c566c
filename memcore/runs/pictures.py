"""An image as the PNG that a run keeps of it."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """Return (H, W, C) uint8 as PNG, lossless."""
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(sink, "png", compress_level=1)
    return sink.getvalue()
