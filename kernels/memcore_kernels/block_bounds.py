"""How tiles are cut into blocks, and what the means of blocks rule out.

A tile of K bytes is cut into G blocks of m bytes, some lines high and some bytes of a line wide. ``intake`` writes their
means, rounded down. What they are for: by Cauchy and Schwarz m * sum_g (a_g - b_g)^2 <= ssd for the unrounded means a, b.
Rounding moves each difference by less than 1, so that with the rounded ones

    sqrt(sum_g (mean_a - mean_b)^2) < sqrt(ssd / m) + sqrt(G),

and a pair whose means are further apart than ``mean_limit`` allows has ssd > ssd_max: it is no edge. Integers only, no
margin to argue about.
"""

from __future__ import annotations

import dataclasses
import math

from memcore_kernels import memory_layout

#: Blocks of a tile at most: as many int8 as a step of the matrix unit's inner dimension, twice.
MAX_BLOCKS = 64
#: A row of means is padded with zeros to a multiple of this: the inner dimension of an int8 product.
PADDED_BLOCKS = 32
#: Bytes of a block at least: below, its mean says little and costs as much.
MIN_BLOCK = 16
#: Bytes of a block at most: what a program reads at a time.
MAX_BLOCK = 8192


@dataclasses.dataclass(frozen=True)
class Blocks:
    """The cut of a tile: blocks of ``rows`` lines x ``width`` bytes."""

    rows: int
    width: int
    count: int

    @property
    def size(self) -> int:
        """m, the bytes of a block."""
        return self.rows * self.width

    @property
    def stored(self) -> int:
        """Bytes of means that a tile takes in memory."""
        return -(-self.count // PADDED_BLOCKS) * PADDED_BLOCKS


def choose_blocks(lines: memory_layout.MemoryLayout) -> Blocks | None:
    """Return the smallest blocks, powers of two both ways, of which a tile has at most MAX_BLOCKS; None if there are none.

    By shape alone. Lines that no power of two of a use divides, such as those of 15 bytes, have no blocks: their pairs are
    all decided exactly.

    >>> choose_blocks(memory_layout.MemoryLayout(1, 128, 384, 4, 4, 16, ((0, 0, 0, 384 * 4),)))
    Blocks(rows=8, width=128, count=48)
    """
    width_limit = min(lines.line & -lines.line, 128)
    row_limit = min(lines.rows & -lines.rows, 64)
    choices = [
        Blocks(1 << r, 1 << w, lines.tile_bytes >> (r + w))
        for r in range(row_limit.bit_length())
        for w in range(width_limit.bit_length())
    ]
    fit = [c for c in choices if c.count <= MAX_BLOCKS and MIN_BLOCK <= c.size <= MAX_BLOCK]
    # Of blocks of one size the wider one: longer runs of bytes to read.
    return min(fit, key=lambda c: (c.size, -c.width), default=None)


def mean_limit(ssd_max: int, blocks: Blocks) -> int:
    """Return the largest sum of squared differences of two tiles' means that does not rule out ssd <= ssd_max.

    At least (sqrt(ssd_max / m) + sqrt(G))^2, by integers rounded up.

    >>> mean_limit(0, Blocks(8, 128, 48)), mean_limit(71912448, Blocks(8, 128, 48))
    (63, 73949)
    """
    per_block = ssd_max // blocks.size + 1
    return per_block + blocks.count + math.isqrt(4 * per_block * blocks.count) + 1
