"""Block means and norms of image tiles, in one pass over the images.

A tile of K bytes is cut into G blocks of m bytes, ``BLOCK_ROWS`` lines high and ``BLOCK_BYTES`` of a line wide:

    mean[i, t, g] = floor(sum of the m bytes of block g of tile t of image i / m)                        uint8
    norm[t, i]    = sum over the K bytes of (x - 128)^2, bytes of the padding counted as 0               int32

What the means are for: by Cauchy and Schwarz m * sum_g (a_g - b_g)^2 <= ssd for the unrounded means a, b. Rounding moves
each difference by less than 1, so that with the rounded ones

    sqrt(sum_g (mean_a - mean_b)^2) < sqrt(ssd / m) + sqrt(G),

and a pair whose means are further apart than ``mean_limit`` allows has ssd > ssd_max: it is no edge. Integers only, no
margin to argue about.

Tile sizes: IMAGES images x one tile a program, a block of each at a time, so that IMAGES * m <= 8,192 bytes are in
registers. Registers and shared memory: docs/kernels.md, written by ``memcore_kernels.proof.machine_code``. Bytes: each
image byte is read once, G + 4 bytes a tile are written.
"""

# Triton kernels have no static types: the launcher below has.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import dataclasses
import math

import torch
import triton
import triton.language as tl

from memcore_kernels import memory_layout
from memcore_kernels.tile_blocks import tile_offset

#: Blocks of a tile at most: as many int8 as a step of the matrix unit's inner dimension, twice.
MAX_BLOCKS = 64
#: A row of means is padded with zeros to a multiple of this: the inner dimension of an int8 product.
PADDED_BLOCKS = 32
#: Bytes of a block at least: below, its mean says little and costs as much.
MIN_BLOCK = 16
#: Elements of a program's block of pixels.
PROGRAM_ELEMENTS = 8192
WARPS = 4


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

    @property
    def images(self) -> int:
        """Images to a program."""
        return max(1, min(16, PROGRAM_ELEMENTS // self.size))


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
    fit = [c for c in choices if c.count <= MAX_BLOCKS and MIN_BLOCK <= c.size <= PROGRAM_ELEMENTS]
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


@triton.jit
def block_means_kernel(
    x_ptr,
    mean_ptr,
    norm_ptr,
    position_ptr,
    rows_new,
    tiles,
    tiles_x,
    norm_stride,
    image_stride,
    plane_stride,
    row_stride,
    PLANES: tl.constexpr,
    ROWS: tl.constexpr,
    LINE: tl.constexpr,
    ALIGN: tl.constexpr,
    PAD: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_BYTES: tl.constexpr,
    STORED: tl.constexpr,
    IMAGES: tl.constexpr,
    NORMS: tl.constexpr,
):
    """Write the module's mean and norm of the images that ``position_ptr`` names, one program a tile of IMAGES.

    ``position_ptr`` (rows_new,) int64: which image of x each is, and which row of mean (images, tiles, STORED) and column
    of norm (tiles, norm_stride) it fills. NORMS: False where a tile has several segments: their norms are those of
    ``tile_norms_kernel``. PAD: bytes that the exact kernel reads past the end of a tile.
    """
    pid = tl.program_id(0)
    t = pid % tiles
    row = pid // tiles * IMAGES + tl.arange(0, IMAGES)
    valid = row < rows_new
    image = tl.load(position_ptr + tl.where(valid, row, 0))
    start = x_ptr + tile_offset(t, tiles_x, row_stride, ROWS, LINE, ALIGN)
    images = start + image[:, None, None] * image_stride * ALIGN
    lines = tl.arange(0, BLOCK_ROWS)[None, :, None].to(tl.int64) * row_stride * ALIGN
    columns = tl.arange(0, BLOCK_BYTES)[None, None, :]
    means = mean_ptr + (image * tiles + t) * STORED
    ACROSS: tl.constexpr = LINE // BLOCK_BYTES
    DOWN: tl.constexpr = ROWS // BLOCK_ROWS
    squares = tl.zeros((IMAGES, BLOCK_ROWS, BLOCK_BYTES), tl.int32)
    for block in range(PLANES * DOWN * ACROSS):
        plane = tl.cast(block // (DOWN * ACROSS), tl.int64)
        line = tl.cast(block // ACROSS % DOWN * BLOCK_ROWS, tl.int64)
        offset = (plane * plane_stride + line * row_stride) * ALIGN + block % ACROSS * BLOCK_BYTES
        pixels = tl.load(images + offset + lines + columns).to(tl.int32)
        if NORMS:
            squares += (pixels - 128) * (pixels - 128)
        total = tl.sum(tl.sum(pixels, 2), 1)
        tl.store(means + block, (total // (BLOCK_ROWS * BLOCK_BYTES)).to(tl.uint8), mask=valid)
    if NORMS:
        norm = tl.sum(tl.sum(squares, 2), 1) + PAD * 128 * 128
        tl.store(norm_ptr + t.to(tl.int64) * norm_stride + image, norm, mask=valid)


def constants(lines: memory_layout.MemoryLayout, blocks: Blocks, block_k: int) -> dict[str, int | bool]:
    """Return the compile-time arguments of ``block_means_kernel``, for an exact kernel with steps of ``block_k`` bytes."""
    segment, count = memory_layout.segments(lines.tile_bytes, block_k)
    return {
        "PLANES": lines.planes,
        "ROWS": lines.rows,
        "LINE": lines.line,
        "ALIGN": lines.align,
        "PAD": segment * count - lines.tile_bytes,
        "BLOCK_ROWS": blocks.rows,
        "BLOCK_BYTES": blocks.width,
        "STORED": blocks.stored,
        "IMAGES": blocks.images,
        "NORMS": count == 1,
    }


def block_means(
    images: torch.Tensor,
    positions: torch.Tensor,
    means: torch.Tensor,
    norms: torch.Tensor,
    lines: memory_layout.MemoryLayout,
    blocks: Blocks,
    block_k: int,
) -> None:
    """Fill the rows of ``means`` (R, tiles, stored) and columns of ``norms`` (tiles, 1, >= R) at ``positions`` (M,).

    ``images`` holds R images of the memory layout ``lines``, of whose strides the image's, the plane's and the row's count.
    """
    _, image, plane, row = lines.strides[0]
    programs = -(-len(positions) // blocks.images) * lines.tiles
    block_means_kernel[(programs,)](
        images,
        means,
        norms,
        positions,
        len(positions),
        lines.tiles,
        lines.tiles_x,
        norms.shape[-1],
        image,
        plane,
        row,
        **constants(lines, blocks, block_k),
        num_warps=WARPS,
    )
