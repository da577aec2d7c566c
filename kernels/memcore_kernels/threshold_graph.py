"""The graph of near-duplicates as bits, for many prompts at once, growing as their images arrive.

    bit j of row i of adjacency[p] = 1  where  i != j  and  ssd_t(x_i, x_j) <= ssd_max  for every tile t

Three launches, and no matrix of distances:

1. ``block_means_kernel`` (block_bounds.py) reads each new image once: means of blocks, norms.
2. ``candidates_kernel``: for each block of 64 x 64 pairs with a new image in it, the pairs whose means allow an edge, as
   bits; and a list of the blocks that have any. Most blocks of an audit have none.
3. ``verify_kernel``: for each block in the list, tile after tile, the exact ssd on the int8 matrix units as in
   ``tiled_l2``; pairs above ssd_max lose their bit, by an atomic AND. It ends early where no pair is left.

A block's 64 columns are two whole words of a row, and its mirror image two of the other rows: blocks share no word, so
that 2 stores plainly (on the diagonal, where the mirror image is the block itself, twice the same). The programs of 3 that
share a block, each with its own tiles, meet in ANDs only, whose order does not matter.

Bytes: per new image D + 20 a tile (launch 1); 64 * 2 * tiles * G for a block of pairs (launch 2); 64 * 2 * D for a block
in the list (launch 3), through the L2 cache. Written: the bits.
"""

# Triton kernels have no static types: the launchers below have.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import torch
import triton
import triton.language as tl

from memcore_kernels import raster
from memcore_kernels.block_bounds import Blocks, block_means, choose_blocks, mean_limit
from memcore_kernels.plan import NORM_ROWS, NORM_WARPS
from memcore_kernels.tiled_l2 import (
    INTERPRETED,
    PACKED_XOR,
    _flip,
    _load_block,
    _tile_offset,
    tile_norms_kernel,
)

#: Rows and columns of a block of pairs: two words of bits, and what wgmma multiplies at least.
PAIRS = 64
WORD = 32
#: Rows and columns of blocks of one prompt's graph at most: 1,024 images.
MAX_SIDE = 16
WARPS = 4


@triton.jit
def _pack(edges, PAIRS: tl.constexpr):
    """(PAIRS, PAIRS) int1 -> (PAIRS, PAIRS // 32) int32: bit c % 32 of word c // 32."""
    bits = tl.reshape(edges.to(tl.int32), (PAIRS, PAIRS // 32, 32)) << tl.arange(0, 32)[None, None, :]
    return tl.sum(bits, 2)


@triton.jit
def _words(bits_ptr, slot, capacity, words, row_block, column_block, PAIRS: tl.constexpr):
    """Addresses of the words of a block of pairs, and which of them exist."""
    row = row_block * PAIRS + tl.arange(0, PAIRS)
    word = column_block * (PAIRS // 32) + tl.arange(0, PAIRS // 32)
    address = bits_ptr + (slot.to(tl.int64) * capacity + row[:, None]) * words + word[None, :]
    return address, (row < capacity)[:, None] & (word < words)[None, :]


@triton.jit
def candidates_kernel(
    mean_ptr,
    bits_ptr,
    list_ptr,
    count_ptr,
    slot_ptr,
    since_ptr,
    end_ptr,
    capacity,
    words,
    tiles,
    limit,
    sides,
    STORED: tl.constexpr,
    BOUNDED: tl.constexpr,
    PAIRS: tl.constexpr,
):
    """bits = pairs with sum_g (mean_i - mean_j)^2 <= limit for every tile; list = the blocks of pairs that have any.

    One program: PAIRS x PAIRS pairs of one prompt, those of block row ``since // PAIRS`` + its own, columns up to the
    diagonal. It reads 2 * PAIRS * tiles * STORED bytes of means. Entry: slot * 256 + row * 16 + column, in any order. The
    means' sums of squares are below 64 * 255^2, so int32 holds all. BOUNDED: False where tiles have no blocks; then every
    pair is a candidate. ``slot_ptr``, ``since_ptr``, ``end_ptr`` (prompts,): where each prompt's graph stands, its images
    before this call and after it.
    """
    pid = tl.program_id(0)
    prompt = pid // (sides * sides)
    slot = tl.load(slot_ptr + prompt)
    end = tl.load(end_ptr + prompt)
    row_block = tl.load(since_ptr + prompt) // PAIRS + pid // sides % sides
    column_block = pid % sides
    if (row_block * PAIRS < end) & (column_block <= row_block):
        i = row_block * PAIRS + tl.arange(0, PAIRS)
        j = column_block * PAIRS + tl.arange(0, PAIRS)
        edges = (i < end)[:, None] & (j < end)[None, :] & (i[:, None] != j[None, :])
        if BOUNDED:
            g = tl.arange(0, STORED)
            a_rows = (
                mean_ptr + (slot.to(tl.int64) * capacity + tl.where(i < end, i, 0))[:, None] * tiles * STORED
            )
            b_rows = (
                mean_ptr + (slot.to(tl.int64) * capacity + tl.where(j < end, j, 0))[:, None] * tiles * STORED
            )
            for t in range(tiles):
                a = (tl.load(a_rows + t * STORED + g[None, :]) ^ 0x80).to(tl.int8, bitcast=True)
                b = (tl.load(b_rows + t * STORED + g[None, :]) ^ 0x80).to(tl.int8, bitcast=True)
                a_norm = tl.sum(a.to(tl.int32) * a.to(tl.int32), 1)
                b_norm = tl.sum(b.to(tl.int32) * b.to(tl.int32), 1)
                dot = tl.dot(a, tl.trans(b), out_dtype=tl.int32)
                edges = edges & (a_norm[:, None] + b_norm[None, :] - 2 * dot <= limit)
        below, below_exists = _words(bits_ptr, slot, capacity, words, row_block, column_block, PAIRS)
        tl.store(below, _pack(edges, PAIRS), mask=below_exists)
        above, above_exists = _words(bits_ptr, slot, capacity, words, column_block, row_block, PAIRS)
        tl.store(above, _pack(tl.trans(edges), PAIRS), mask=above_exists)
        if tl.max(tl.max(edges.to(tl.int32), 1), 0) > 0:
            place = tl.atomic_add(count_ptr, 1, sem="relaxed")
            tl.store(list_ptr + place, slot * 256 + row_block * 16 + column_block)


@triton.jit
def verify_kernel(
    x_ptr,
    norm_ptr,
    bits_ptr,
    list_ptr,
    count_ptr,
    end_ptr,
    capacity,
    words,
    tiles,
    tiles_x,
    tiles_per_program,
    ssd_max,
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
    PACKED_XOR: tl.constexpr,
):
    """bits &= (ssd of every tile <= ssd_max), for the blocks of pairs in the list.

    A fixed number of programs goes through the list, which only the device knows the length of: program p takes the work
    items p, p + programs, ... A work item is a block of pairs x ``tiles_per_program`` tiles; it does PAIRS^2 * K
    multiply-adds and reads 2 * PAIRS * K bytes a tile, until no pair of it is left. Formula and bounds on the sums are
    ``tiled_l2``'s. ``end_ptr`` (slots,): the images of each slot.
    """
    MASKED: tl.constexpr = SEGMENT * SEGMENTS != K
    groups = tl.cdiv(tiles, tiles_per_program)
    work = tl.load(count_ptr) * groups
    for item in range(tl.program_id(0), work, tl.num_programs(0)):
        entry = tl.load(list_ptr + item // groups)
        slot, row_block, column_block = entry // 256, entry // 16 % 16, entry % 16
        end = tl.load(end_ptr + slot)
        i = row_block * PAIRS + tl.arange(0, PAIRS)
        j = column_block * PAIRS + tl.arange(0, PAIRS)
        first_row = slot.to(tl.int64) * capacity
        # Rows past the end read image 0: their bits are not set.
        i_safe = first_row + tl.where(i < end, i, 0)
        j_safe = first_row + tl.where(j < end, j, 0)
        a_rows = x_ptr + i_safe[:, None] * image_stride * ALIGN
        b_rows = x_ptr + j_safe[:, None] * image_stride * ALIGN
        a_norms = norm_ptr + i_safe * tiles * SEGMENTS
        b_norms = norm_ptr + j_safe * tiles * SEGMENTS
        edges = (i < end)[:, None] & (j < end)[None, :] & (i[:, None] != j[None, :])
        t = item % groups * tiles_per_program
        last = tl.minimum(t + tiles_per_program, tiles)
        while t < last:
            a_tile = a_rows + _tile_offset(t, tiles_x, row_stride, ROWS, LINE, ALIGN)
            b_tile = b_rows + _tile_offset(t, tiles_x, row_stride, ROWS, LINE, ALIGN)
            ssd = tl.zeros((PAIRS, PAIRS), tl.uint32 if SEGMENTS == 1 else tl.int64)
            for segment in range(SEGMENTS):
                dot = tl.zeros((PAIRS, PAIRS), tl.int32)
                for step in tl.range(0, SEGMENT, BLOCK_K, num_stages=STAGES):
                    first = segment * SEGMENT + step
                    a = _load_block(
                        a_tile, first, plane_stride, row_stride, K, ROWS, LINE, ALIGN, BLOCK_K, MASKED
                    )
                    b = _load_block(
                        b_tile, first, plane_stride, row_stride, K, ROWS, LINE, ALIGN, BLOCK_K, MASKED
                    )
                    dot = tl.dot(
                        _flip(a, PACKED_XOR), tl.trans(_flip(b, PACKED_XOR)), dot, out_dtype=tl.int32
                    )
                a_norm = tl.load(a_norms + t * SEGMENTS + segment).to(tl.uint32, bitcast=True)
                b_norm = tl.load(b_norms + t * SEGMENTS + segment).to(tl.uint32, bitcast=True)
                part = a_norm[:, None] + b_norm[None, :] - 2 * dot.to(tl.uint32, bitcast=True)
                ssd += part.to(ssd.dtype)
            edges = edges & (ssd.to(tl.int64) <= ssd_max)
            t = tl.where(tl.max(tl.max(edges.to(tl.int32), 1), 0) > 0, t + 1, last)
        below, below_exists = _words(bits_ptr, slot, capacity, words, row_block, column_block, PAIRS)
        tl.atomic_and(below, _pack(edges, PAIRS), mask=below_exists, sem="relaxed")
        above, above_exists = _words(bits_ptr, slot, capacity, words, column_block, row_block, PAIRS)
        tl.atomic_and(above, _pack(tl.trans(edges), PAIRS), mask=above_exists, sem="relaxed")


@triton.jit
def degrees_kernel(bits_ptr, degree_ptr, rows, words, ROWS: tl.constexpr, WORDS: tl.constexpr):
    """degree[r] = number of bits of row r, int32. One program: ROWS rows; 4 * words bytes a row are read once."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    word = tl.arange(0, WORDS)
    exists = (row < rows)[:, None] & (word < words)[None, :]
    x = tl.load(bits_ptr + row.to(tl.int64)[:, None] * words + word[None, :], mask=exists, other=0)
    x = x.to(tl.uint32, bitcast=True)
    x = x - ((x >> 1) & 0x55555555)
    x = (x & 0x33333333) + ((x >> 2) & 0x33333333)
    x = (((x + (x >> 4)) & 0x0F0F0F0F) * 0x01010101) >> 24
    tl.store(degree_ptr + row, tl.sum(x.to(tl.int32), 1), mask=row < rows)


@dataclasses.dataclass(frozen=True)
class Config:
    """Bytes a step of the exact product, stages of its copies, warps: by shape alone, as ``plan.choose_config``."""

    block_k: int
    stages: int
    warps: int = WARPS


def choose_config(align: int, tile_bytes: int) -> Config:
    """Shorter steps where a copy moves fewer bytes at once; no pipeline where copies are not asynchronous.

    Eight warps share what four cannot hold in registers: addresses of single bytes, sums of 64 bits.
    """
    if align < 4:
        return Config(32, 2, warps=8)
    warps = 8 if tile_bytes > raster.MAX_SEGMENT_BYTES else WARPS
    return Config(128 if align == 16 else 64, 4, warps)


class DeviceGraphs:
    """Graphs of up to ``slots`` prompts on one device, of at most ``capacity`` images each.

    ``bits`` (slots, capacity, words) int32 is the adjacency: bit j % 32 of word j // 32 of row i. Nothing here waits for
    the device. Everything runs on the current stream of ``device``; which images a slot has is known on the host.

    Raises ValueError (capacity, shape, tile), naming the argument.
    """

    def __init__(
        self,
        slots: int,
        capacity: int,
        shape: tuple[int, int, int],
        *,
        tile: tuple[int, int],
        ssd_max: int,
        device: torch.device | str,
    ) -> None:
        if not 1 <= capacity <= PAIRS * MAX_SIDE:
            raise ValueError(f"capacity must be 1 to {PAIRS * MAX_SIDE} images, got {capacity}")
        if slots < 1 or slots > 2**22:
            raise ValueError(f"slots must be 1 to 2^22, got {slots}")
        height, width, channels = shape
        if min(shape) < 1 or min(tile) < 1 or height % tile[0] or width % tile[1]:
            raise ValueError(f"tile must divide the images' height {height} and width {width}, got {tile}")
        self.capacity, self.ssd_max, self.device = capacity, ssd_max, torch.device(device)
        # Channels last, which is how a decoder of images leaves them and what reads in the longest lines.
        self.images = torch.empty(slots, capacity, height, width, channels, dtype=torch.uint8, device=device)
        self.lines = raster.describe([self.images.movedim(-1, 2)], tile)
        self.config = choose_config(self.lines.align, self.lines.tile_bytes)
        self.blocks: Blocks | None = choose_blocks(self.lines)
        self.segments = raster.segments(self.lines.tile_bytes, self.config.block_k)
        rows, tiles = slots * capacity, self.lines.tiles
        stored = self.blocks.stored if self.blocks else 1
        self.words = -(-capacity // WORD)
        self.means = torch.zeros(rows, tiles, stored, dtype=torch.uint8, device=device)
        self.norms = torch.zeros(rows, tiles, self.segments[1], dtype=torch.int32, device=device)
        self.bits = torch.zeros(slots, capacity, self.words, dtype=torch.int32, device=device)
        self.counts = [0] * slots
        self._ends = torch.zeros(slots, dtype=torch.int32, device=device)

    def clear(self, slot: int) -> None:
        """Makes room for another prompt."""
        self.counts[slot] = 0
        self.bits[slot] = 0
        self._ends[slot] = 0

    def extend(self, images: torch.Tensor, slots: list[int]) -> None:
        """Adds images (M, H, W, C) uint8 of the device, each to the slot that ``slots`` (M,) names, in this order.

        Pairs of an old and a new image are decided, and those of two new ones; of two old ones only those that share a
        block of 64 x 64 with a new one. Raises ValueError where a slot is full or ``images`` is of another shape.
        """
        if (
            images.dtype != torch.uint8
            or images.shape[1:] != self.images.shape[2:]
            or len(slots) != len(images)
        ):
            raise ValueError(
                f"images must be uint8 of shape {(len(slots), *self.images.shape[2:])}, one a slot, got "
                f"{images.dtype} of {tuple(images.shape)}"
            )
        if images.device != self.images.device:
            raise ValueError(f"images must be on {self.images.device}, got {images.device}")
        if any(not 0 <= slot < len(self.counts) for slot in slots):
            raise ValueError(f"slots must be 0 to {len(self.counts) - 1}, got {slots}")
        since = {slot: self.counts[slot] for slot in dict.fromkeys(slots)}
        end = dict(since)
        positions = []
        for slot in slots:
            positions.append(slot * self.capacity + end[slot])
            end[slot] += 1
        if max(end.values(), default=0) > self.capacity:
            raise ValueError(f"images must leave each slot at most {self.capacity}, got {max(end.values())}")
        if not slots:
            return
        # One small copy to the device for all that the launches need to know.
        table = torch.tensor([[*since], [*since.values()], [*end.values()]], dtype=torch.int32)
        where = torch.tensor(positions, dtype=torch.int64)
        if not INTERPRETED:
            table, where = (x.pin_memory().to(self.device, non_blocking=True) for x in (table, where))
        self.images.flatten(0, 1)[where] = images
        self._ends[table[0].long()] = table[2]
        for slot, count in end.items():
            self.counts[slot] = count
        with _current(self.device):
            self._measure(where)
            self._connect(table, since, end)

    def degrees(self) -> torch.Tensor:
        """(slots, capacity) int32: neighbours of each image."""
        degrees = torch.empty(self.bits.shape[:2], dtype=torch.int32, device=self.device)
        rows = degrees.numel()
        with _current(self.device):
            degrees_kernel[(-(-rows // 64),)](
                self.bits,
                degrees,
                rows,
                self.words,
                ROWS=64,
                WORDS=triton.next_power_of_2(self.words),
                num_warps=WARPS,
            )
        return degrees

    def _measure(self, where: torch.Tensor) -> None:
        """Means and norms of the new images."""
        _, image, plane, row = self.lines.strides[0]
        if self.blocks:
            block_means(
                self.images, where, self.means, self.norms, self.lines, self.blocks, self.config.block_k
            )
            if self.segments[1] == 1:
                return
        # Of tiles without blocks, or of several segments: norms in a pass of their own, into a copy.
        fresh = self.images.flatten(0, 1)[where]
        norms = torch.empty(len(where), *self.norms.shape[1:], dtype=torch.int32, device=self.device)
        programs = -(-len(where) // NORM_ROWS) * self.lines.tiles * self.segments[1]
        tile_norms_kernel[(programs,)](
            fresh,
            norms,
            len(where),
            self.lines.tiles,
            self.lines.tiles_x,
            0,
            image,
            plane,
            row,
            **self.tile_constants(),
            BLOCK_N=NORM_ROWS,
            num_warps=NORM_WARPS,
        )
        self.norms[where] = norms

    def _connect(self, table: torch.Tensor, since: dict[int, int], end: dict[int, int]) -> None:
        sides = max(-(-last // PAIRS) for last in end.values())
        blocks = sum(
            (-(-end[s] // PAIRS)) * (-(-end[s] // PAIRS) + 1) // 2 - (f := since[s] // PAIRS) * (f + 1) // 2
            for s in end
        )
        entries = torch.empty(blocks, dtype=torch.int32, device=self.device)
        count = torch.zeros(1, dtype=torch.int32, device=self.device)
        limit = mean_limit(self.ssd_max, self.blocks) if self.blocks else 0
        candidates_kernel[(len(end) * sides * sides,)](
            self.means,
            self.bits,
            entries,
            count,
            table[0],
            table[1],
            table[2],
            self.capacity,
            self.words,
            self.lines.tiles,
            min(limit, 2**31 - 1),
            sides,
            STORED=self.blocks.stored if self.blocks else PAIRS,
            BOUNDED=self.blocks is not None,
            PAIRS=PAIRS,
            num_warps=WARPS,
        )
        programs, tiles_per_program = self.schedule(blocks)
        _, image, plane, row = self.lines.strides[0]
        verify_kernel[(programs,)](
            self.images,
            self.norms,
            self.bits,
            entries,
            count,
            self._ends,
            self.capacity,
            self.words,
            self.lines.tiles,
            self.lines.tiles_x,
            tiles_per_program,
            self.ssd_max,
            image,
            plane,
            row,
            **self.tile_constants(),
            STAGES=self.config.stages,
            PAIRS=PAIRS,
            PACKED_XOR=PACKED_XOR,
            num_warps=self.config.warps,
        )

    def schedule(self, blocks: int) -> tuple[int, int]:
        """(programs, tiles to a work item) of ``verify_kernel`` for a list of at most ``blocks``.

        Four programs a multiprocessor. With blocks enough for all, an item is all tiles of a block, so that it can end
        early; with fewer, tiles are shared out.
        """
        at_once = 4 * _processors(self.device)
        groups = max(1, min(self.lines.tiles, at_once // max(blocks, 1)))
        tiles = -(-self.lines.tiles // groups)
        return min(at_once, blocks * -(-self.lines.tiles // tiles)), tiles

    def tile_constants(self) -> dict[str, int]:
        """The compile-time arguments of the kernels that read tiles byte for byte."""
        return {
            "K": self.lines.tile_bytes,
            "ROWS": self.lines.rows,
            "LINE": self.lines.line,
            "ALIGN": self.lines.align,
            "SEGMENT": self.segments[0],
            "SEGMENTS": self.segments[1],
            "BLOCK_K": self.config.block_k,
        }


def _current(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Kernels start on the current device: this one, for a while."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def _processors(device: torch.device) -> int:
    """Multiprocessors of a device; three where a kernel is interpreted."""
    return 3 if device.type != "cuda" else torch.cuda.get_device_properties(device).multi_processor_count
