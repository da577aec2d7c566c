"""The kernels of ``threshold_graph``: pairs that may be edges, pairs that are, degrees. Bits in words of 32."""

# Triton kernels have no static types.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from memcore_kernels.tile_blocks import tile_ssd


@triton.jit
def _pack(edges, PAIRS: tl.constexpr):
    """Pack (PAIRS, PAIRS) int1 -> (PAIRS, PAIRS // 32) int32: bit c % 32 of word c // 32."""
    bits = tl.reshape(edges.to(tl.int32), (PAIRS, PAIRS // 32, 32)) << tl.arange(0, 32)[None, None, :]
    return tl.sum(bits, 2)


@triton.jit
def _unpack(words, PAIRS: tl.constexpr):
    """Unpack (PAIRS, PAIRS // 32) int32 -> (PAIRS, PAIRS) int1: the inverse of ``_pack``."""
    bits = (words[:, :, None] >> tl.arange(0, 32)[None, None, :]) & 1
    return tl.reshape(bits, (PAIRS, PAIRS)) != 0


@triton.jit
def _words(bits_ptr, slot, capacity, words, row_block, column_block, PAIRS: tl.constexpr):
    """Return the addresses of the words of a block of pairs, and which of them exist."""
    row = row_block * PAIRS + tl.arange(0, PAIRS)
    word = column_block * (PAIRS // 32) + tl.arange(0, PAIRS // 32)
    address = bits_ptr + (slot * capacity + row[:, None]) * words + word[None, :]
    return address, (row < capacity)[:, None] & (word < words)[None, :]


@triton.jit(do_not_specialize=["sides"])
def candidates_kernel(
    mean_ptr,
    spread_ptr,
    bits_ptr,
    list_ptr,
    count_ptr,
    prompt_ptr,
    capacity,
    words,
    tiles,
    limit,
    spread_stride,
    sides,
    STORED: tl.constexpr,
    BOUNDED: tl.constexpr,
    PAIRS: tl.constexpr,
):
    """Write bits = pairs with sum_g (mean_i - mean_j)^2 <= limit for every tile; list = the blocks of pairs that have any.

    One program: PAIRS x PAIRS pairs of one prompt, those of block row ``since // PAIRS`` + its own, columns up to the
    diagonal. It reads 2 * PAIRS * tiles * (STORED + 4) bytes: means, and their spreads (``intake``). Entry: prompt * 256 +
    row * 16 + column, in any order. The means' sums of squares are below 64 * 255^2, so int32 holds all. BOUNDED: False
    where tiles have no blocks; then every pair is a candidate. ``prompt_ptr`` (prompts, 4) int64: the slot of each prompt's
    graph, its images before this call and after it, 0.
    """
    pid = tl.program_id(0)
    prompt = pid // (sides * sides)
    slot = tl.load(prompt_ptr + prompt * 4)
    end = tl.load(prompt_ptr + prompt * 4 + 2).to(tl.int32)
    row_block = tl.load(prompt_ptr + prompt * 4 + 1).to(tl.int32) // PAIRS + pid // sides % sides
    column_block = pid % sides
    if (row_block * PAIRS < end) & (column_block <= row_block):
        i = row_block * PAIRS + tl.arange(0, PAIRS)
        j = column_block * PAIRS + tl.arange(0, PAIRS)
        edges = (i < end)[:, None] & (j < end)[None, :] & (i[:, None] != j[None, :])
        if BOUNDED:
            g = tl.arange(0, STORED)
            a_row = slot * capacity + tl.where(i < end, i, 0)
            b_row = slot * capacity + tl.where(j < end, j, 0)
            a_rows = mean_ptr + a_row[:, None] * tiles * STORED
            b_rows = mean_ptr + b_row[:, None] * tiles * STORED
            for t in range(tiles):
                a = (tl.load(a_rows + t * STORED + g[None, :]) ^ 0x80).to(tl.int8, bitcast=True)
                b = (tl.load(b_rows + t * STORED + g[None, :]) ^ 0x80).to(tl.int8, bitcast=True)
                spreads = spread_ptr + tl.cast(t, tl.int64) * spread_stride
                both = tl.load(spreads + a_row)[:, None] + tl.load(spreads + b_row)[None, :]
                dot = tl.dot(a, tl.trans(b), out_dtype=tl.int32)
                edges = edges & (both - 2 * dot <= limit)
        below, below_exists = _words(bits_ptr, slot, capacity, words, row_block, column_block, PAIRS)
        tl.store(below, _pack(edges, PAIRS), mask=below_exists)
        above, above_exists = _words(bits_ptr, slot, capacity, words, column_block, row_block, PAIRS)
        tl.store(above, _pack(tl.trans(edges), PAIRS), mask=above_exists)
        if tl.max(tl.max(edges.to(tl.int32), 1), 0) > 0:
            place = tl.atomic_add(count_ptr, 1, sem="relaxed")
            tl.store(list_ptr + place, prompt * 256 + row_block * 16 + column_block)


@triton.jit(do_not_specialize=["tiles_per_program"])
def verify_kernel(
    x,
    norm_ptr,
    bits_ptr,
    list_ptr,
    count_ptr,
    prompt_ptr,
    page_ptr,
    pages,
    capacity,
    words,
    tiles,
    tiles_x,
    tiles_per_program,
    ssd_max,
    norm_stride,
    image_stride,
    plane_stride,
    row_stride,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    LINE: tl.constexpr,
    ALIGN: tl.constexpr,
    SEGMENT: tl.constexpr,
    SEGMENTS: tl.constexpr,
    BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr,
    PAIRS: tl.constexpr,
    SATURATED: tl.constexpr,
    TMA: tl.constexpr,
    PACKED_XOR: tl.constexpr,
):
    """Clear bits: bits &= (ssd of every tile <= ssd_max), for the blocks of pairs in the list.

    A fixed number of programs goes through the list, which only the device knows the length of: program p takes the work
    items p, p + programs, ... A work item is a block of pairs x ``tiles_per_program`` tiles; it does PAIRS^2 * K
    multiply-adds and reads 2 * PAIRS * K bytes a tile, until no pair of it is left. Formula and bounds on the sums are
    ``tiled_l2``'s. ``prompt_ptr``: as of ``candidates_kernel``. ``page_ptr`` (prompts, pages) int64: which page of PAIRS
    images of x holds each block of rows. ``norm_ptr``: as of ``intake``. SATURATED: sums of several segments stay in
    uint32, which decides alike where ssd_max < 2^32 - 1. ssd_max fits the type of the sums: uint32, or else int64.
    """
    groups = tl.cdiv(tiles, tiles_per_program)
    work = tl.load(count_ptr) * groups
    for item in range(tl.program_id(0), work, tl.num_programs(0)):
        entry = tl.load(list_ptr + item // groups)
        prompt, row_block, column_block = entry // 256, entry // 16 % 16, entry % 16
        slot = tl.load(prompt_ptr + prompt * 4)
        end = tl.load(prompt_ptr + prompt * 4 + 2).to(tl.int32)
        i = row_block * PAIRS + tl.arange(0, PAIRS)
        j = column_block * PAIRS + tl.arange(0, PAIRS)
        a_image = tl.load(page_ptr + prompt * pages + row_block) * PAIRS
        b_image = tl.load(page_ptr + prompt * pages + column_block) * PAIRS
        a_norms = norm_ptr + slot * capacity + row_block * PAIRS
        b_norms = norm_ptr + slot * capacity + column_block * PAIRS
        a_rows = x
        b_rows = x
        if not TMA:
            # Rows past the end read their page's first image: their bits are not set.
            inside = tl.arange(0, PAIRS)
            a_rows = x + (a_image + tl.where(i < end, inside, 0))[:, None] * image_stride * ALIGN
            b_rows = x + (b_image + tl.where(j < end, inside, 0))[:, None] * image_stride * ALIGN
        edges = _pack((i < end)[:, None] & (j < end)[None, :] & (i[:, None] != j[None, :]), PAIRS)
        t = item % groups * tiles_per_program
        last = tl.minimum(t + tiles_per_program, tiles)
        while t < last:
            ssd = tile_ssd(
                x,
                x,
                a_rows,
                b_rows,
                a_norms,
                b_norms,
                norm_stride,
                norm_stride,
                t,
                tiles_x,
                0,
                a_image.to(tl.int32),
                b_image.to(tl.int32),
                plane_stride,
                row_stride,
                plane_stride,
                row_stride,
                K,
                ROWS,
                LINE,
                ALIGN,
                SEGMENT,
                SEGMENTS,
                PAIRS,
                PAIRS,
                BLOCK_K,
                STAGES,
                False,
                SATURATED,
                TMA,
                PACKED_XOR,
            )
            edges = edges & _pack(ssd <= tl.cast(ssd_max, ssd.dtype), PAIRS)
            t = tl.where(tl.max(tl.max((edges != 0).to(tl.int32), 1), 0) > 0, t + 1, last)
        below, below_exists = _words(bits_ptr, slot, capacity, words, row_block, column_block, PAIRS)
        tl.atomic_and(below, edges, mask=below_exists, sem="relaxed")
        above, above_exists = _words(bits_ptr, slot, capacity, words, column_block, row_block, PAIRS)
        tl.atomic_and(above, _pack(tl.trans(_unpack(edges, PAIRS)), PAIRS), mask=above_exists, sem="relaxed")


@triton.jit
def degrees_kernel(bits_ptr, degree_ptr, rows, words, ROWS: tl.constexpr, WORDS: tl.constexpr):
    """Write degree[r] = number of bits of row r, int32. One program: ROWS rows; 4 * words bytes a row are read once."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    word = tl.arange(0, WORDS)
    exists = (row < rows)[:, None] & (word < words)[None, :]
    x = tl.load(bits_ptr + row.to(tl.int64)[:, None] * words + word[None, :], mask=exists, other=0)
    x = x.to(tl.uint32, bitcast=True)
    x = x - ((x >> 1) & 0x55555555)
    x = (x & 0x33333333) + ((x >> 2) & 0x33333333)
    x = (((x + (x >> 4)) & 0x0F0F0F0F) * 0x01010101) >> 24
    tl.store(degree_ptr + row, tl.sum(x.to(tl.int32), 1), mask=row < rows)
