"""Exact k nearest rows of uint8 on a GPU, by brute force with a running list of the k best.

    key(q, c) = ssd(q, c) * 2^s + c,   ssd = |q - 128|^2 + |c - 128|^2 - 2 (q - 128) . (c - 128)

The k smallest keys are the k nearest rows, ties by index: keys are distinct integers, so that any order of merging gives
the same list. s = bits of the number of rows. D * 255^2 * 2^s < 2^63 is required.

One program: QUERIES queries x one part of the corpus, COLUMNS rows of it at a time. The product runs on the int8 matrix
units in segments, as in ``tiled_l2``. Then each query's smallest key takes the place of the worst one that it keeps, again
and again, until no query has a key that would enter: the longer the part, the rarer, so that parts are few: as many as give
each multiprocessor a program or two. Parts are merged by the launcher.
Bytes: the corpus is read Q / QUERIES times through the L2 cache, the queries COLUMNS rows of the corpus after the other;
KEPT keys of 8 bytes a query and part are written.
"""

# Triton kernels have no static types: the launcher below has.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl

from memcore_kernels import memory_layout
from memcore_kernels.plan import TMA_CAPABILITY, capability_of, processors
from memcore_kernels.tile_blocks import INTERPRETED, NORM_ROWS, PACKED_XOR, descriptor, tile_norms, tile_ssd

#: Longest list that a program keeps.
MAX_K = 128
#: No key is as large, nor a place of a list that has none yet: those count down from here.
NO_KEY = 2**63 - 1
#: Programs to aim at for each multiprocessor, of which one or two are there at a time. More make parts shorter, and each
#: part starts with an empty list: of random rows, one of n rows takes about k ln(n / k) rounds and k more.
PROGRAMS = 2


@triton.jit
def knn_kernel(
    q,
    c,
    q_norm_ptr,
    c_norm_ptr,
    key_ptr,
    queries,
    rows,
    rows_per_part,
    shift,
    q_norm_stride,
    c_norm_stride,
    q_stride,
    c_stride,
    K: tl.constexpr,
    ALIGN: tl.constexpr,
    SEGMENT: tl.constexpr,
    SEGMENTS: tl.constexpr,
    BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr,
    QUERIES: tl.constexpr,
    COLUMNS: tl.constexpr,
    KEPT: tl.constexpr,
    TMA: tl.constexpr,
    PACKED_XOR: tl.constexpr,
):
    """Write key[part, q, :] = the KEPT smallest keys of query q among the rows of the part, in any order.

    Places of the list that have no key hold NO_KEY less their number: no two entries are the same, so that a worst one is
    one. An ssd that has been taken becomes the largest of its type, which none is: 66,051 * 255^2 < 2^32 - 1.
    """
    WIDE: tl.constexpr = SEGMENTS > 1
    SSD: tl.constexpr = tl.int64 if WIDE else tl.uint32
    TAKEN: tl.constexpr = 0x7FFFFFFFFFFFFFFF if WIDE else 0xFFFFFFFF
    part = tl.program_id(1)
    q_image = tl.program_id(0) * QUERIES
    i = q_image + tl.arange(0, QUERIES)
    q_rows = q
    if not TMA:
        q_rows = q + tl.where(i < queries, i, 0).to(tl.int64)[:, None] * q_stride * ALIGN
    column = tl.arange(0, COLUMNS)
    none = 0x7FFFFFFFFFFFFFFF - tl.arange(0, KEPT).to(tl.int64)
    kept = tl.zeros((QUERIES, KEPT), tl.int64) + none[None, :]
    end = tl.minimum((part + 1) * rows_per_part, rows)
    for start in range(part * rows_per_part, end, COLUMNS):
        if TMA:
            c_rows = c
        else:
            j_safe = tl.where(start + column < end, start + column, 0).to(tl.int64)
            c_rows = c + j_safe[:, None] * c_stride * ALIGN
        ssd = tile_ssd(
            q,
            c,
            q_rows,
            c_rows,
            q_norm_ptr + q_image,
            c_norm_ptr + start,
            q_norm_stride,
            c_norm_stride,
            0,
            1,
            0,
            q_image,
            start,
            0,
            0,
            0,
            0,
            K,
            1,
            K,
            ALIGN,
            SEGMENT,
            SEGMENTS,
            QUERIES,
            COLUMNS,
            BLOCK_K,
            STAGES,
            False,
            False,
            TMA,
            PACKED_XOR,
        )
        ssd = tl.where((start + column < end)[None, :], ssd, tl.full((), TAKEN, SSD))
        least = tl.min(ssd, 1)
        worst = tl.max(kept, 1)
        # Of most blocks no row enters, which a look at the smallest of each query tells.
        better = tl.max(((least != TAKEN) & ((least.to(tl.int64) << shift) < worst)).to(tl.int32), 0) > 0
        while better:
            place = tl.min(tl.where(ssd == least[:, None], column[None, :], COLUMNS), 1)
            key = (least.to(tl.int64) << shift) + (start + place)
            enters = (least != TAKEN) & (key < worst)
            kept = tl.where(enters[:, None] & (kept == worst[:, None]), key[:, None], kept)
            ssd = tl.where(column[None, :] == place[:, None], tl.full((), TAKEN, SSD), ssd)
            least = tl.min(ssd, 1)
            worst = tl.max(kept, 1)
            better = tl.max(enters.to(tl.int32), 0) > 0
    place = (part.to(tl.int64) * queries + i[:, None]) * KEPT + tl.arange(0, KEPT)[None, :]
    tl.store(key_ptr + place, kept, mask=(i < queries)[:, None])


@dataclasses.dataclass(frozen=True)
class Config:
    """Queries and rows of a block, bytes of a step, stages of its copies, warps."""

    queries: int
    columns: int
    block_k: int
    stages: int
    warps: int


def kept_for(k: int) -> int:
    """Return the length of the list that a program keeps: a power of two."""
    return max(2, 1 << (k - 1).bit_length())


def choose_config(kept: int, align: int, wide: bool, tma: bool, capability: tuple[int, int]) -> Config:
    """Choose blocks by shape and device alone.

    Long lists and sums of 64 bits (``wide``) take the registers of larger blocks, the more so where products pass through
    registers on their way from the matrix unit's own memory, as from sm_100 on; there the addresses of rows that are read
    by pointers do so too.
    """
    if align < 4:
        return Config(64, 64, 32, stages=2, warps=8)
    long = kept > (64 if capability[0] < 10 else 32 if tma else 0)
    queries = 64 if wide and long else 128
    columns = 64 if wide or long else 128
    return Config(queries, columns, 128 if align == 16 else 64, stages=3, warps=8)


def describe(
    d: int,
    align: int,
    counts: tuple[int, int],
    strides: Sequence[int],
    capability: tuple[int, int],
) -> list[memory_layout.Layout]:
    """Return the layouts of queries and corpus, each row a line of a tile of one row; empty where they are read by pointers.

    The last block of a row may end past it: the copy engine fills it up with zeros.
    """
    if capability < TMA_CAPABILITY:
        return []
    lines = memory_layout.MemoryLayout(
        1, 1, d, 1, 1, align, tuple((0, stride // align, 0, 0) for stride in strides)
    )
    found = [memory_layout.layout(lines, place, 1, n) for place, n in enumerate(counts)]
    return [] if None in found else [x for x in found if x]


def constants(d: int, align: int, kept: int, config: Config, tma: bool) -> dict[str, int]:
    """Return the compile-time arguments of ``knn_kernel``, less PACKED_XOR."""
    segment, segments = memory_layout.segments(d, config.block_k)
    return {
        "K": d,
        "ALIGN": align,
        "SEGMENT": segment,
        "SEGMENTS": segments,
        "BLOCK_K": config.block_k,
        "STAGES": config.stages,
        "QUERIES": config.queries,
        "COLUMNS": config.columns,
        "KEPT": kept,
        "TMA": tma,
    }


def share_out(rows: int, query_blocks: int, columns: int, multiprocessors: int) -> tuple[int, int]:
    """Return (parts of the corpus, rows of each but the last): whole blocks of ``columns``, few parts.

    >>> share_out(50_001, 8, 128, 132)
    (33, 1536)
    """
    steps = -(-rows // columns)
    parts = max(1, min(steps, PROGRAMS * multiprocessors // query_blocks))
    rows_per_part = -(-steps // parts) * columns
    return -(-rows // rows_per_part), rows_per_part


def knn(queries: torch.Tensor, corpus: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ssd (Q, k) int64 and indices (Q, k) int64 of the k nearest rows, nearest first, ties by index.

    Rows may be apart by any stride; their bytes are contiguous, or they are copied. 1 <= k <= min(N, 128). Runs on the
    current stream of the tensors' device and does not wait for it.

    Raises TypeError (not uint8) and ValueError (shapes, k, devices, D too large), each naming the argument.
    """
    for name, x in (("queries", queries), ("corpus", corpus)):
        if x.dtype != torch.uint8:
            raise TypeError(f"{name} must be torch.uint8, got {x.dtype}")
        if x.dim() != 2 or not x.shape[0] or not x.shape[1]:
            raise ValueError(f"{name} must be (rows, bytes), neither 0, got shape {tuple(x.shape)}")
    d, rows = queries.shape[1], len(corpus)
    if corpus.shape[1] != d or corpus.device != queries.device:
        raise ValueError(
            f"corpus must be (N, {d}) on {queries.device}, got {tuple(corpus.shape)} on {corpus.device}"
        )
    if not 1 <= k <= min(rows, MAX_K):
        raise ValueError(f"k must be 1 to {min(rows, MAX_K)}, got {k}")
    shift = rows.bit_length()
    if (d * 255**2) << shift >= NO_KEY - MAX_K:
        raise ValueError(
            f"corpus must have fewer rows, or shorter ones: {rows} of {d} bytes need keys of over 63 bits"
        )
    if not (queries.is_cuda or INTERPRETED):
        raise ValueError(f"queries must be on a CUDA device, got {queries.device}")
    queries, corpus = (x if x.stride(1) == 1 or d == 1 else x.contiguous() for x in (queries, corpus))
    with torch.cuda.device(queries.device) if queries.is_cuda else contextlib.nullcontext():
        keys = _launch(queries, corpus, kept_for(k), shift)
    best = keys.transpose(0, 1).flatten(1).topk(k, 1, largest=False, sorted=True).values
    return best >> shift, best & ((1 << shift) - 1)


def _launch(queries: torch.Tensor, corpus: torch.Tensor, kept: int, shift: int) -> torch.Tensor:
    """Return the keys (parts, Q, KEPT) int64 of a launch."""
    (count, d), rows = queries.shape, len(corpus)
    strides = [x.stride(0) if len(x) > 1 else 0 for x in (queries, corpus)]
    align = math.gcd(16, d, *strides, queries.data_ptr(), corpus.data_ptr())
    capability = capability_of(queries.device)
    layouts = describe(d, align, (count, rows), strides, capability)
    config = choose_config(kept, align, d > memory_layout.MAX_SEGMENT_BYTES, bool(layouts), capability)
    fixed = constants(d, align, kept, config, bool(layouts))
    query_blocks = -(-count // config.queries)
    parts, rows_per_part = share_out(rows, query_blocks, config.columns, processors(queries.device))
    if rows + rows_per_part >= 2**31:
        raise ValueError(f"corpus must have fewer than {2**31 - rows_per_part} rows, got {rows}: split it")
    row = {name: fixed[name] for name in ("K", "ALIGN", "SEGMENT", "SEGMENTS", "BLOCK_K")}
    blocks = (config.queries, config.columns)
    norms = []
    for x, stride, block in zip((queries, corpus), strides, blocks, strict=True):
        # The last block may end past the last row.
        shape = (fixed["SEGMENTS"], -(-len(x) // block) * block)
        norms.append(torch.zeros(shape, dtype=torch.int32, device=x.device))
        arguments = {
            "n": len(x),
            "tiles": 1,
            "tiles_x": 1,
            "batch_stride": 0,
            "image_stride": stride // align,
            "plane_stride": 0,
            "row_stride": 0,
        }
        programs = -(-len(x) // NORM_ROWS) * fixed["SEGMENTS"]
        tile_norms(x, programs, norms[-1], arguments, row | {"ROWS": 1, "LINE": d, "BLOCK_N": NORM_ROWS})
    inputs: list[Any] = [queries, corpus]
    if layouts:
        described = zip(inputs, layouts, blocks, strict=True)
        inputs = [descriptor(x, layout, block, config.block_k) for x, layout, block in described]
    keys = torch.empty(parts, count, kept, dtype=torch.int64, device=queries.device)
    knn_kernel[(query_blocks, parts)](
        *inputs,
        *norms,
        keys,
        count,
        rows,
        rows_per_part,
        shift,
        *(x.shape[1] for x in norms),
        strides[0] // align,
        strides[1] // align,
        **fixed,
        PACKED_XOR=PACKED_XOR,
        num_warps=config.warps,
    )
    return keys
