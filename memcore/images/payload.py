"""A stored image as the pixels that are indexed and compared."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from memcore.images.decode import decode
from memcore.images.reasons import UnreadableImage
from memcore.images.resize import Resize
from memcore.images.upright import Background, Pixels

#: One image: its encoded bytes, or its pixels (H, W, C) uint8.
Content: TypeAlias = "bytes | memoryview | NDArray[np.uint8]"
#: An image, or why there is none.
Payload: TypeAlias = "Content | UnreadableImage"


def decode_payload(
    payload: Payload,
    resize: Resize | None,
    background: Background | None,
    shape: tuple[int, int, int] | None,
) -> Pixels | UnreadableImage:
    """Return the pixels that are indexed and compared: decoded, resized if that was declared, of the shape."""
    try:
        if isinstance(payload, UnreadableImage):
            return payload
        if isinstance(payload, np.ndarray):
            pixels = payload
        else:  # another size is seen in the header, and never decoded
            wanted = shape if resize is None else None
            pixels = decode(payload, shape=wanted, background=background)
        if pixels.dtype != np.uint8 or pixels.ndim != 3:
            return UnreadableImage(
                "unreadable", f"{pixels.dtype} {pixels.shape} where uint8 (H, W, C) is meant"
            )
        if resize is not None:
            pixels = resize.apply(pixels)
    except UnreadableImage as error:
        return error
    if shape is not None and pixels.shape != shape:
        return UnreadableImage("wrong-size", f"{pixels.shape} where {shape} is expected")
    return pixels
