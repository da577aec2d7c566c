"""WebP, BMP, GIF and TIFF, and the rarer kinds of PNG, through Pillow."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memcore.errors import MissingExtraError
from memcore.images.reasons import UnreadableImage

if TYPE_CHECKING:
    from PIL.Image import Image

#: What Pillow may try. Its other plugins are left out: one of them starts another program, others are seldom tested.
FORMATS = ("PNG", "WEBP", "BMP", "GIF", "TIFF")
_EXACT = ("1", "L", "P", "RGB")
_WITH_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_BITS_PER_SAMPLE = 258
_WIDTH, _HEIGHT, _ORIENTATION = 256, 257, 0x0112


def pillow() -> Any:
    """Return PIL.Image; MissingExtraError without pillow."""
    try:
        import PIL.Image
    except ImportError:
        raise MissingExtraError("pillow", "audit", "Reading images") from None
    return PIL.Image


def version() -> str:
    """Return the decoder and its version."""
    return f"pillow {installed('pillow')}"


@functools.cache
def installed(package: str) -> str:
    """Return a package's version, looked up once: it takes longer than decoding many an image."""
    import importlib.metadata

    return importlib.metadata.version(package)


def probe(data: bytes) -> tuple[int, int, int, Callable[[NDArray[np.uint8] | None], NDArray[np.uint8]]]:
    """Return height, width, orientation, and what decodes. Raises UnreadableImage for what must not be decoded."""
    pil = pillow()
    try:
        image = pil.open(io.BytesIO(data), formats=FORMATS)
    except (pil.DecompressionBombError, pil.DecompressionBombWarning) as error:
        raise UnreadableImage("too-large", str(error)) from None
    if _has_more_frames(image):
        raise UnreadableImage("animated", "more than one frame or page")
    _check_depth(image)
    width, height = image.size
    if image.format == "TIFF":  # Pillow rotates these by itself, and some releases swap their size
        width, height = int(image.tag_v2[_WIDTH]), int(image.tag_v2[_HEIGHT])
    # A PNG's own orientation is read by png.probe; asking Pillow for it would decode the image
    orientation = 1 if image.format == "PNG" else find_orientation(image.getexif())
    if image.format == "TIFF":
        turned = orientation > 4
        return (width if turned else height), (height if turned else width), 1, lambda out: rgb(image)
    return height, width, orientation, lambda out: rgb(image)


def _has_more_frames(image: Any) -> bool:
    """Tell whether a second frame follows, without going through all: there may be a million."""
    if image.format == "TIFF":
        return bool(image.tag_v2.next)
    return bool(getattr(image, "is_animated", False))


def rgb(image: Image) -> NDArray[np.uint8]:
    """Return the pixels, (H, W, 3), or (H, W, 4) where the image has transparency."""
    image.load()
    if image.format == "TIFF" and find_orientation(image.getexif()) != 1:
        image = _transposed(image)
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        return np.asarray(image.convert("RGBA"))
    if image.mode not in _EXACT:
        raise UnreadableImage("colour", f"colour space {image.mode}: convert the image to RGB first")
    return np.asarray(image.convert("RGB"))


def _transposed(image: Image) -> Image:
    """Turn the image as its orientation says; newer releases of Pillow have done so while loading."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def find_orientation(exif: Any) -> int:
    """Return EXIF's orientation, 1 to 8; 1 where it is absent or foreign."""
    value = exif.get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def parse_orientation(block: bytes) -> int:
    """Return the orientation in an EXIF block; 1 if the block is damaged, as in every viewer."""
    exif = pillow().Exif()
    try:
        exif.load(block)
        return find_orientation(exif)
    except Exception:  # Pillow's parser raises what struct and its own code raise
        return 1


def _check_depth(image: Image) -> None:
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,))
    if image.mode.startswith(("I", "F")) or max(bits) > 8:
        raise UnreadableImage("depth", f"mode {image.mode}, {max(bits)} bits a channel: more than 8")
