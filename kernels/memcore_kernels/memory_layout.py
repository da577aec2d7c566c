"""How kernels read image tiles in place: lines of contiguous bytes, strides, alignment, segments.

A tile is ``planes`` x ``rows`` lines of ``line`` contiguous bytes.
    pixels interleaved (N, H, W, C): 1 plane, tile_h rows, lines of tile_w * C bytes
    channel planes     (N, C, H, W): C planes, tile_h rows, lines of tile_w bytes
Which of the two a tensor is shows in its strides, not in the order of its dimensions: a torch tensor (N, C,
H, W) in the ``channels_last`` memory format is interleaved. A sum over the bytes of a tile does not depend on
their order, but both operands of a pair must be read in the same one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import torch

#: Largest S with S * 255^2 < 2^32: the ssd of that many bytes fits an unsigned 32-bit integer.
MAX_SEGMENT_BYTES = (2**32 - 1) // 255**2


@dataclasses.dataclass(frozen=True)
class MemoryLayout:
    """The lines of a tile and where each operand keeps them.

    ``align`` (1, 2, 4, 8 or 16) divides every stride, line and base address. ``strides`` (batch, image,
    plane, row) of each operand are counted in ``align`` bytes: a kernel that multiplies them back knows its
    alignment.
    """

    planes: int
    rows: int
    line: int
    tiles_x: int
    tiles_y: int
    align: int
    strides: tuple[tuple[int, int, int, int], ...]

    @property
    def tile_bytes(self) -> int:
        """K, the bytes of one tile."""
        return self.planes * self.rows * self.line

    @property
    def tiles(self) -> int:
        """Tiles of an image."""
        return self.tiles_x * self.tiles_y


@dataclasses.dataclass(frozen=True)
class Layout:
    """An operand as the copy engine of sm_90 and later sees it: (batch, image, plane, row, byte of the row).

    ``strides`` in bytes, the last one 1.
    """

    shape: tuple[int, int, int, int, int]
    strides: tuple[int, int, int, int, int]


def layout(lines: MemoryLayout, operand: int, batch: int, n: int) -> Layout | None:
    """Return what a tensor descriptor of an operand needs, or None where its memory does not meet what the driver asks for.

    ``cuTensorMapEncodeTiled`` wants an address and strides that are multiples of 16, strides below 2^40, each a multiple of
    the next inner one. A stride of 0, as of an expanded tensor, is left to the pointers.

    >>> layout(MemoryLayout(1, 128, 384, 4, 4, 16, ((0, 512 * 96, 0, 96),)), 0, 1, 500).strides
    (786432, 786432, 1536, 1536, 1)
    >>> layout(MemoryLayout(1, 8, 24, 4, 4, 8, ((0, 32 * 12, 0, 12),)), 0, 1, 500) is None
    True
    """
    if lines.align != 16:
        return None
    extents = (batch, n, lines.planes, lines.tiles_y * lines.rows)
    row_bytes = lines.tiles_x * lines.line
    strides = [1]
    inner = 16
    for extent, stride in zip(reversed(extents), reversed(lines.strides[operand]), strict=True):
        # Of a dimension of one entry the stride says nothing: the next inner one's will do.
        step = stride * lines.align if extent > 1 else inner
        if not 0 < step < 2**40 or step % inner:
            return None
        strides.append(step)
        inner = step
    shape = (*extents, row_bytes)
    if max(shape) >= 2**31:
        return None
    batch_stride, image, plane, row, byte = reversed(strides)
    return Layout(shape, (batch_stride, image, plane, row, byte))


def segments(tile_bytes: int, block_k: int) -> tuple[int, int]:
    """Return (bytes of a segment, number of segments): whole blocks of ``block_k``, each segment's ssd below 2^32.

    >>> segments(49152, 128), segments(66051, 128), segments(196608, 128)
    ((49152, 1), (66176, 1), (65536, 3))
    """
    blocks = -(-tile_bytes // block_k)
    count = 1 if tile_bytes <= MAX_SEGMENT_BYTES else -(-blocks // (MAX_SEGMENT_BYTES // block_k))
    return -(-blocks // count) * block_k, count


def as_bnchw(images: torch.Tensor, name: str, channels: Literal["first", "last"]) -> torch.Tensor:
    """Return a (B, N, C, H, W) view of (N, ...) or (B, N, ...) uint8 images; errors name the argument."""
    if images.dtype != torch.uint8:
        raise TypeError(f"{name} must be torch.uint8, got {images.dtype}")
    if images.dim() not in (4, 5):
        order = "C, H, W" if channels == "first" else "H, W, C"
        raise ValueError(f"{name} must be (N, {order}) or (B, N, {order}), got shape {tuple(images.shape)}")
    if images.dim() == 4:
        images = images.unsqueeze(0)
    return images if channels == "first" else images.movedim(-1, -3)


def is_interleaved(images: torch.Tensor) -> bool:
    """Return whether the rows of a (B, N, C, H, W) view are W * C contiguous bytes."""
    channel_count, _, width = images.shape[2:]
    channel_stride, _, column_stride = images.stride()[2:]
    return (channel_count == 1 or channel_stride == 1) and (width == 1 or column_stride == channel_count)


def is_planar(images: torch.Tensor) -> bool:
    """Return whether the rows of each channel of a (B, N, C, H, W) view are W contiguous bytes."""
    return images.shape[-1] == 1 or images.stride(-1) == 1


def readable(operands: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return the operands, each copied only if the kernels cannot read all of them by the same kind of lines."""
    if all(map(is_interleaved, operands)) or all(map(is_planar, operands)):
        return list(operands)
    return [images if is_planar(images) else images.contiguous() for images in operands]


def describe(operands: Sequence[torch.Tensor], tile: tuple[int, int]) -> MemoryLayout:
    """Return the memory layout of (B, N, C, H, W) operands from ``readable``, cut into tiles of ``tile`` pixels (h, w)."""
    channel_count, height, width = operands[0].shape[2:]
    tile_h, tile_w = tile
    interleaved = all(map(is_interleaved, operands))
    planes, line = (1, tile_w * channel_count) if interleaved else (channel_count, tile_w)

    def byte_strides(images: torch.Tensor) -> tuple[int, int, int, int]:
        # A dimension of one entry has a stride of any value, which would spoil the alignment.
        batch, image, plane, row = (
            s if n > 1 else 0 for n, s in zip(images.shape[:4], images.stride()[:4], strict=True)
        )
        return batch, image, 0 if planes == 1 else plane, row

    strides = tuple(map(byte_strides, operands))
    align = math.gcd(
        16, line, *(s for one in strides for s in one), *(images.data_ptr() for images in operands)
    )
    return MemoryLayout(
        planes=planes,
        rows=tile_h,
        line=line,
        tiles_x=width // tile_w,
        tiles_y=height // tile_h,
        align=align,
        strides=tuple((b // align, n // align, p // align, r // align) for b, n, p, r in strides),
    )
