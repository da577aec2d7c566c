"""Dense tiled l2 on a GPU: for every pair of images the largest tile's sum of squared differences (ssd).

    out[b, i, j] = max over tiles t of  sum over the K bytes of t of (x_i - x_j)^2
                 = max over t of  |x_i - 128|^2 + |x_j - 128|^2 - 2 (x_i - 128) . (x_j - 128)

A byte minus 128 is its top bit flipped and read as int8: differences stay as they are, and the product runs
on the int8 matrix units. Images are read where they stand (``raster``), a tile in segments of S bytes, S a
multiple of BLOCK_K.

Overflow bounds (S <= 66,176, of which at most 66,051 are image bytes), so that every answer is exact:
    norms, products         <= S * 128^2 = 1,084,227,584          fit int32 (sm_80 saturates: never reached)
    ssd of a segment        <= 66,051 * 255^2 = 4,294,966,275     fits uint32; its terms add up modulo 2^32
    sum over the segments   int64, only where there are several   (K > 66,051, as in tiles of 256 x 256 x 3)

Bytes past the end of a tile are read as 0 in both images: their difference is 0, so norms and product cancel.
(Reading 0x80, whose flip adds 0 to each term, would cost a select for each byte; the zero fill comes with the
asynchronous copy.)

Bytes moved, N images of D bytes: the norms read N * D from memory. The pairs read about N * D * (N / BLOCK_M
+ N / BLOCK_N) / 2 through the L2 cache, and at least N * D from memory. The upper triangle is written, 4
bytes a pair (8 where there are several segments).
"""

# Triton kernels have no static types: the launcher below has.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import contextlib

import torch
import triton
import triton.language as tl

from memcore_kernels.plan import NORM_WARPS, Channels, Launch, plan


@triton.jit
def _flip(raw, PACKED_XOR: tl.constexpr):
    """uint8 -> int8, minus 128. Packed: four bytes an instruction; Triton alone flips them one by one."""
    if PACKED_XOR:
        flipped = tl.inline_asm_elementwise(
            "xor.b32 $0, $1, 0x80808080;", "=r,r", [raw], dtype=tl.int8, is_pure=True, pack=4
        )
    else:
        flipped = (raw ^ 0x80).to(tl.int8, bitcast=True)
    return flipped


@triton.jit
def _tile_offset(t, tiles_x, row_stride, ROWS: tl.constexpr, LINE: tl.constexpr, ALIGN: tl.constexpr):
    """Bytes from an image's first to that of tile t; tiles count along rows."""
    return (t // tiles_x).to(tl.int64) * (ROWS * ALIGN) * row_stride + (t % tiles_x) * LINE


@triton.jit
def _load_block(
    rows,
    first,
    plane_stride,
    row_stride,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    LINE: tl.constexpr,
    ALIGN: tl.constexpr,
    BLOCK_K: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Bytes first .. first + BLOCK_K - 1 of a tile that starts at ``rows`` in each image; past K: 0."""
    k = first + tl.arange(0, BLOCK_K)
    if LINE % BLOCK_K == 0:  # a block lies within one line: one division for all its bytes
        line = first // LINE
        column = first // BLOCK_K % (LINE // BLOCK_K) * BLOCK_K + tl.arange(0, BLOCK_K)
    else:
        line = k // LINE
        column = k % LINE
    plane = (line // ROWS).to(tl.int64)
    row = (line % ROWS).to(tl.int64)
    pointers = rows + ((plane * plane_stride + row * row_stride) * ALIGN + column)[None, :]
    if MASKED:
        raw = tl.load(pointers, mask=(k < K)[None, :], other=0)
    else:
        raw = tl.load(pointers)
    return raw


@triton.jit
def _triangle(index, blocks):
    """(row, column) of the index-th block on or above the diagonal of blocks x blocks, by integers alone.

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
def tile_norms_kernel(
    x_ptr,
    norm_ptr,
    n,
    tiles,
    tiles_x,
    batch_stride,
    image_stride,
    plane_stride,
    row_stride,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    LINE: tl.constexpr,
    ALIGN: tl.constexpr,
    SEGMENT: tl.constexpr,
    SEGMENTS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """norm[b, i, t, s] = sum of (x_i - 128)^2 over segment s of tile t, int32; bytes past its end are 0.

    One program: BLOCK_N images x one segment of one tile. Each image byte is read once; 4 bytes are written
    an image and segment. Bounds: the module's docstring.
    """
    pid = tl.program_id(0)
    blocks = tl.cdiv(n, BLOCK_N)
    segment = pid % SEGMENTS
    t = pid // SEGMENTS % tiles
    block = pid // SEGMENTS // tiles % blocks
    batch = (pid // SEGMENTS // tiles // blocks).to(tl.int64)

    image = block * BLOCK_N + tl.arange(0, BLOCK_N)
    image_safe = tl.where(image < n, image, 0).to(tl.int64)
    start = x_ptr + batch * batch_stride * ALIGN + _tile_offset(t, tiles_x, row_stride, ROWS, LINE, ALIGN)
    rows = start + image_safe[:, None] * image_stride * ALIGN
    squares = tl.zeros((BLOCK_N, BLOCK_K), tl.int32)
    for step in range(0, SEGMENT, BLOCK_K):
        first = segment * SEGMENT + step
        raw = _load_block(
            rows, first, plane_stride, row_stride, K, ROWS, LINE, ALIGN, BLOCK_K, SEGMENT * SEGMENTS != K
        )
        shifted = raw.to(tl.int32) - 128
        squares += shifted * shifted
    norms = norm_ptr + ((batch * n + image) * tiles + t) * SEGMENTS + segment
    tl.store(norms, tl.sum(squares, 1), mask=image < n)


@triton.jit
def tiled_l2_kernel(
    a_ptr,
    b_ptr,
    a_norm_ptr,
    b_norm_ptr,
    out_ptr,
    n,
    m,
    tiles,
    tiles_x,
    tiles_per_program,
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
    PACKED_XOR: tl.constexpr,
):
    """out[b, i, j] = max(out[b, i, j], max over tiles of the ssd of a[b, i] and b[b, j]); out starts at 0.

    One program: BLOCK_M x BLOCK_N pairs of one prompt x ``tiles_per_program`` tiles. A step copies (BLOCK_M +
    BLOCK_N) * BLOCK_K bytes and does BLOCK_M * BLOCK_N * BLOCK_K multiply-adds. Programs that share a pair,
    each with its own tiles, join by an atomic maximum: exact, so their order does not matter. SYMMETRIC: b is
    a, and only squares of BLOCK_M x BLOCK_M pairs on or above the diagonal are computed. out is uint32 (one
    segment) or int64. Formula and bounds: the module's docstring.
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
    else:
        block_pairs = m_blocks * n_blocks
        block_row = pid % block_pairs // n_blocks
        block_column = pid % n_blocks
    group = pid // block_pairs % groups
    batch = (pid // block_pairs // groups).to(tl.int64)

    i = block_row * BLOCK_M + tl.arange(0, BLOCK_M)
    j = block_column * BLOCK_N + tl.arange(0, BLOCK_N)
    # Rows past the end read image 0 and are not stored: cheaper than a mask in the inner loop.
    i_safe = tl.where(i < n, i, 0).to(tl.int64)
    j_safe = tl.where(j < m, j, 0).to(tl.int64)
    a_rows = a_ptr + batch * a_batch_stride * ALIGN + i_safe[:, None] * a_image_stride * ALIGN
    b_rows = b_ptr + batch * b_batch_stride * ALIGN + j_safe[:, None] * b_image_stride * ALIGN
    a_norms = a_norm_ptr + (batch * n + i_safe) * tiles * SEGMENTS
    b_norms = b_norm_ptr + (batch * m + j_safe) * tiles * SEGMENTS

    MASKED: tl.constexpr = SEGMENT * SEGMENTS != K
    SSD: tl.constexpr = tl.uint32 if SEGMENTS == 1 else tl.int64
    largest = tl.zeros((BLOCK_M, BLOCK_N), SSD)
    for t in range(group * tiles_per_program, tl.minimum((group + 1) * tiles_per_program, tiles)):
        a_tile = a_rows + _tile_offset(t, tiles_x, a_row_stride, ROWS, LINE, ALIGN)
        b_tile = b_rows + _tile_offset(t, tiles_x, b_row_stride, ROWS, LINE, ALIGN)
        ssd = tl.zeros((BLOCK_M, BLOCK_N), SSD)
        for segment in range(SEGMENTS):
            dot = tl.zeros((BLOCK_M, BLOCK_N), tl.int32)
            for step in tl.range(0, SEGMENT, BLOCK_K, num_stages=STAGES):
                first = segment * SEGMENT + step
                a = _load_block(
                    a_tile, first, a_plane_stride, a_row_stride, K, ROWS, LINE, ALIGN, BLOCK_K, MASKED
                )
                b = _load_block(
                    b_tile, first, b_plane_stride, b_row_stride, K, ROWS, LINE, ALIGN, BLOCK_K, MASKED
                )
                dot = tl.dot(_flip(a, PACKED_XOR), tl.trans(_flip(b, PACKED_XOR)), dot, out_dtype=tl.int32)
            a_norm = tl.load(a_norms + t * SEGMENTS + segment).to(tl.uint32, bitcast=True)
            b_norm = tl.load(b_norms + t * SEGMENTS + segment).to(tl.uint32, bitcast=True)
            part = a_norm[:, None] + b_norm[None, :] - 2 * dot.to(tl.uint32, bitcast=True)
            ssd += part.to(SSD)
        largest = tl.maximum(largest, ssd)

    pairs = out_ptr + batch * n * m + (i.to(tl.int64)[:, None] * m + j[None, :])
    tl.atomic_max(pairs, largest, mask=(i < n)[:, None] & (j < m)[None, :], sem="relaxed")


#: True where TRITON_INTERPRET=1 was set when this module was imported: the kernels then run on the CPU.
INTERPRETED = not isinstance(tiled_l2_kernel, triton.JITFunction)
#: Inline assembler is PTX: neither the interpreter nor ROCm takes it.
PACKED_XOR = not INTERPRETED and torch.version.hip is None


def tiled_l2_ssd(
    images: torch.Tensor,
    other: torch.Tensor | None = None,
    *,
    tile: tuple[int, int],
    channels: Channels = "first",
) -> torch.Tensor:
    """The largest tile's ssd of every pair: (N, N), with ``other`` (N, M); of batches (B, N, N), (B, N, M).

    ``images`` uint8 (N, C, H, W) or (B, N, C, H, W), with ``channels="last"`` (N, H, W, C) or (B, N, H, W,
    C). They are read in place, whatever their batch, image, plane and row strides, and copied only where
    pixels are neither interleaved nor in planes, or where the two operands differ in that. ``tile`` (height,
    width) in pixels divides the images. The answer is torch.int64, since torch.uint32 has next to no
    operations. Runs on the current stream of the images' device and does not wait for it.

    Raises TypeError (not uint8) and ValueError (shapes, tile, channels, devices), each naming the argument.
    """
    operands, launch = plan(images, other, tile, channels)
    if not (images.is_cuda or INTERPRETED):
        hint = "TRITON_INTERPRET=1, set before the import, runs CPU tensors"
        raise ValueError(f"images must be on a CUDA device, got {images.device} ({hint})")
    shape = (launch.batch, launch.n, launch.m)
    out = torch.zeros(shape, dtype=torch.int32 if launch.narrow else torch.int64, device=images.device)
    if out.numel():
        with torch.cuda.device(images.device) if images.is_cuda else contextlib.nullcontext():
            _launch(operands, launch, out.view(torch.uint32) if launch.narrow else out)
    ssd = out.to(torch.int64).bitwise_and_(2**32 - 1) if launch.narrow else out
    if launch.symmetric:
        ssd = torch.maximum(ssd, ssd.mT)  # what lies under the diagonal is 0 or the same
    return ssd if images.dim() == 5 else ssd[0]


def _launch(operands: list[torch.Tensor], launch: Launch, out: torch.Tensor) -> None:
    """Both kernels; ``out`` (B, N, M), uint32 or int64, is zeros and takes the answer's upper triangle."""
    norms = [_tile_norms(images, launch, operand) for operand, images in enumerate(operands)]
    tiled_l2_kernel[(launch.programs,)](
        operands[0],
        operands[-1],
        norms[0],
        norms[-1],
        out,
        **launch.arguments,
        **launch.constants,
        PACKED_XOR=PACKED_XOR,
        num_warps=launch.config.warps,
    )


def _tile_norms(images: torch.Tensor, launch: Launch, operand: int) -> torch.Tensor:
    """(B, N, tiles, segments) int32."""
    batch, n = images.shape[:2]
    constants = launch.norm_constants
    shape = (batch, n, launch.lines.tiles, constants["SEGMENTS"])
    norms = torch.empty(shape, dtype=torch.int32, device=images.device)
    tile_norms_kernel[(launch.norm_programs(operand),)](
        images, norms, **launch.norm_arguments(operand), **constants, num_warps=NORM_WARPS
    )
    return norms
