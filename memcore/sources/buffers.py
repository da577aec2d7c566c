"""The memory that stored images are read into, which all prompts share, and how many images are read at a time."""

from __future__ import annotations

import numpy as np

from memcore.sources.chunks import Pixels, pages
from memcore.sources.npy_file import Shape

#: Bytes of images that are read before they are looked at: they are then still in the cache.
CHUNK_BYTES = 8 << 20
#: Bytes of images that are read at a time if they are not kept: few enough for the next ones to overwrite them in the cache.
WINDOW_BYTES = 4 << 20
#: Bytes of images that are decoded before they are looked at: with fewer, the overhead of each chunk shows.
DECODED_BYTES = 16 << 20
#: Bytes that are read between two reports of progress: about 50 ms. Memory for one image is allocated and freed each time.
FEED_BYTES = 256 << 20
#: Memory for images that are read again; most prompts need no more.
AGAIN_BYTES = 64 << 20
#: Offset from a page's beginning of the memory that images are decoded into: see ``pages``.
_BEHIND = 16


class Buffers:
    """Memory for images (H, W, C) of one shape, which only grows.

    ``decoded_together`` says that several threads decode into it.
    """

    def __init__(self, image_shape: Shape, *, decoded_together: bool) -> None:
        self._shape = image_shape
        self._image_bytes = int(np.prod(image_shape))
        self._behind = _BEHIND if decoded_together else 0
        self._whole = pages((0, *image_shape))
        self._window = self._whole
        #: The buffer of a single thread: an image decoded into it stays in the cache until it is compared and copied.
        self.slot = pages((1, *image_shape), behind=_BEHIND)[0]

    def whole(self, count: int) -> Pixels:
        """Return the buffer (>= count, H, W, C) that every prompt is read into, enlarged if it is too small."""
        if len(self._whole) < count:
            self._whole = pages((0, *self._shape))  # never two at once
            self._whole = pages((count, *self._shape), behind=self._behind)
        return self._whole

    def window(self, count: int) -> Pixels:
        """Return a buffer (>= count, H, W, C) for images that are not kept."""
        if len(self._window) < count:
            self._window = pages((count, *self._shape))
        return self._window

    @property
    def chunk(self) -> int:
        """Return how many images are read at a time."""
        return self.fit(CHUNK_BYTES)

    @property
    def again(self) -> int:
        """Return how many images that are read again the memory is made for."""
        return self.fit(AGAIN_BYTES)

    @property
    def decoded(self) -> int:
        """Return how many images are decoded at a time."""
        return self.fit(DECODED_BYTES)

    @property
    def fed(self) -> int:
        """Return how many images are read between two reports of progress."""
        return self.fit(FEED_BYTES)

    def few(self, threads: int) -> int:
        """Return how many images are read at a time if they are not kept: a few for each thread."""
        return self.fit(WINDOW_BYTES) * threads

    def fit(self, most_bytes: int) -> int:
        """Return how many images fit into ``most_bytes``, one at least."""
        return max(1, most_bytes // self._image_bytes)
