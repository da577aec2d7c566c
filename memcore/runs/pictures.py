"""An image as the PNG that a run keeps of it, and the only kind of picture that is read from a run's folder."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memcore.images import UnreadableImage
from memcore.images.decode import read_image_file
from memcore.images.png import SIGNATURE


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """Return (H, W, C) uint8 as PNG, lossless."""
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(sink, "png", compress_level=1)
    return sink.getvalue()


def read_png_file(path: Path) -> bytes:
    """Return the bytes of a picture in a run's folder.

    The folder may come from somebody else: other formats, for which Pillow may start other programs, are not opened,
    whatever the file is called. Raises UnreadableImage if it is missing, no plain file, too large or no PNG.
    """
    data = read_image_file(path)
    if not data.startswith(SIGNATURE):
        raise UnreadableImage("format", "a run keeps PNGs only")
    return data
