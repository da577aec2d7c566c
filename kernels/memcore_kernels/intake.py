"""New images into their slots in one pass: the copy, the means of blocks, the norms of tiles.

A tile of K bytes is cut into G blocks of m bytes (``block_bounds``), and into segments of which the exact product sums each
by itself (``memory_layout.segments``):

    image[q]         = source[r]                                                                      the bytes
    mean[p, t, g]    = floor(sum of the m bytes of block g of tile t / m)                             uint8
    spread[t, p]     = sum over a row of means, its padding included, of (mean - 128)^2               int32
    norm[t, s, p]    = sum over segment s of tile t of (x - 128)^2, bytes past the tile counted as 0  int32

Each byte is read once from ``source`` and written once to its slot; with them move G + 4 * segments + 4 bytes a tile: less
than 2.1 times the images' bytes, but for tiles of a few hundred bytes, whose means weigh more.

Where lines are multiples of 4 bytes, elements are words of 4 and a sum of four bytes is one instruction (``dp4a``), a sum
of their squares two. A program reads about PROGRAM_BYTES at a time, of one image where tiles are large, and asks for the
next while it works on these: 64 images of 512 x 512 x 3 are 1,024 programs, which fill every multiprocessor.
"""

# Triton kernels have no static types: the launcher below has.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import dataclasses
import functools

import torch
import triton
import triton.language as tl

from memcore_kernels import memory_layout
from memcore_kernels.block_bounds import MAX_BLOCK, Blocks
from memcore_kernels.tile_blocks import PACKED_XOR

#: Bytes that a program reads at a time, about: no less than a block.
PROGRAM_BYTES = MAX_BLOCK
#: Images to a program at most, where tiles are small.
MAX_IMAGES = 16
WARPS = 4


@triton.jit
def _sum_bytes(x, WORD: tl.constexpr, PACKED: tl.constexpr):
    """Return the sums of the bytes of each element, int32."""
    if WORD == 1:
        total = x.to(tl.int32)
    elif PACKED:
        total = tl.inline_asm_elementwise(
            "dp4a.u32.u32 $0, $1, 0x01010101, 0;", "=r,r", [x], dtype=tl.int32, is_pure=True, pack=1
        )
    else:
        total = (x & 255) + ((x >> 8) & 255) + ((x >> 16) & 255) + ((x >> 24) & 255)
    return total


@triton.jit
def _add_squares(x, total, WORD: tl.constexpr, PACKED: tl.constexpr):
    """Return total + the sums of (byte - 128)^2 of each element, int32."""
    if WORD == 1:
        shifted = x.to(tl.int32) - 128
        total += shifted * shifted
    elif PACKED:
        total = tl.inline_asm_elementwise(
            "{ .reg .b32 s; xor.b32 s, $1, 0x80808080; dp4a.s32.s32 $0, s, s, $2; }",
            "=r,r,r",
            [x, total],
            dtype=tl.int32,
            is_pure=True,
            pack=1,
        )
    else:
        for byte in tl.static_range(4):
            shifted = ((x >> (8 * byte)) & 255) - 128
            total += shifted * shifted
    return total


@triton.jit(do_not_specialize=["count"])
def intake_kernel(
    source_ptr,
    image_ptr,
    mean_ptr,
    spread_ptr,
    norm_ptr,
    position_ptr,
    listed_ptr,
    count,
    tiles,
    tiles_x,
    spread_stride,
    norm_stride,
    source_image_stride,
    source_row_stride,
    image_stride,
    row_stride,
    K: tl.constexpr,
    LINE: tl.constexpr,
    ROWS: tl.constexpr,
    WORD: tl.constexpr,
    UNIT: tl.constexpr,
    SEGMENT: tl.constexpr,
    SEGMENTS: tl.constexpr,
    SEGMENTS_PADDED: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_WORDS: tl.constexpr,
    COUNT: tl.constexpr,
    STORED: tl.constexpr,
    DOWN: tl.constexpr,
    IMAGES: tl.constexpr,
    PACKED: tl.constexpr,
):
    """Copy one tile of IMAGES images, with means, spreads and norms: formulas in the module's docstring.

    ``position_ptr`` (count, 2) int64: the row q of images and the row p of means, spreads and norms of each. K, LINE and
    SEGMENT are in elements of WORD bytes, strides in UNIT elements. A step: DOWN blocks, one below the other, of each image.
    ``listed_ptr``: the counter of ``candidates_kernel``, set to 0 here, which is launched before it.
    """
    # What is not there is read as bytes of 128, whose squares here are 0.
    ZERO: tl.constexpr = 128 if WORD == 1 else -0x7F7F7F80
    pid = tl.program_id(0)
    if pid == 0:
        tl.store(listed_ptr, 0)
    BLOCK: tl.constexpr = BLOCK_ROWS * BLOCK_WORDS
    ACROSS: tl.constexpr = LINE // BLOCK_WORDS
    BELOW: tl.constexpr = ROWS // BLOCK_ROWS
    STEPS: tl.constexpr = (BELOW + DOWN - 1) // DOWN * ACROSS
    t = pid % tiles
    first = pid // tiles * IMAGES
    unit = tl.arange(0, IMAGES * DOWN)
    row = first + unit // DOWN
    below = unit % DOWN
    known = row < count
    row_safe = tl.where(known, row, 0)
    # Positions once an image, then for each of its units.
    image = first + tl.arange(0, IMAGES)
    stored = tl.load(position_ptr + 2 * image, mask=image < count, other=0)
    place = tl.load(position_ptr + 2 * image + 1, mask=image < count, other=0)
    stored_at = tl.reshape(tl.broadcast_to(stored[:, None], (IMAGES, DOWN)), (IMAGES * DOWN,))
    position = tl.reshape(tl.broadcast_to(place[:, None], (IMAGES, DOWN)), (IMAGES * DOWN,))
    element = tl.arange(0, BLOCK)
    line = below[:, None] * BLOCK_ROWS + (element // BLOCK_WORDS)[None, :]
    column = (element % BLOCK_WORDS)[None, :]
    down_tile = tl.cast(t // tiles_x, tl.int64) * (ROWS * UNIT)
    across_tile = t % tiles_x * LINE
    source = source_ptr + down_tile * source_row_stride + across_tile
    source += row_safe.to(tl.int64)[:, None] * source_image_stride * UNIT
    source += line.to(tl.int64) * source_row_stride * UNIT + column
    target = image_ptr + down_tile * row_stride + across_tile
    target += stored_at[:, None] * image_stride * UNIT + line.to(tl.int64) * row_stride * UNIT + column
    means = mean_ptr + (position * tiles + t) * STORED + below * ACROSS

    squares = tl.zeros((IMAGES * DOWN, BLOCK), tl.int32)
    spread = tl.zeros((IMAGES * DOWN,), tl.int32)
    part = tl.arange(0, SEGMENTS_PADDED)
    norms = tl.zeros((SEGMENTS_PADDED,), tl.int32)
    there = known & (below < BELOW)
    x = tl.load(source, mask=there[:, None], other=ZERO)
    for step in range(STEPS):
        down = step // ACROSS * DOWN
        across = step % ACROSS
        following = (step + 1) // ACROSS * DOWN
        there_next = known & (below + following < BELOW) & (step + 1 < STEPS)
        jump = tl.cast(following * BLOCK_ROWS, tl.int64) * source_row_stride * UNIT
        x_next = tl.load(
            source + jump + (step + 1) % ACROSS * BLOCK_WORDS, mask=there_next[:, None], other=ZERO
        )
        there = known & (below + down < BELOW)
        to = target + tl.cast(down * BLOCK_ROWS, tl.int64) * row_stride * UNIT + across * BLOCK_WORDS
        tl.store(to, x, mask=there[:, None])
        mean = tl.sum(_sum_bytes(x, WORD, PACKED), 1) // (BLOCK * WORD)
        tl.store(means + down * ACROSS + across, mean.to(tl.uint8), mask=there)
        spread += tl.where(there, (mean - 128) * (mean - 128), 0)
        if SEGMENTS == 1:
            squares = _add_squares(x, squares, WORD, PACKED)
        else:
            k = (line + down * BLOCK_ROWS) * LINE + across * BLOCK_WORDS + column
            squared = _add_squares(x, squares, WORD, PACKED)
            last = tl.minimum((down + DOWN) * BLOCK_ROWS * LINE - 1, K - 1) // SEGMENT
            for s in range(down * BLOCK_ROWS * LINE // SEGMENT, last + 1):
                of_segment = tl.sum(tl.sum(tl.where(k // SEGMENT == s, squared, 0), 1), 0)
                norms += tl.where(part == s, of_segment, 0)
        x = x_next
    # The padding of a row of means is zeros.
    total = tl.sum(tl.reshape(spread, (IMAGES, DOWN)), 1) + (STORED - COUNT) * 128 * 128
    tl.store(spread_ptr + t.to(tl.int64) * spread_stride + place, total, mask=image < count)
    PAD: tl.constexpr = (SEGMENT * SEGMENTS - K) * WORD * 128 * 128
    if SEGMENTS == 1:
        norm = tl.sum(tl.reshape(tl.sum(squares, 1), (IMAGES, DOWN)), 1) + PAD
        tl.store(norm_ptr + t.to(tl.int64) * norm_stride + place, norm, mask=image < count)
    else:
        norms += tl.where(part == SEGMENTS - 1, PAD, 0)
        only = tl.load(position_ptr + 2 * first + 1)
        columns = norm_ptr + (t.to(tl.int64) * SEGMENTS + part) * norm_stride + only
        tl.store(columns, norms, mask=part < SEGMENTS)


@triton.jit(do_not_specialize=["count"])
def intake_lines_kernel(
    source_ptr,
    image_ptr,
    norm_ptr,
    position_ptr,
    listed_ptr,
    count,
    tiles,
    tiles_x,
    norm_stride,
    source_image_stride,
    source_row_stride,
    image_stride,
    row_stride,
    K: tl.constexpr,
    LINE: tl.constexpr,
    ROWS: tl.constexpr,
    WORD: tl.constexpr,
    UNIT: tl.constexpr,
    SEGMENT: tl.constexpr,
    SEGMENTS: tl.constexpr,
    STEP: tl.constexpr,
    IMAGES: tl.constexpr,
    PACKED: tl.constexpr,
):
    """Copy one tile of IMAGES images, with norms, where a tile has no blocks: line after line, STEP elements at a time."""
    # What is not there is read as bytes of 128, whose squares here are 0.
    ZERO: tl.constexpr = 128 if WORD == 1 else -0x7F7F7F80
    pid = tl.program_id(0)
    if pid == 0:
        tl.store(listed_ptr, 0)
    t = pid % tiles
    image = pid // tiles * IMAGES + tl.arange(0, IMAGES)
    known = image < count
    image_safe = tl.where(known, image, 0)
    stored_at = tl.load(position_ptr + 2 * image, mask=known, other=0)
    position = tl.load(position_ptr + 2 * image + 1, mask=known, other=0)
    down_tile = tl.cast(t // tiles_x, tl.int64) * (ROWS * UNIT)
    across_tile = t % tiles_x * LINE
    source = source_ptr + down_tile * source_row_stride + across_tile
    source += image_safe.to(tl.int64)[:, None] * source_image_stride * UNIT
    target = image_ptr + down_tile * row_stride + across_tile + stored_at[:, None] * image_stride * UNIT
    for segment in range(SEGMENTS):
        squares = tl.zeros((IMAGES, STEP), tl.int32)
        for step in range(0, SEGMENT, STEP):
            inside = step + tl.arange(0, STEP)
            k = segment * SEGMENT + inside
            there = known[:, None] & (inside < SEGMENT)[None, :] & (k < K)[None, :]
            line = (k // LINE).to(tl.int64)[None, :]
            column = (k % LINE)[None, :]
            x = tl.load(source + line * source_row_stride * UNIT + column, mask=there, other=ZERO)
            tl.store(target + line * row_stride * UNIT + column, x, mask=there)
            squares = _add_squares(x, squares, WORD, PACKED)
        norm = tl.sum(squares, 1)
        if segment == SEGMENTS - 1:
            norm += (SEGMENT * SEGMENTS - K) * WORD * 128 * 128
        columns = norm_ptr + (t.to(tl.int64) * SEGMENTS + segment) * norm_stride + position
        tl.store(columns, norm, mask=known)


@dataclasses.dataclass(frozen=True)
class Intake:
    """The launch of new images of one layout: compile-time constants, and what a program takes.

    ``lines``: the slots' images, lines of whole pixels. ``block_k``: bytes of a step of the exact product.
    """

    lines: memory_layout.MemoryLayout
    blocks: Blocks | None
    block_k: int

    @property
    def word(self) -> int:
        """Bytes of an element: 4 where lines are whole words."""
        return 4 if self.lines.align >= 4 else 1

    @functools.cached_property
    def down(self) -> int:
        """Blocks, one below the other, of a step."""
        assert self.blocks is not None
        below = int(triton.next_power_of_2(self.lines.rows // self.blocks.rows))
        return max(1, min(below, PROGRAM_BYTES // self.blocks.size))

    @functools.cached_property
    def images(self) -> int:
        """Images to a program: one where there are several segments, whose norms a program keeps side by side."""
        if self.blocks is None:
            rounded = int(triton.next_power_of_2(self.lines.tile_bytes))
            return max(1, min(MAX_IMAGES, PROGRAM_BYTES // rounded))
        if self._segments[1] > 1:
            return 1
        return max(1, min(MAX_IMAGES, PROGRAM_BYTES // (self.blocks.size * self.down)))

    @functools.cached_property
    def _segments(self) -> tuple[int, int]:
        return memory_layout.segments(self.lines.tile_bytes, self.block_k)

    @functools.cached_property
    def constants(self) -> dict[str, int]:
        """Return the compile-time arguments of the kernel, less PACKED."""
        segment, count = self._segments
        both = {
            "K": self.lines.tile_bytes // self.word,
            "LINE": self.lines.line // self.word,
            "ROWS": self.lines.rows,
            "WORD": self.word,
            "UNIT": self.lines.align // self.word,
            "SEGMENT": segment // self.word,
            "SEGMENTS": count,
            "IMAGES": self.images,
        }
        if self.blocks is None:
            step = min(PROGRAM_BYTES // self.images, triton.next_power_of_2(self.lines.tile_bytes))
            return both | {"STEP": max(1, step // self.word // 4)}
        return both | {
            "SEGMENTS_PADDED": triton.next_power_of_2(count),
            "BLOCK_ROWS": self.blocks.rows,
            "BLOCK_WORDS": self.blocks.width // self.word,
            "COUNT": self.blocks.count,
            "STORED": self.blocks.stored,
            "DOWN": self.down,
        }

    def programs(self, count: int) -> int:
        """Return the programs of a launch for ``count`` images."""
        return -(-count // self.images) * self.lines.tiles

    @functools.cached_property
    def same_each_time(self) -> dict[str, int]:
        """Arguments of the kernel that are the same for each batch, less PACKED."""
        tiles = {"tiles": self.lines.tiles, "tiles_x": self.lines.tiles_x}
        _, image, _, row = self.lines.strides[0]
        return tiles | {"image_stride": image, "row_stride": row} | self.constants

    def strides(self, source: torch.Tensor) -> dict[str, int]:
        """Return the strides of ``rows_of``'s answer, in UNIT elements."""
        unit = self.lines.align // self.word
        of_image, of_row, _ = source.stride()
        return {"source_image_stride": of_image // unit, "source_row_stride": of_row // unit}

    def rows_of(self, images: torch.Tensor) -> torch.Tensor:
        """Return images (M, H, W, C) as rows (M, H, elements) of a line's words, copied only where they are not such rows.

        Rows must be contiguous, strides and the address multiples of the slots' ``align``.
        """
        align = self.lines.align
        count, height, width, channels = images.shape
        line = width * channels
        if images.is_contiguous() and not (line % align or images.data_ptr() % align):  # as nearly all are
            rows = images.as_strided((count, height, line), (height * line, line, 1))
            return rows if self.word == 1 else rows.view(torch.int32)
        rows = images.flatten(2)
        strides = [stride for stride, n in zip(rows.stride()[:2], rows.shape[:2], strict=True) if n > 1]
        if rows.stride(2) != 1 or any(x % align for x in (rows.data_ptr(), *strides)):
            rows = rows.clone(memory_format=torch.contiguous_format)
        if self.word == 1:
            return rows
        # A dimension of one entry may have any stride, which would keep torch from seeing words.
        row = rows.stride(1) if height > 1 else line
        image = rows.stride(0) if count > 1 else row * height
        return rows.as_strided(rows.shape, (image, row, 1)).view(torch.int32)

    def launch(
        self,
        images: torch.Tensor,
        positions: torch.Tensor,
        store: torch.Tensor,
        means: torch.Tensor,
        spreads: torch.Tensor,
        norms: torch.Tensor,
        listed: torch.Tensor,
    ) -> None:
        """Take images (M, H, W, C) in; ``positions`` (2 M,) int64 names the two rows of each.

        The first is that of ``store``, the slots' images as ``rows_of`` returns them; the second, that of ``means``
        (S, tiles, stored), ``spreads`` (tiles, >= S) and ``norms`` (tiles, segments, >= S). ``listed`` (1,) is set to 0.
        """
        source = self.rows_of(images)
        count = source.shape[0]
        numbers = {
            "count": count,
            "norm_stride": norms.shape[-1],
            **self.strides(source),
            **self.same_each_time,
            "PACKED": PACKED_XOR,
        }
        grid = (self.programs(count),)
        if self.blocks is None:
            intake_lines_kernel[grid](source, store, norms, positions, listed, **numbers, num_warps=WARPS)
        else:
            intake_kernel[grid](
                source,
                store,
                means,
                spreads,
                norms,
                positions,
                listed,
                spread_stride=spreads.shape[-1],
                **numbers,
                num_warps=WARPS,
            )
