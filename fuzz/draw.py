"""Choices that are read from bytes, so that whatever makes bytes makes cases: a seed, a file, libFuzzer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


class Draw:
    """Choices in the order in which they are asked for. Where the bytes end, every further one is the first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def byte(self) -> int:
        """Return the next byte."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def number(self, low: int, high: int) -> int:
        """Return a whole number of [low, high]."""
        span, value = high - low + 1, 0
        for _ in range(((span - 1).bit_length() + 7) // 8):
            value = value << 8 | self.byte()
        return low + value % span

    def choose(self, options: Sequence[T]) -> T:
        """Return one of some options."""
        return options[self.number(0, len(options) - 1)]

    def chance(self, percent: int) -> bool:
        """Return True about that often; False at the end of the bytes."""
        return self.byte() * 100 // 256 >= 100 - percent

    def fraction(self) -> float:
        """Return a number of [0, 1], both among them."""
        return self.number(0, 65535) / 65535

    def rng(self) -> np.random.Generator:
        """Return a generator for what is too much to be read byte by byte, as pixels are."""
        return np.random.default_rng(self.number(0, (1 << 32) - 1))

    def pixels(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Return images (N, ...) of one of many kinds: noise, extremes, near copies, flat ones."""
        kind, rng = self.byte() % 8, self.rng()
        if kind <= 1:
            return rng.integers(0, 256, shape, dtype=np.uint8)
        if kind == 2:  # the largest sums there are
            return (255 * rng.integers(0, 2, shape)).astype(np.uint8)
        if kind == 3:  # many ties
            return rng.integers(0, 1 + self.number(1, 4), shape, dtype=np.uint8)
        if kind == 4:
            return np.full(shape, self.byte(), np.uint8)
        if kind == 5:  # one byte in each image differs
            images = np.full(shape, self.byte(), np.uint8)
            flat = images.reshape(shape[0], -1)
            flat[np.arange(shape[0]), rng.integers(0, flat.shape[1], shape[0])] ^= np.uint8(
                1 + self.byte() % 255
            )
            return images
        base: NDArray[Any] = rng.integers(0, 256, (1 if kind == 6 else 1 + shape[0] // 3, *shape[1:]))
        chosen = base[rng.integers(0, len(base), shape[0])]
        most = self.number(0, 40)
        return np.clip(chosen + rng.integers(-most, most + 1, shape), 0, 255).astype(np.uint8)
