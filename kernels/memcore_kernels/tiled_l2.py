"""Dense tiled l2 on a GPU: for every pair of images the largest tile's sum of squared differences (ssd).

    out[b, i, j] = max over tiles t of  sum over the K bytes of t of (x_i - x_j)^2
                 = max over t of  |x_i - 128|^2 + |x_j - 128|^2 - 2 (x_i - 128) . (x_j - 128)

A byte minus 128 is its top bit flipped and read as int8: differences stay as they are, and the product runs
on the int8 matrix units. Images are read in place (``memory_layout``), a tile in segments of S bytes, S a
multiple of BLOCK_K.

Overflow bounds (S <= 66,176, of which at most 66,051 are image bytes), so that every answer is exact:
    norms, products         <= S * 128^2 = 1,084,227,584          fit int32 (sm_80 saturates: never reached)
    ssd of a segment        <= 66,051 * 255^2 = 4,294,966,275     fits uint32; its terms add up modulo 2^32
    sum over the segments   int64, only where there are several   (K > 66,051, as in tiles of 256 x 256 x 3)

Bytes past the end of a tile are read as 0 in both images: their difference is 0, so norms and product cancel.
(Reading 0x80, whose flip adds 0 to each term, would cost a select for each byte; the zero fill comes with the
asynchronous copy.)

Bytes moved, N images of D bytes: the norms read N * D from memory. The pairs read about N * D * (N / BLOCK_M
+ N / BLOCK_N) / 2 through the L2 cache, and at least N * D from memory. N <= 64 images of one set are read
once: one block of rows has all pairs, its Gram matrix has the norms on its diagonal, and both operands of the
product are the same bytes. The upper triangle is written, 4 bytes a pair (8 where there are several segments),
in whole blocks: no store needs a mask, whose 64 conditions a thread has no registers for.
"""

# Triton kernels have no static types: the launcher below has.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import contextlib
from typing import Any

import torch
import triton
import triton.language as tl

from memcore_kernels.plan import Channels, Launch, capability_of, plan
from memcore_kernels.tile_blocks import (
    INTERPRETED,
    PACKED_XOR,
    descriptor,
    tile_norms,
    tile_ssd,
)

#: Bytes of the answer of one set that are mirrored at a time.
PART_BYTES = 64 << 20


@triton.jit
def _triangle(index, blocks):
    """Return (row, column) of the index-th block on or above the diagonal of blocks x blocks, by integers alone.

    The triangle is folded into a rectangle of width blocks | 1: row r, of blocks - r entries, is filled up by
    the row at the other end that has the missing entries.
    """
    width = blocks | 1
    fold = index // width
    position = index % width
    entries = blocks - fold
    row = tl.where(position < entries, fold, 2 * blocks - width - fold)
    column = row + tl.where(position < entries, position, position - entries)
    return row, column


@triton.jit
def tiled_l2_kernel(
    a,
    b,
    a_norm_ptr,
    b_norm_ptr,
    out_ptr,
    n,
    m,
    tiles,
    tiles_x,
    tiles_per_program,
    a_norm_stride,
    b_norm_stride,
    a_batch_stride,
    a_image_stride,
    a_plane_stride,
    a_row_stride,
    b_batch_stride,
    b_image_stride,
    b_plane_stride,
    b_row_stride,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    LINE: tl.constexpr,
    ALIGN: tl.constexpr,
    SEGMENT: tl.constexpr,
    SEGMENTS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr,
    SYMMETRIC: tl.constexpr,
    GRAM: tl.constexpr,
    ONE_TILE: tl.constexpr,
    TMA: tl.constexpr,
    PACKED_XOR: tl.constexpr,
):
    """Write out[b, i, j] = max(out[b, i, j], max over tiles of the ssd of a[b, i] and b[b, j]); out starts at 0.

    One program: BLOCK_M x BLOCK_N pairs of one prompt x ``tiles_per_program`` tiles. A step copies (BLOCK_M +
    BLOCK_N) * BLOCK_K bytes and does BLOCK_M * BLOCK_N * BLOCK_K multiply-adds. Programs that share a pair,
    each with its own tiles, join by an atomic maximum: exact, so their order does not matter. SYMMETRIC: b is
    a, and only squares of BLOCK_M x BLOCK_M pairs on or above the diagonal are computed. GRAM: there is one
    square, and no norms. ONE_TILE: ``tiles_per_program`` is 1. TMA: ``a`` and ``b`` are descriptors, not pointers.
    out is uint32 (one segment) or int64, (B, rows, columns) of whole blocks; what lies past image n or m is
    anything. ``a_norm_stride``, ``b_norm_stride``: entries of the norms from segment to segment, whole blocks as
    well. Formula and bounds: the module's docstring.
    """
    pid = tl.program_id(0)
    m_blocks = tl.cdiv(n, BLOCK_M)
    n_blocks = tl.cdiv(m, BLOCK_N)
    groups = tl.cdiv(tiles, tiles_per_program)
    if SYMMETRIC:
        PARTS: tl.constexpr = BLOCK_M // BLOCK_N
        block_pairs = m_blocks * (m_blocks + 1) // 2 * PARTS
        block_row, square = _triangle(pid % block_pairs // PARTS, m_blocks)
        block_column = square * PARTS + pid % PARTS
        n_blocks = m_blocks * PARTS
    else:
        block_pairs = m_blocks * n_blocks
        block_row = pid % block_pairs // n_blocks
        block_column = pid % n_blocks
    group = pid // block_pairs % groups
    batch = pid // block_pairs // groups

    a_image = block_row * BLOCK_M
    b_image = block_column * BLOCK_N
    batch_wide = batch.to(tl.int64)
    a_rows = a
    b_rows = b
    if not TMA:
        i = a_image + tl.arange(0, BLOCK_M)
        j = b_image + tl.arange(0, BLOCK_N)
        # Rows past the end read image 0: cheaper than a mask in the inner loop.
        i_safe = tl.where(i < n, i, 0).to(tl.int64)
        j_safe = tl.where(j < m, j, 0).to(tl.int64)
        a_rows = a + batch_wide * a_batch_stride * ALIGN + i_safe[:, None] * a_image_stride * ALIGN
        b_rows = b + batch_wide * b_batch_stride * ALIGN + j_safe[:, None] * b_image_stride * ALIGN
    a_norms = a_norm_ptr + (batch_wide * tiles * SEGMENTS * a_norm_stride + a_image)
    b_norms = b_norm_ptr + (batch_wide * tiles * SEGMENTS * b_norm_stride + b_image)

    t = group * tiles_per_program
    largest = tile_ssd(
        a,
        b,
        a_rows,
        b_rows,
        a_norms,
        b_norms,
        a_norm_stride,
        b_norm_stride,
        t,
        tiles_x,
        batch,
        a_image,
        b_image,
        a_plane_stride,
        a_row_stride,
        b_plane_stride,
        b_row_stride,
        K,
        ROWS,
        LINE,
        ALIGN,
        SEGMENT,
        SEGMENTS,
        BLOCK_M,
        BLOCK_N,
        BLOCK_K,
        STAGES,
        GRAM,
        False,
        TMA,
        PACKED_XOR,
    )
    if not ONE_TILE:
        for other in range(t + 1, tl.minimum(t + tiles_per_program, tiles)):
            ssd = tile_ssd(
                a,
                b,
                a_rows,
                b_rows,
                a_norms,
                b_norms,
                a_norm_stride,
                b_norm_stride,
                other,
                tiles_x,
                batch,
                a_image,
                b_image,
                a_plane_stride,
                a_row_stride,
                b_plane_stride,
                b_row_stride,
                K,
                ROWS,
                LINE,
                ALIGN,
                SEGMENT,
                SEGMENTS,
                BLOCK_M,
                BLOCK_N,
                BLOCK_K,
                STAGES,
                GRAM,
                False,
                TMA,
                PACKED_XOR,
            )
            largest = tl.maximum(largest, ssd)

    columns = n_blocks * BLOCK_N
    corner = out_ptr + ((batch_wide * m_blocks * BLOCK_M + a_image) * columns + b_image)
    pairs = (corner + tl.arange(0, BLOCK_M).to(tl.int64) * columns)[:, None] + tl.arange(0, BLOCK_N)[None, :]
    tl.atomic_max(pairs, largest, sem="relaxed")


def tiled_l2_ssd(
    images: torch.Tensor,
    other: torch.Tensor | None = None,
    *,
    tile: tuple[int, int],
    channels: Channels = "first",
) -> torch.Tensor:
    """Return the largest tile's ssd of every pair: (N, N), with ``other`` (N, M); of batches (B, N, N), (B, N, M).

    ``images`` uint8 (N, C, H, W) or (B, N, C, H, W), with ``channels="last"`` (N, H, W, C) or (B, N, H, W,
    C). They are read in place, whatever their batch, image, plane and row strides, and copied only where
    pixels are neither interleaved nor in planes, or where the two operands differ in that. ``tile`` (height,
    width) in pixels divides the images. The answer is torch.int64, since torch.uint32 has next to no
    operations. Runs on the current stream of the images' device and does not wait for it.

    Raises TypeError (not uint8) and ValueError (shapes, tile, channels, devices), each naming the argument.
    """
    operands, launch = plan(images, other, tile, channels, capability_of(images.device))
    if not (images.is_cuda or INTERPRETED):
        hint = "TRITON_INTERPRET=1, set before the import, runs CPU tensors"
        raise ValueError(f"images must be on a CUDA device, got {images.device} ({hint})")
    # Whole blocks, as the kernel writes them; the rest is cut off.
    narrow, n, m = launch.narrow, launch.n, launch.m
    out = torch.zeros(
        launch.batch, *launch.padded, dtype=torch.int32 if narrow else torch.int64, device=images.device
    )
    if launch.batch * n * m:
        with torch.cuda.device(images.device) if images.is_cuda else contextlib.nullcontext():
            _launch(operands, launch, out.view(torch.uint32) if narrow else out)
    ssd = torch.empty(launch.batch, n, m, dtype=torch.int64, device=images.device)
    rows = max(1, PART_BYTES // max(1, ssd.element_size() * launch.batch * m))
    for first in range(0, n, rows):
        part = out[:, first : min(first + rows, n), :m]
        if launch.symmetric:  # what lies under the diagonal is 0 or the same
            part = part | out[:, :m, first : min(first + rows, n)].mT
        ssd[:, first : first + rows] = part
    if narrow:
        ssd.bitwise_and_(2**32 - 1)
    return ssd if images.dim() == 5 else ssd[0]


def _launch(operands: list[torch.Tensor], launch: Launch, out: torch.Tensor) -> None:
    """Launch both kernels; ``out`` (B, rows, columns), uint32 or int64, is zeros and takes the answer's upper triangle."""
    config = launch.config
    norms = _norms(operands, launch)
    inputs: list[Any] = operands
    if config.tma:
        blocks = (config.block_m, config.block_n)
        inputs = [
            descriptor(images, layout, blocks[place], config.block_k)
            for place, (images, layout) in enumerate(
                zip((operands[0], operands[-1]), (launch.layouts[0], launch.layouts[-1]), strict=True)
            )
        ]
    tiled_l2_kernel[(launch.programs,)](
        inputs[0],
        inputs[-1],
        norms[0],
        norms[-1],
        out,
        **launch.arguments,
        **launch.constants,
        PACKED_XOR=PACKED_XOR,
        num_warps=config.warps,
    )


def _norms(operands: list[torch.Tensor], launch: Launch) -> list[torch.Tensor]:
    """Return the norms of each operand (B, tiles, segments, its side of ``out``) int32, zero past its last image."""
    device, constants = operands[0].device, launch.norm_constants
    if launch.config.gram:
        return [torch.empty(1, dtype=torch.int32, device=device)]  # not read
    norms = []
    for operand, images in enumerate(operands):
        shape = (launch.batch, launch.lines.tiles, constants["SEGMENTS"], launch.padded[operand])
        norms.append(torch.zeros(shape, dtype=torch.int32, device=device))
        programs, arguments = launch.norm_programs(operand), launch.norm_arguments(operand)
        tile_norms(images, programs, norms[-1], arguments, constants)
    return norms
