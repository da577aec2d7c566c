"""What a sketch proves about a distance. Derivation: docs/numerics.md, "Sketches"; numbers: csrc/sketches/contract.hpp."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore import _core

_UINT32 = 2**32 - 1
#: Of a sketch: half the residual norm, four times.
RESIDUALS = 4


@dataclasses.dataclass(frozen=True)
class Level:
    """One resolution: ``rows`` x ``columns`` blocks a channel over images (height, width, channels)."""

    shape: tuple[int, int, int]
    rows: int
    columns: int

    @classmethod
    def of(cls, shape: tuple[int, int, int], side: int) -> Level:
        """Return a level of ``side`` x ``side`` blocks, or as many as the image has pixels."""
        return cls(shape, min(side, shape[0]), min(side, shape[1]))

    @property
    def pixels(self) -> int:
        """Return m, the pixels of a block."""
        return (self.shape[0] // self.rows) * (self.shape[1] // self.columns)

    @property
    def blocks(self) -> int:
        """Return the blocks of an image, over all channels."""
        return self.rows * self.columns * self.shape[2]

    @property
    def numbers(self) -> int:
        """Return n, the bytes of a sketch."""
        return self.blocks + RESIDUALS

    def sketch(self, images: NDArray[np.uint8], threads: int = 0) -> NDArray[np.uint8]:
        """Return the sketches of images, (N, H, W, C) uint8 to (N, numbers) uint8."""
        return _core.index_sketch(np.ascontiguousarray(images), self.rows, self.columns, threads)

    def limit(self, ssd_max: int) -> int:
        """Return the largest ssd of two sketches whose images may have an ssd of at most ``ssd_max``; at most 2^32 - 1.

        >>> level = Level.of((32, 32, 3), 4)
        >>> level.limit(0)  # identical images have identical sketches; the proof allows for 52 roundings
        52
        """
        return min(_bound(ssd_max, self.pixels, self.numbers), _UINT32)

    def surely_within(
        self,
        left: NDArray[np.uint8],
        right: NDArray[np.uint8],
        ssd: NDArray[np.uint64],
        ssd_max: NDArray[np.float64] | float,
    ) -> NDArray[np.bool_]:
        """Return which pairs of sketches prove that their images have an ssd of at most ``ssd_max``.

        ``left`` and ``right`` are (P, numbers), ``ssd`` is that of the sketches.
                |x - y|^2 <= m (|mu_x - mu_y|^2 + (rho_x + rho_y)^2); the margin of 1e-9 covers every float rounding here.
        """
        a, b = (side[:, -1].astype(np.float64) for side in (left, right))
        means = ssd.astype(np.float64) - RESIDUALS * (a - b) ** 2
        upper = (np.sqrt(means) + math.sqrt(self.blocks)) ** 2 + (2 * a + 1 + 2 * b + 1) ** 2
        known = (a < 255) & (b < 255)  # 255 means 255 or more
        sure: NDArray[np.bool_] = known & (upper * self.pixels * (1 + 1e-9) <= ssd_max)
        return sure

    def tiles(self, grid: tuple[int, int]) -> Tiles | None:
        """Return the bound of each tile of ``grid``; None unless every tile is made of whole blocks."""
        fits = (
            self.rows % grid[0] == 0
            and self.columns % grid[1] == 0
            and self.shape[0] % self.rows == 0
            and self.shape[1] % self.columns == 0
        )
        return Tiles(self, grid) if fits else None


@dataclasses.dataclass(frozen=True)
class Tiles:
    """The block means of each tile, and what they prove about a tiled distance."""

    level: Level
    grid: tuple[int, int]

    def cut(self, sketches: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the means by tile, (N, numbers) to (N, tiles, numbers of a tile)."""
        level, (gr, gc) = self.level, self.grid
        means = sketches[:, : level.blocks].reshape(
            -1, gr, level.rows // gr, gc, level.columns // gc, level.shape[2]
        )
        return np.ascontiguousarray(means.transpose(0, 1, 3, 2, 4, 5)).reshape(len(sketches), gr * gc, -1)

    def limit(self, ssd_max: int) -> int:
        """Return the largest ssd of two tiles' means whose tiles may have an ssd of at most ``ssd_max``."""
        return _bound(ssd_max, self.level.pixels, self.level.blocks // (self.grid[0] * self.grid[1]))


def reaches(limits: NDArray[Any], to_centre: NDArray[Any]) -> NDArray[np.uint32]:
    """Return how far from a centre a row may lie that is within ``limits`` of a point ``to_centre`` from the centre.

    All are ssd below 2^32: floor((sqrt(limit) + sqrt(to_centre))^2) by the triangle inequality, at most 2^32 - 1.

    >>> reaches(np.array([100, 2, 2**32 - 1]), np.array([25, 3, 2**32 - 1])).tolist()
    [225, 9, 4294967295]
    """
    limit, to = np.asarray(limits, np.uint64), np.asarray(to_centre, np.uint64)
    product = limit * to  # below 2^64
    root = np.minimum(np.sqrt(product.astype(np.float64)).astype(np.uint64), np.uint64(_UINT32))
    root -= root * root > product  # the float is off by one at most
    with np.errstate(over="ignore"):
        root += (root < _UINT32) & ((root + np.uint64(1)) ** 2 <= product)
    # floor(2 sqrt(p)) is 2 r, or 2 r + 1 if p >= (r + 1/2)^2, which is p > r^2 + r in integers
    twice = np.uint64(2) * root + (product - root * root > root)
    found: NDArray[np.uint32] = np.minimum(limit + to + twice, np.uint64(_UINT32)).astype(np.uint32)
    return found


def _bound(ssd_max: int, m: int, n: int) -> int:
    """Return floor((sqrt(ssd_max / m) + sqrt(n))^2) in integers: m s <= A + n m + 2 sqrt(A n m) for the largest whole s."""
    a = int(ssd_max)
    return (a + n * m + math.isqrt(4 * a * n * m)) // m
