"""The graph of near-duplicates as bits, for many prompts at once, growing as their images arrive.

    bit j of row i of adjacency[p] = 1  where  i != j  and  ssd_t(x_i, x_j) <= ssd_max  for every tile t

Three launches, and no matrix of distances:

1. ``intake_kernel`` (intake.py) reads each new image once and writes it to its slot: means of blocks and norms with it.
2. ``candidates_kernel``: for each block of P x P pairs (P = 64 or 128) with a new image in it, the pairs whose means allow
   an edge, as bits; and a list of the blocks that have any. Most blocks of an audit have none.
3. ``verify_kernel``: for each block in the list, tile after tile, the exact ssd on the int8 matrix units as in
   ``tiled_l2``; pairs above ssd_max lose their bit, by an atomic AND. It ends early where no pair is left.

A block's columns are whole words of a row, and so are its mirror image's: blocks share no word, so
that 2 stores plainly (on the diagonal, where the mirror image is the block itself, twice the same). The programs of 3 that
share a block, each with its own tiles, meet in ANDs only, whose order does not matter.

Bytes: per new image 2 D + G + 8 a tile (launch 1); 2 * P * tiles * (G + 4) for a block of pairs (launch 2); 2 * P * D for a
block in the list (launch 3), through the L2 cache. Written: the bits.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable
from typing import Any

import torch
import triton

from memcore_kernels import memory_layout
from memcore_kernels.block_bounds import Blocks, choose_blocks, mean_limit
from memcore_kernels.graph_kernels import candidates_kernel, degrees_kernel, verify_kernel
from memcore_kernels.intake import Intake
from memcore_kernels.pages import ImagePages
from memcore_kernels.places import Placed, Places
from memcore_kernels.plan import LINE_UNIT, SMALL, TMA_CAPABILITY, capability_of, processors
from memcore_kernels.tile_blocks import INTERPRETED, PACKED_XOR, descriptor

#: Images of a graph at most.
MAX_CAPACITY = 1024
WORD = 32
#: Programs of ``verify_kernel`` for each multiprocessor at most.
PROGRAMS = 4
#: Warps of the kernels that do not verify, for 64 rows.
WARPS = 4


@dataclasses.dataclass(frozen=True)
class Config:
    """Blocks of ``pairs`` x ``pairs``, bytes a step of the exact product, stages of its copies; ``tma`` as in ``plan``."""

    pairs: int
    block_k: int
    stages: int
    warps: int
    tma: bool = False
    #: Whether sums of several segments stay in 32 bits.
    saturated: bool = False


def choose_config(
    capacity: int, lines: memory_layout.MemoryLayout, tma: bool, ssd_max: int, capability: tuple[int, int]
) -> Config:
    """Choose blocks by shape and device alone, as ``plan.choose_config`` does.

    Large blocks do more products for a byte that is copied. Small ones are for graphs that are no larger, and where their
    registers go elsewhere: to addresses of single bytes, and to sums of several segments, for which sm_90 alone has them.
    Sums need 64 bits only for a threshold that does. Shorter steps where a copy moves fewer bytes at once; no pipeline where
    copies are not asynchronous.
    """
    if lines.align < 4:
        return Config(SMALL, 32, 2, warps=8)
    whole = lines.line % 128 == 0 if tma else lines.align == 16
    block_k = 128 if whole else 64
    wide = lines.tile_bytes > memory_layout.MAX_SEGMENT_BYTES
    saturated = wide and ssd_max < 2**32 - 1
    room = not wide or (saturated and tma and capability[0] == 9)
    if room and capacity > SMALL:
        return Config(2 * SMALL, block_k, 3, warps=8, tma=tma, saturated=saturated)
    return Config(SMALL, block_k, 4, warps=8 if wide and not saturated else 4, tma=tma, saturated=saturated)


def candidate_warps(pairs: int) -> int:
    """Return the warps of ``candidates_kernel``: one for each 32 x 32 pairs, since half as many spill on sm_100a."""
    return (pairs // WORD) ** 2


class DeviceGraphs:
    """Graphs of up to ``slots`` prompts on one device, of at most ``capacity`` images each.

    ``bits`` (slots, capacity, words) int32 is the adjacency: bit j % 32 of word j // 32 of row i. Nothing here waits for
    the device. Everything runs on the current stream of ``device``; which images a slot has is known on the host.
    Images lie in pages of as many as a block of pairs has rows: memory for ``expected`` of each slot is taken at once, for
    more when they come, and a slot that is cleared gives its pages to others.

    Raises ValueError (capacity, shape, tile), naming the argument; torch.OutOfMemoryError, also in ``extend`` and ``grow``,
    which then have changed nothing.
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
        capability: tuple[int, int] | None = None,
        expected: int | None = None,
    ) -> None:
        if not 1 <= capacity <= MAX_CAPACITY:
            raise ValueError(f"capacity must be 1 to {MAX_CAPACITY} images, got {capacity}")
        if slots < 1 or slots > 2**22:
            raise ValueError(f"slots must be 1 to 2^22, got {slots}")
        height, width, _ = shape
        if min(shape) < 1 or min(tile) < 1 or height % tile[0] or width % tile[1]:
            raise ValueError(f"tile must divide the images' height {height} and width {width}, got {tile}")
        self.capacity, self.ssd_max, self.device = capacity, ssd_max, torch.device(device)
        # Channels last, which is how a decoder of images leaves them and what reads in the longest lines.
        alike = torch.empty(2, 2, *shape, dtype=torch.uint8, device="meta")
        self.lines = memory_layout.describe([alike.movedim(-1, 2)], tile)
        capability = capability or capability_of(self.device)
        whole_lines = (
            self.lines.line % LINE_UNIT == 0 and memory_layout.layout(self.lines, 0, 1, 4) is not None
        )
        tma = whole_lines and capability >= TMA_CAPABILITY
        first = min(capacity, expected or capacity)
        self.config = choose_config(first, self.lines, tma, ssd_max, capability)
        self.pages = ImagePages(-(-first // self.config.pairs) * slots, self.config.pairs, shape, device)
        self.places = Places(capacity, self.pages)
        self._seen: tuple[torch.Tensor, torch.Tensor, Any] | None = None
        self.blocks: Blocks | None = choose_blocks(self.lines)
        self.segments = memory_layout.segments(self.lines.tile_bytes, self.config.block_k)
        self.intake = Intake(self.lines, self.blocks, self.config.block_k)
        tiles, stored = self.lines.tiles, self.blocks.stored if self.blocks else 1
        self.words = -(-capacity // WORD)
        self.means = torch.zeros(0, tiles, stored, dtype=torch.uint8, device=device)
        self.spreads = torch.zeros(tiles, 0, dtype=torch.int32, device=device)
        # A block of pairs may end past the last image.
        self.norms = torch.zeros(tiles, self.segments[1], self.config.pairs, dtype=torch.int32, device=device)
        self.bits = torch.zeros(0, capacity, self.words, dtype=torch.int32, device=device)
        # Counted up and read by the launches of one batch; the next one's come after them in the stream.
        self._listed = torch.empty(1, dtype=torch.int32, device=device)
        self._entries = torch.empty(0, dtype=torch.int32, device=device)
        self._prepare()
        self.grow(slots)

    def _prepare(self) -> None:
        """Put together what the launches of each batch have in common."""
        pairs, lines, blocks = self.config.pairs, self.lines, self.blocks
        self._at_once = PROGRAMS * processors(self.device)
        limit = mean_limit(self.ssd_max, blocks) if blocks else 0
        self._mean_limit = min(limit, 2**31 - 1)
        narrow = self.segments[1] == 1 or self.config.saturated
        self._ssd_max = min(self.ssd_max, 2**32 - 1) if narrow else self.ssd_max
        self._candidates: dict[str, Any] = {
            "STORED": blocks.stored if blocks else pairs,
            "BOUNDED": blocks is not None,
            "PAIRS": pairs,
            "num_warps": candidate_warps(pairs),
        }
        self._verify: dict[str, Any] = {
            **self.tile_constants(),
            "STAGES": self.config.stages,
            "PAIRS": pairs,
            "SATURATED": self.config.saturated,
            "TMA": self.config.tma,
            "num_warps": self.config.warps,
        }
        self._strides = lines.strides[0][1:]

    def grow(self, slots: int) -> None:
        """Add empty slots. What the others hold is copied, but for their images, which stay where they are."""
        rows = slots * self.capacity
        # All of it before any of it counts.
        larger = (
            torch.nn.functional.pad(self.means, (0, 0, 0, 0, 0, rows)),
            torch.nn.functional.pad(self.spreads, (0, rows)),
            torch.nn.functional.pad(self.norms, (0, rows)),
            torch.nn.functional.pad(self.bits, (0, 0, 0, 0, 0, slots)),
        )
        self.means, self.spreads, self.norms, self.bits = larger
        self.places.grow(slots)

    @property
    def counts(self) -> list[int]:
        """The images of each slot."""
        return self.places.counts

    def clear(self, slot: int) -> None:
        """Make room for another prompt."""
        self.places.clear(slot)
        self.bits.select(0, slot).zero_()

    def images(self, slot: int) -> torch.Tensor:
        """Return a slot's images (N, H, W, C): a view, or a copy where its pages lie apart."""
        return self.pages.images(slot, self.counts[slot])

    def extend(self, images: torch.Tensor, runs: Iterable[tuple[int, int, int]]) -> None:
        """Add images (M, H, W, C) uint8 of the device: of each run (slot, first, count) rows first to first + count - 1.

        Runs follow each other and name every row. Pairs of an old and a new image are decided, and those of two new ones; of
        two old ones only those that share a block of pairs with a new one. Images are read in place where the pixels of a
        row lie together, at addresses and strides that suit the slots' words; else a copy is made first.

        Raises ValueError where a slot is full, runs leave out or repeat a row, or ``images`` is of another shape.
        """
        shape, device = self.pages.store.shape[2:], self.pages.store.device
        if images.dtype != torch.uint8 or images.shape[1:] != shape:
            raise ValueError(
                f"images must be uint8 of shape {('M', *shape)}, got {images.dtype} of {tuple(images.shape)}"
            )
        if images.device != device:
            raise ValueError(f"images must be on {device}, got {images.device}")
        placed = self.places.place(images.shape[0], runs)
        if not placed.end:
            return
        table = torch.from_numpy(placed.table)
        if not INTERPRETED:
            table = table.pin_memory().to(self.device, non_blocking=True)
        sizes = 4 * len(placed.end), self.places.blocks * len(placed.end), 2 * images.shape[0]
        prompts, pages, positions = table.split_with_sizes(sizes)
        rows, described = self._store()
        with _current(self.device):
            self.intake.launch(images, positions, rows, self.means, self.spreads, self.norms, self._listed)
            self._connect(prompts, pages, described, placed)

    def degrees(self) -> torch.Tensor:
        """Return the neighbours of each image, (slots, capacity) int32."""
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

    def _connect(self, prompts: torch.Tensor, pages: torch.Tensor, images: Any, placed: Placed) -> None:
        """Decide the pairs of new images; ``images`` is the store or its descriptor."""
        pairs = self.config.pairs
        sides = blocks = 0
        for slot, end in placed.end.items():
            side, first = -(-end // pairs), placed.since[slot] // pairs
            sides = max(sides, side)
            blocks += side * (side + 1) // 2 - first * (first + 1) // 2
        if blocks > self._entries.shape[0]:
            self._entries = torch.empty(blocks, dtype=torch.int32, device=self.device)
        tiles = self.lines.tiles
        candidates_kernel[(len(placed.end) * sides * sides,)](
            self.means,
            self.spreads,
            self.bits,
            self._entries,
            self._listed,
            prompts,
            self.capacity,
            self.words,
            tiles,
            self._mean_limit,
            self.spreads.shape[-1],
            sides,
            **self._candidates,
        )
        programs, tiles_per_program = self.schedule(blocks)
        verify_kernel[(programs,)](
            images,
            self.norms,
            self.bits,
            self._entries,
            self._listed,
            prompts,
            pages,
            self.places.blocks,
            self.capacity,
            self.words,
            tiles,
            self.lines.tiles_x,
            tiles_per_program,
            self._ssd_max,
            self.norms.shape[-1],
            *self._strides,
            **self._verify,
            PACKED_XOR=PACKED_XOR,
        )

    def _store(self) -> tuple[torch.Tensor, Any]:
        """Return the store as ``intake`` and as ``verify_kernel`` take it, made again where the store has grown."""
        store = self.pages.store
        if self._seen is None or self._seen[0] is not store:
            images: Any = store
            if self.config.tma:
                layout = memory_layout.layout(self.lines, 0, 1, store.shape[0] * store.shape[1])
                assert layout is not None
                images = descriptor(store, layout, self.config.pairs, self.config.block_k)
            self._seen = store, self.intake.rows_of(store.flatten(0, 1)), images
        return self._seen[1:]

    def schedule(self, blocks: int) -> tuple[int, int]:
        """Return (programs, tiles to a work item) of ``verify_kernel`` for a list of at most ``blocks``.

        PROGRAMS a multiprocessor. With blocks enough for all, an item is all tiles of a block, so that it can end
        early; with fewer, tiles are shared out.
        """
        groups = max(1, min(self.lines.tiles, self._at_once // max(blocks, 1)))
        tiles = -(-self.lines.tiles // groups)
        return min(self._at_once, blocks * -(-self.lines.tiles // tiles)), tiles

    def tile_constants(self) -> dict[str, int]:
        """Return the compile-time arguments of the kernels that read tiles byte for byte."""
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
    """Make this the current device, on which kernels start, for a while."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
