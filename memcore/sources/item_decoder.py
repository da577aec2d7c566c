"""One stored image brought to the shape that all images of a set have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from memcore.images import Background, UnreadableImage, decode
from memcore.images.payload import decode_payload
from memcore.images.resize import Resize
from memcore.sources.base import quarantined
from memcore.sources.chunks import Pixels
from memcore.sources.entries import QuarantineEntry
from memcore.sources.layouts import Item
from memcore.sources.npy_file import Shape


class ItemDecoder:
    """Decodes items of a set to (H, W, C); another size is an error, or with ``resize`` brought to its size."""

    def __init__(self, image_shape: Shape, resize: Resize | None, background: Background | None) -> None:
        self._shape, self._resize, self._background = image_shape, resize, background

    def decode(self, item: Item, slot: Pixels) -> QuarantineEntry | None:
        """Decode an image into ``slot``; return its quarantine entry if it cannot be read."""
        try:
            self.pixels(item, slot, anywhere=False)
        except UnreadableImage as error:
            return quarantined(item.source, error)
        return None

    def decode_again(self, items: list[Item], positions: NDArray[np.int64], out: Pixels) -> None:
        """Decode the images at ``positions`` of a prompt's usable ones into ``out``."""
        for position, slot in zip(positions.tolist(), out, strict=True):
            self.pixels(items[position], slot, anywhere=False)

    def pixels(self, item: Item, slot: Pixels, *, anywhere: bool) -> Pixels:
        """Decode an image into ``slot``, or ``anywhere`` else if that saves a copy. Raises UnreadableImage."""
        content = item.read()
        if self._resize is not None:
            pixels = decode_payload(content, self._resize, self._background, self._shape)
            if isinstance(pixels, UnreadableImage):
                raise pixels
            slot[:] = pixels
            return slot
        if not isinstance(content, np.ndarray):
            return decode(
                content, shape=self._shape, background=self._background, out=slot, anywhere=anywhere
            )
        if content.shape != self._shape:
            raise UnreadableImage("wrong-size", f"{content.shape} where {self._shape} is expected")
        slot[:] = content
        return slot
