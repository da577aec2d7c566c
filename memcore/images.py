"""One stored image's bytes, decoded without surprises: every trap has a reason code, nothing is resized or cast silently."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memcore.errors import MissingExtraError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


class UnreadableImage(Exception):
    """A stored image that is not used, with a reason code: unreadable, depth, alpha, wrong-size."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(detail)


def decode(data: bytes) -> NDArray[np.uint8]:
    """(H, W, 3) uint8, or UnreadableImage. Nothing is resized, and nothing is lost silently.

    Grey becomes three equal channels; the orientation that a camera noted is applied. More than 8 bits a channel
    (Pillow would saturate them) and transparency (whose background is unknown) are refused.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise MissingExtraError("pillow", "audit", "Reading images") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image: Image.Image = Image.open(io.BytesIO(data))
            image.load()
    except Exception as error:  # Pillow's plugins raise many kinds, SyntaxError and struct.error among them
        raise UnreadableImage("unreadable", f"{type(error).__name__}: {error}") from None
    if image.mode.startswith(("I", "F")):
        raise UnreadableImage("depth", f"mode {image.mode}: more than 8 bits a channel")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        if alpha.min() < 255:
            raise UnreadableImage(
                "alpha", "transparent pixels, whose background is unknown: flatten the image first"
            )
    return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def decode_file(path: Path) -> NDArray[np.uint8]:
    """``decode`` of a file's bytes; a file that cannot be read is UnreadableImage("unreadable") as well."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableImage("unreadable", f"{type(error).__name__}: {error}") from None
    return decode(data)
