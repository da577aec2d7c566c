"""An array of stored generations as images of another size: read, and read again, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from memcore.images import UnreadableImage
from memcore.images.resize import Resize
from memcore.sources.npy_file import StoredArray


class ResizedArray:
    """The images of one prompt in an .npy file, each brought to the size of ``resize``."""

    def __init__(self, array: StoredArray, resize: Resize) -> None:
        self._array, self._resize = array, resize
        self.count = array.count
        self.scattered = array.scattered
        self.image_shape = (resize.height, resize.width, array.image_shape[2])

    def read_into(self, targets: Iterator[NDArray[np.uint8]]) -> Iterator[int | UnreadableImage]:
        """Fill each array of ``targets`` with the next images, as ``StoredArray.read_into`` does."""
        window = target = np.empty(0, np.uint8)

        def windows() -> Iterator[NDArray[np.uint8]]:
            nonlocal window, target
            for target in targets:
                window = np.empty((len(target), *self._array.image_shape), np.uint8)
                yield window

        for got in self._array.read_into(windows()):
            if not isinstance(got, UnreadableImage):
                self._bring(window[:got], target)
            yield got

    def read_again(self, positions: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Fill ``out`` with the images at ``positions``, as ``StoredArray.read_again`` does."""
        window = np.empty((len(positions), *self._array.image_shape), np.uint8)
        self._array.read_again(positions, window)
        self._bring(window, out)

    def _bring(self, images: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        for image, slot in zip(images, out, strict=False):
            slot[:] = self._resize.apply(image)
