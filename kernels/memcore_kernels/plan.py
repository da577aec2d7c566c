"""From the operands of a tiled l2 to its launch: checks, block sizes, programs, compile-time constants."""

from __future__ import annotations

import dataclasses
from typing import Literal, TypeAlias

import torch

from memcore_kernels import memory_layout
from memcore_kernels.tile_blocks import NORM_ROWS

Channels: TypeAlias = Literal["first", "last"]

#: Bytes of each image that a program of the pairs reads: few enough for many programs, and enough of them to
#: make what follows a tile's inner loop a small part. Large tiles get a program each, small ones share one.
PROGRAM_BYTES = 16_384
#: Tiles of at least this many bytes have large blocks: smaller ones unroll their few steps, which takes their registers.
LARGE_TILE_BYTES = 4096
#: Rows and columns of the smallest blocks: up to this many images of one set are one block.
SMALL = 64
#: Compute capability from which there is a copy engine for blocks of a tensor (TMA).
TMA_CAPABILITY = (9, 0)
#: Lines of tiles that it is used for are a multiple of this: a block of that many bytes lies within one.
LINE_UNIT = 64
#: Programs in a grid's first dimension: the limit of CUDA.
MAX_PROGRAMS = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Config:
    """Block sizes of a launch: BLOCK_M x BLOCK_N pairs, BLOCK_K bytes a step; warps; stages of the copies.

    ``tma``: blocks come by tensor descriptors. ``gram``: one block has all pairs of a set, which it reads once.
    """

    block_m: int
    block_n: int
    block_k: int
    warps: int
    stages: int
    tma: bool = False
    gram: bool = False


def choose_config(
    n: int, one_set: bool, lines: memory_layout.MemoryLayout, tma: bool, capability: tuple[int, int]
) -> Config:
    """Choose blocks by shape and device alone, so that the same input runs the same code; none was tuned on hardware.

    Large blocks do more products for a byte that is copied; their sums take a quarter of a thread's registers, so that
    only tiles of some size have them. Sums of 64 bits have them where a block may have the 128 KiB of shared memory
    through which they go to memory: not before sm_90, and not on sm_120. The fewer bytes a copy moves at once (``align``),
    the more addresses a thread holds: shorter blocks and more warps keep them in registers. Below 4 bytes there is no
    asynchronous copy, so nothing to pipeline.
    """
    small, gram = n <= SMALL, one_set and n <= SMALL
    if lines.align < 4:
        return Config(SMALL, SMALL, 32, warps=8, stages=2, gram=gram)
    whole = lines.line % 128 == 0 if tma else lines.align == 16
    block_k = 128 if whole else 64
    wide = lines.tile_bytes > memory_layout.MAX_SEGMENT_BYTES
    if small:
        return Config(SMALL, SMALL, block_k, warps=8 if wide else 4, stages=4, tma=tma, gram=gram)
    if wide and not (tma and capability[0] == 9):
        return Config(128, SMALL, block_k, warps=8, stages=3, tma=tma)
    if lines.tile_bytes >= LARGE_TILE_BYTES:
        return Config(128, 128, block_k, warps=8, stages=3, tma=tma)
    return Config(128, SMALL, block_k, warps=8, stages=3, tma=tma)


@dataclasses.dataclass(frozen=True)
class Launch:
    """All that the kernels need except pointers."""

    batch: int
    n: int
    m: int
    symmetric: bool
    lines: memory_layout.MemoryLayout
    config: Config
    #: Of each operand, where ``config.tma``.
    layouts: tuple[memory_layout.Layout, ...]

    @property
    def narrow(self) -> bool:
        """Whether an ssd fits uint32, the type of the kernel's output; int64 otherwise."""
        return self.lines.tile_bytes <= memory_layout.MAX_SEGMENT_BYTES

    @property
    def block_pairs(self) -> int:
        """Blocks of pairs of a prompt: all, or of one operand those of squares on or above the diagonal."""
        rows = _ceil_div(self.n, self.config.block_m)
        if self.symmetric:
            return rows * (rows + 1) // 2 * (self.config.block_m // self.config.block_n)
        return rows * _ceil_div(self.m, self.config.block_n)

    @property
    def padded(self) -> tuple[int, int]:
        """Rows and columns of the kernel's output: whole blocks, of one operand whole squares."""
        block_n = self.config.block_m if self.symmetric else self.config.block_n
        return _whole(self.n, self.config.block_m), _whole(self.m, block_n)

    @property
    def tiles_per_program(self) -> int:
        """Tiles to a program: as many as make up PROGRAM_BYTES."""
        return min(self.lines.tiles, _ceil_div(PROGRAM_BYTES, self.lines.tile_bytes))

    @property
    def programs(self) -> int:
        """Programs of the kernel on pairs."""
        return self.block_pairs * _ceil_div(self.lines.tiles, self.tiles_per_program) * self.batch

    def norm_programs(self, operand: int) -> int:
        """Return the programs of the norms: one for NORM_ROWS images and a segment of a tile."""
        rows = _ceil_div((self.n, self.m)[operand], NORM_ROWS)
        return self.batch * rows * self.lines.tiles * self.norm_constants["SEGMENTS"]

    @property
    def arguments(self) -> dict[str, int]:
        """Return the integers that ``tiled_l2_kernel`` takes at run time."""
        return {
            "n": self.n,
            "m": self.m,
            "tiles": self.lines.tiles,
            "tiles_x": self.lines.tiles_x,
            "tiles_per_program": self.tiles_per_program,
            "a_norm_stride": self.padded[0],
            "b_norm_stride": self.padded[1],
            **_named("a_", self.lines.strides[0]),
            **_named("b_", self.lines.strides[-1]),
        }

    def norm_arguments(self, operand: int) -> dict[str, int]:
        """Return the integers that ``tile_norms_kernel`` takes at run time for operand 0 or 1."""
        n = (self.n, self.m)[operand]
        strides = _named("", self.lines.strides[operand])
        return {"n": n, "tiles": self.lines.tiles, "tiles_x": self.lines.tiles_x, **strides}

    @property
    def norm_constants(self) -> dict[str, int]:
        """Return the compile-time arguments of ``tile_norms_kernel``."""
        return self._tile_constants | {"BLOCK_N": NORM_ROWS}

    @property
    def constants(self) -> dict[str, int]:
        """Return the compile-time arguments of ``tiled_l2_kernel``, less PACKED_XOR."""
        return self._tile_constants | {
            "BLOCK_M": self.config.block_m,
            "BLOCK_N": self.config.block_n,
            "STAGES": self.config.stages,
            "SYMMETRIC": self.symmetric,
            "GRAM": self.config.gram,
            "ONE_TILE": self.tiles_per_program == 1,
            "TMA": self.config.tma,
        }

    @property
    def _tile_constants(self) -> dict[str, int]:
        segment, count = memory_layout.segments(self.lines.tile_bytes, self.config.block_k)
        return {
            "K": self.lines.tile_bytes,
            "ROWS": self.lines.rows,
            "LINE": self.lines.line,
            "ALIGN": self.lines.align,
            "SEGMENT": segment,
            "SEGMENTS": count,
            "BLOCK_K": self.config.block_k,
        }


def plan(
    images: torch.Tensor,
    other: torch.Tensor | None,
    tile: tuple[int, int],
    channels: Channels,
    capability: tuple[int, int] = (8, 0),
) -> tuple[list[torch.Tensor], Launch]:
    """Return the operands as (B, N, C, H, W) and their launch on a device of this compute capability.

    The tensors may be on any device, ``meta`` included.

    Raises TypeError and ValueError, naming the argument.
    """
    if channels not in ("first", "last"):
        raise ValueError(f"channels must be 'first' or 'last', got {channels!r}")
    operands = [memory_layout.as_bnchw(images, "images", channels)]
    if other is not None:
        operands.append(memory_layout.as_bnchw(other, "other", channels))
        if images.device != other.device:
            raise ValueError(f"other must be on the device of images, {images.device}, got {other.device}")
        a, b = ((x.dim(), x.shape[0], *x.shape[2:]) for x in operands)
        if a != b or images.dim() != other.dim():
            shapes = f"{tuple(other.shape)} for images {tuple(images.shape)}"
            raise ValueError(f"other may differ from images in N only, got {shapes}")
    batch, n, channel_count, height, width = operands[0].shape
    if not channel_count * height * width:
        raise ValueError(f"images must not be empty, got shape {tuple(images.shape)}")
    if len(tile) != 2 or min(tile) < 1 or height % tile[0] or width % tile[1]:
        raise ValueError(f"tile must divide the images' height {height} and width {width}, got {tuple(tile)}")
    operands = memory_layout.readable(operands)
    lines = memory_layout.describe(operands, tile)
    sides = (n, operands[-1].shape[1])
    layouts = [memory_layout.layout(lines, place, batch, sides[place]) for place in range(len(operands))]
    found = tuple(x for x in layouts if x is not None)
    tma = capability >= TMA_CAPABILITY and len(found) == len(layouts) and lines.line % LINE_UNIT == 0
    config = choose_config(n, other is None, lines, tma, capability)
    launch = Launch(batch, *sides, other is None, lines, config, found if config.tma else ())
    programs = max(launch.programs, *map(launch.norm_programs, (0, 1)))
    if programs > MAX_PROGRAMS:
        raise ValueError(f"images need {programs} programs, more than {MAX_PROGRAMS}: split them")
    return operands, launch


def capability_of(device: torch.device) -> tuple[int, int]:
    """Return the compute capability of a CUDA device; (8, 0) where a kernel is interpreted, and of AMD's devices."""
    if device.type != "cuda" or torch.version.hip is not None:
        return 8, 0
    return torch.cuda.get_device_capability(device)


def processors(device: torch.device) -> int:
    """Return the multiprocessors of a device; three where a kernel is interpreted."""
    return 3 if device.type != "cuda" else torch.cuda.get_device_properties(device).multi_processor_count


def _named(prefix: str, strides: tuple[int, int, int, int]) -> dict[str, int]:
    names = ("batch_stride", "image_stride", "plane_stride", "row_stride")
    return {prefix + name: stride for name, stride in zip(names, strides, strict=True)}


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def _whole(a: int, b: int) -> int:
    """Return a, rounded up to a multiple of b."""
    return _ceil_div(a, b) * b
