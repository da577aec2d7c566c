"""What the kernels on image tiles share: how they read a block of bytes, and the norms of tiles.

A block is BLOCK_K bytes of one tile in each of some images. It comes by pointers, a line's bytes after the other's, or by
the descriptor of a tensor (batch, image, plane, row, byte of the row), of which the copy engine of sm_90 and later (TMA)
fetches a block at once: one thread asks, no other computes an address. ``plan`` says which.
"""

# Triton kernels have no static types: the launcher below has.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from memcore_kernels.memory_layout import Layout

#: Images to a program of the norms, and its warps.
NORM_ROWS = 16
NORM_WARPS = 4


@triton.jit
def flip(raw, PACKED_XOR: tl.constexpr):
    """Turn uint8 into int8, minus 128. Packed: four bytes an instruction; Triton alone flips them one by one."""
    if PACKED_XOR:
        flipped = tl.inline_asm_elementwise(
            "xor.b32 $0, $1, 0x80808080;", "=r,r", [raw], dtype=tl.int8, is_pure=True, pack=4
        )
    else:
        flipped = (raw ^ 0x80).to(tl.int8, bitcast=True)
    return flipped


@triton.jit
def tile_offset(t, tiles_x, row_stride, ROWS: tl.constexpr, LINE: tl.constexpr, ALIGN: tl.constexpr):
    """Return the bytes from an image's first to that of tile t; tiles count along rows."""
    return tl.cast(t // tiles_x, tl.int64) * (ROWS * ALIGN) * row_stride + (t % tiles_x) * LINE


@triton.jit
def load_block(
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
    """Load bytes first .. first + BLOCK_K - 1 of a tile that starts at ``rows`` in each image; past K: 0."""
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
def read_block(
    x,
    tile,
    batch,
    image,
    tile_row,
    tile_column,
    first,
    plane_stride,
    row_stride,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    LINE: tl.constexpr,
    ALIGN: tl.constexpr,
    BLOCK_I: tl.constexpr,
    BLOCK_K: tl.constexpr,
    MASKED: tl.constexpr,
    TMA: tl.constexpr,
):
    """Load (BLOCK_I, BLOCK_K) uint8: bytes first .. first + BLOCK_K - 1 of a tile in BLOCK_I images; past K: 0.

    TMA: ``x`` is the descriptor of (batch, image, plane, row, byte of the row), the tile begins at ``tile_row`` and
    ``tile_column``, and BLOCK_K divides LINE. A line past K is one of a plane that there is not, which the copy engine fills
    with zeros, as it does images past the last. Otherwise ``tile`` holds the addresses of the tile in each image.
    """
    if TMA:
        line = first // LINE
        block = x.load([batch, image, line // ROWS, tile_row + line % ROWS, tile_column + first % LINE])
        raw = tl.reshape(block, (BLOCK_I, BLOCK_K))
    else:
        raw = load_block(tile, first, plane_stride, row_stride, K, ROWS, LINE, ALIGN, BLOCK_K, MASKED)
    return raw


@triton.jit
def tile_ssd(
    a,
    b,
    a_rows,
    b_rows,
    a_norms,
    b_norms,
    norm_step_a,
    norm_step_b,
    t,
    tiles_x,
    batch,
    a_image,
    b_image,
    a_plane_stride,
    a_row_stride,
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
    GRAM: tl.constexpr,
    SATURATED: tl.constexpr,
    TMA: tl.constexpr,
    PACKED_XOR: tl.constexpr,
):
    """Return (BLOCK_M, BLOCK_N) ssd of tile t, uint32 (one segment) or int64; ``a_rows``: addresses of the images (rows, 1).

    GRAM: b is a, block and all, and the norms are the diagonal of the products. SATURATED: uint32 also for several segments,
    2^32 - 1 for all that is larger.
    """
    MASKED: tl.constexpr = SEGMENT * SEGMENTS != K
    tile_row = t // tiles_x * ROWS
    tile_column = t % tiles_x * LINE
    a_tile = a_rows
    b_tile = b_rows
    if not TMA:
        a_tile = a_rows + tile_offset(t, tiles_x, a_row_stride, ROWS, LINE, ALIGN)
        b_tile = b_rows + tile_offset(t, tiles_x, b_row_stride, ROWS, LINE, ALIGN)
    ssd = tl.zeros((BLOCK_M, BLOCK_N), tl.uint32 if SEGMENTS == 1 or SATURATED else tl.int64)
    for segment in range(SEGMENTS):
        dot = tl.zeros((BLOCK_M, BLOCK_N), tl.int32)
        for step in tl.range(0, SEGMENT, BLOCK_K, num_stages=STAGES):
            first = segment * SEGMENT + step
            x = flip(
                read_block(
                    a,
                    a_tile,
                    batch,
                    a_image,
                    tile_row,
                    tile_column,
                    first,
                    a_plane_stride,
                    a_row_stride,
                    K,
                    ROWS,
                    LINE,
                    ALIGN,
                    BLOCK_M,
                    BLOCK_K,
                    MASKED,
                    TMA,
                ),
                PACKED_XOR,
            )
            if GRAM:
                y = x
            else:
                y = flip(
                    read_block(
                        b,
                        b_tile,
                        batch,
                        b_image,
                        tile_row,
                        tile_column,
                        first,
                        b_plane_stride,
                        b_row_stride,
                        K,
                        ROWS,
                        LINE,
                        ALIGN,
                        BLOCK_N,
                        BLOCK_K,
                        MASKED,
                        TMA,
                    ),
                    PACKED_XOR,
                )
            dot = tl.dot(x, tl.trans(y), dot, out_dtype=tl.int32)
        if GRAM:
            diagonal = tl.arange(0, BLOCK_M)[:, None] == tl.arange(0, BLOCK_N)[None, :]
            own = tl.where(diagonal, dot, 0)
            a_norm = tl.sum(own, 1)
            b_norm = tl.sum(own, 0)
        else:
            part = tl.cast(t * SEGMENTS + segment, tl.int64)
            a_norm = tl.load(a_norms + part * norm_step_a + tl.arange(0, BLOCK_M))
            b_norm = tl.load(b_norms + part * norm_step_b + tl.arange(0, BLOCK_N))
        a_norm = a_norm.to(tl.uint32, bitcast=True)
        b_norm = b_norm.to(tl.uint32, bitcast=True)
        both = a_norm[:, None] + b_norm[None, :] - 2 * dot.to(tl.uint32, bitcast=True)
        if SATURATED:
            total = ssd + both
            ssd = tl.where(total < both, 0xFFFFFFFF, total)
        else:
            ssd += both.to(ssd.dtype)
    return ssd


@triton.jit
def tile_norms_kernel(
    x_ptr,
    norm_ptr,
    n,
    tiles,
    tiles_x,
    norm_stride,
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
    """Write norm[b, t, s, i] = sum of (x_i - 128)^2 over segment s of tile t, int32; bytes past its end are 0.

    One program: BLOCK_N images x one segment of one tile. Each image byte is read once; 4 bytes are written
    an image and segment. ``norm_stride``: entries from one segment's norms to the next one's, at least n. Norms of
    neighbouring images are neighbours, so that the kernels that use them need one address for many. Bounds on the sums:
    ``tiled_l2``.
    """
    pid = tl.program_id(0)
    blocks = tl.cdiv(n, BLOCK_N)
    segment = pid % SEGMENTS
    t = pid // SEGMENTS % tiles
    block = pid // SEGMENTS // tiles % blocks
    batch = (pid // SEGMENTS // tiles // blocks).to(tl.int64)

    image = block * BLOCK_N + tl.arange(0, BLOCK_N)
    image_safe = tl.where(image < n, image, 0).to(tl.int64)
    start = x_ptr + batch * batch_stride * ALIGN + tile_offset(t, tiles_x, row_stride, ROWS, LINE, ALIGN)
    rows = start + image_safe[:, None] * image_stride * ALIGN
    squares = tl.zeros((BLOCK_N, BLOCK_K), tl.int32)
    for step in range(0, SEGMENT, BLOCK_K):
        first = segment * SEGMENT + step
        raw = load_block(
            rows, first, plane_stride, row_stride, K, ROWS, LINE, ALIGN, BLOCK_K, SEGMENT * SEGMENTS != K
        )
        shifted = raw.to(tl.int32) - 128
        squares += shifted * shifted
    norms = norm_ptr + ((batch * tiles + t) * SEGMENTS + segment) * norm_stride + image
    tl.store(norms, tl.sum(squares, 1), mask=image < n)


#: True where TRITON_INTERPRET=1 was set when this module was imported: the kernels then run on the CPU.
INTERPRETED = not isinstance(tile_norms_kernel, triton.JITFunction)
#: Inline assembler is PTX: neither the interpreter nor ROCm takes it.
PACKED_XOR = not INTERPRETED and torch.version.hip is None


def tile_norms(
    images: torch.Tensor,
    programs: int,
    norms: torch.Tensor,
    arguments: dict[str, int],
    constants: dict[str, int],
) -> None:
    """Fill ``norms`` (..., segments, norm_stride) int32: the launch of ``tile_norms_kernel``."""
    tile_norms_kernel[(programs,)](
        images, norms, norm_stride=norms.shape[-1], **arguments, **constants, num_warps=NORM_WARPS
    )


def descriptor(images: torch.Tensor, layout: Layout, block_i: int, block_k: int) -> Any:
    """Return a descriptor of ``images``, from their first byte, in blocks of ``block_i`` images and ``block_k`` bytes.

    It is made on the host and handed to the kernel by value, as a number is: nothing is allocated on the device, and a CUDA
    graph that captures the launch keeps it.
    """
    # Here, so that a Triton without descriptors serves devices that have no use for them.
    from triton.tools.tensor_descriptor import TensorDescriptor

    return TensorDescriptor(images, [*layout.shape], [*layout.strides], [1, block_i, 1, 1, block_k])
