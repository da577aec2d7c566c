"""Dense tiled l2 on a GPU: for every pair of images the largest tile's sum of squared differences (ssd), exact.

    out[b, i, j] = max over tiles t of  sum over the K bytes of t of (x_i - x_j)^2
                 = max over t of  |x_i - 128|^2 + |x_j - 128|^2 - 2 (x_i - 128) . (x_j - 128)

A byte minus 128 is its top bit flipped and read as int8: differences stay as they are and the product runs on the int8
matrix units. Tiles are cut into segments of at most ``MAX_SEGMENT_BYTES`` = 66,051 bytes.

Overflow bounds, for a segment of S <= 66,051 bytes:
    norms and products      <= S * 128^2 = 1.08e9                 fit int32 (limit 2^31: S = 131,071)
    ssd of the segment      <= S * 255^2 <= 4,294,966,275         fits uint32; the three terms are added modulo 2^32, exact
    sum over the segments   int64, only where there are two or more (K > 66,051, for example tiles of 256 x 256 x 3)

Images are read where they stand, by strides. A tile is ``PLANES`` x ``TILE_ROWS`` lines of ``LINE`` contiguous bytes:
pixels interleaved (N, H, W, C): 1 plane, tile_h rows, lines of tile_w * C bytes; channel planes (N, C, H, W): C planes, tile_h
rows, lines of tile_w bytes. ``k // LINE`` and ``k % LINE`` turn the k-th byte of a tile into an address. Where the last block
of a tile is not full, the missing bytes are read as 0x80, which the flip turns into 0: nothing is added.

Bytes moved, N images of D bytes and blocks of M x M pairs: the norms read N * D once; the pairs read (N / M + 1) * N * D
from the caches (upper triangle), of which N * D come from memory while a tile of all images fits the L2 cache.
"""

from __future__ import annotations

import triton
import triton.language as tl

#: Largest S with S * 255^2 < 2^32.
MAX_SEGMENT_BYTES = (2**32 - 1) // 255**2


@triton.jit
def _flip(raw, PACKED_XOR: tl.constexpr):  # type: ignore[no-untyped-def]
    """uint8 -> int8, minus 128. Packed: four bytes an instruction; Triton alone flips them one by one on sm_80."""
    if PACKED_XOR:
        return tl.inline_asm_elementwise(
            "xor.b32 $0, $1, 0x80808080;", "=r,r", [raw], dtype=tl.int8, is_pure=True, pack=4
        )
    else:
        return (raw ^ 0x80).to(tl.int8, bitcast=True)


@triton.jit
def _byte_offsets(  # type: ignore[no-untyped-def]
    first,
    plane_stride,
    row_stride,
    BLOCK_K: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    LINE: tl.constexpr,
    ALIGN: tl.constexpr,
):
    """Distances in bytes from a tile's first byte to its bytes first .. first + BLOCK_K - 1."""
    if LINE % BLOCK_K == 0:  # one line feeds the whole block: the division is done once, not for each byte
        line = first // LINE
        column = first // BLOCK_K % (LINE // BLOCK_K) * BLOCK_K + tl.arange(0, BLOCK_K)
    else:
        k = first + tl.arange(0, BLOCK_K)
        line = k // LINE
        column = k % LINE
    plane = (line // TILE_ROWS).to(tl.int64)
    row = (line % TILE_ROWS).to(tl.int64)
    return (plane * plane_stride + row * row_stride) * ALIGN + column


@triton.jit
def _tile_offset(t, tiles_x, row_stride, TILE_ROWS: tl.constexpr, LINE: tl.constexpr, ALIGN: tl.constexpr):  # type: ignore[no-untyped-def]
    """Distance in bytes from an image's first byte to that of tile t (tiles count along rows)."""
    return (t // tiles_x).to(tl.int64) * (TILE_ROWS * ALIGN) * row_stride + (t % tiles_x) * LINE


@triton.jit
def _triangle(index, blocks):  # type: ignore[no-untyped-def]
    """The index-th block (row, column) on or above the diagonal of blocks x blocks, all in integers.

    The triangle is folded into a rectangle: row r (blocks - r entries) is followed by the row from the other end that
    fills it up to ``blocks | 1`` entries.
    """
    width = blocks | 1
    fold = index // width
    position = index % width
    upper = position < blocks - fold
    row = tl.where(upper, fold, 2 * blocks - width - fold)
    column = tl.where(upper, fold + position, row + position - (blocks - fold))
    return row, column


@triton.jit
def _load_bytes(pointers, first, K: tl.constexpr, BLOCK_K: tl.constexpr, MASKED: tl.constexpr):  # type: ignore[no-untyped-def]
    """A (rows, BLOCK_K) block of raw bytes; those past the tile's end read as 0x80, which flips to 0."""
    if MASKED:
        k = first + tl.arange(0, BLOCK_K)
        return tl.load(pointers, mask=(k < K)[None, :], other=0)
    else:
        return tl.load(pointers)


@triton.jit
def tile_norms_kernel(  # type: ignore[no-untyped-def]
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
    TILE_ROWS: tl.constexpr,
    LINE: tl.constexpr,
    ALIGN: tl.constexpr,
    SEGMENT: tl.constexpr,
    SEGMENTS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """norm[b, i, t, s] = sum of (x_i - 128)^2 over segment s of tile t, int32 (bound: 66,051 * 128^2 = 1.08e9).

    One program: BLOCK_N images x one segment of one tile. Reads each image byte once, writes 4 bytes a tile and segment.
    """
    pid = tl.program_id(0)
    blocks = tl.cdiv(n, BLOCK_N)
    segment = pid % SEGMENTS
    t = pid // SEGMENTS % tiles
    block = pid // SEGMENTS // tiles % blocks
    batch = (pid // SEGMENTS // tiles // blocks).to(tl.int64)

    image = block * BLOCK_N + tl.arange(0, BLOCK_N)
    valid = image < n
    start = x_ptr + batch * batch_stride * ALIGN + _tile_offset(t, tiles_x, row_stride, TILE_ROWS, LINE, ALIGN)
    rows = start + tl.where(valid, image, 0).to(tl.int64)[:, None] * image_stride * ALIGN
    squares = tl.zeros((BLOCK_N, BLOCK_K), tl.int32)
    for step in range(0, SEGMENT, BLOCK_K):
        first = segment * SEGMENT + step
        pointers = rows + _byte_offsets(first, plane_stride, row_stride, BLOCK_K, TILE_ROWS, LINE, ALIGN)[None, :]
        raw = _load_bytes(pointers, first, K, BLOCK_K, SEGMENT * SEGMENTS != K)
        shifted = raw.to(tl.int32) - 128
        squares += shifted * shifted
    norm = tl.sum(squares, 1)
    tl.store(norm_ptr + ((batch * n + image) * tiles + t) * SEGMENTS + segment, norm, mask=valid)


@triton.jit
def tiled_l2_kernel(  # type: ignore[no-untyped-def]
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
    TILE_ROWS: tl.constexpr,
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
    """doc"""
    pid = tl.program_id(0)
    m_blocks = tl.cdiv(n, BLOCK_M)
    n_blocks = tl.cdiv(m, BLOCK_N)
    groups = tl.cdiv(tiles, tiles_per_program)
    if SYMMETRIC:
        PARTS: tl.constexpr = BLOCK_M // BLOCK_N
        block_pairs = m_blocks * (m_blocks + 1) // 2 * PARTS
        block_row, block_column = _triangle(pid % block_pairs // PARTS, m_blocks)
        block_column = block_column * PARTS + pid % PARTS
    else:
        block_pairs = m_blocks * n_blocks
        block_row = pid % block_pairs // n_blocks
        block_column = pid % n_blocks
    group = pid // block_pairs % groups
    batch = (pid // block_pairs // groups).to(tl.int64)

    i = block_row * BLOCK_M + tl.arange(0, BLOCK_M)
    j = block_column * BLOCK_N + tl.arange(0, BLOCK_N)
    i_safe = tl.where(i < n, i, 0).to(tl.int64)
    j_safe = tl.where(j < m, j, 0).to(tl.int64)
    a_rows = a_ptr + batch * a_batch_stride * ALIGN + i_safe[:, None] * a_image_stride * ALIGN
    b_rows = b_ptr + batch * b_batch_stride * ALIGN + j_safe[:, None] * b_image_stride * ALIGN
    a_norms = a_norm_ptr + (batch * n + i_safe) * tiles * SEGMENTS
    b_norms = b_norm_ptr + (batch * m + j_safe) * tiles * SEGMENTS

    SSD: tl.constexpr = tl.uint32 if SEGMENTS == 1 else tl.int64
    largest = tl.zeros((BLOCK_M, BLOCK_N), SSD)
    for t in range(group * tiles_per_program, tl.minimum((group + 1) * tiles_per_program, tiles)):
        a_tile = a_rows + _tile_offset(t, tiles_x, a_row_stride, TILE_ROWS, LINE, ALIGN)
        b_tile = b_rows + _tile_offset(t, tiles_x, b_row_stride, TILE_ROWS, LINE, ALIGN)
        ssd = tl.zeros((BLOCK_M, BLOCK_N), SSD)
        for segment in range(0, SEGMENTS):
            dot = tl.zeros((BLOCK_M, BLOCK_N), tl.int32)
            for step in tl.range(0, SEGMENT, BLOCK_K, num_stages=STAGES):
                first = segment * SEGMENT + step
                a_bytes = _byte_offsets(first, a_plane_stride, a_row_stride, BLOCK_K, TILE_ROWS, LINE, ALIGN)
                b_bytes = _byte_offsets(first, b_plane_stride, b_row_stride, BLOCK_K, TILE_ROWS, LINE, ALIGN)
                a = _load_bytes(a_tile + a_bytes[None, :], first, K, BLOCK_K, SEGMENT * SEGMENTS != K)
                b = _load_bytes(b_tile + b_bytes[None, :], first, K, BLOCK_K, SEGMENT * SEGMENTS != K)
                dot = tl.dot(_flip(a, PACKED_XOR), tl.trans(_flip(b, PACKED_XOR)), dot, out_dtype=tl.int32)
            a_norm = tl.load(a_norms + t * SEGMENTS + segment).to(tl.uint32, bitcast=True)
            b_norm = tl.load(b_norms + t * SEGMENTS + segment).to(tl.uint32, bitcast=True)
            part = a_norm[:, None] + b_norm[None, :] - 2 * dot.to(tl.uint32, bitcast=True)
            ssd += part.to(SSD)
        largest = tl.maximum(largest, ssd)

    inside = (i < n)[:, None] & (j < m)[None, :]
    corner = out_ptr + batch * n * m
    here = corner + (i[:, None].to(tl.int64) * m + j[None, :])
    tl.atomic_max(here, largest, mask=inside, sem="relaxed")
