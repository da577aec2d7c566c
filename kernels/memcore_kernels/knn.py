"""Exact k nearest rows of uint8 on a GPU, by brute force with a running list of the k best.

    key(q, c) = ssd(q, c) * 2^s + c,   ssd = |q - 128|^2 + |c - 128|^2 - 2 (q - 128) . (c - 128)

The k smallest keys are the k nearest rows, ties by index: keys are distinct integers, so that any order of merging gives
the same list. s = bits of the number of rows. D * 255^2 * 2^s < 2^63 is required.

One program: QUERIES queries x one part of the corpus, KEPT rows of it at a time. The product runs on the int8 matrix units
in segments, as in ``tiled_l2``; where a new key beats the worst one kept, both lists of KEPT are sorted into one and its
lower half stays. Parts are merged by the launcher. Bytes: the corpus is read Q / QUERIES times through the L2 cache, the
queries once a part; KEPT keys of 8 bytes a query and part are written.
"""

# Triton kernels have no static types: the launcher below has.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import contextlib
import math

import torch
import triton
import triton.language as tl

from memcore_kernels import raster
from memcore_kernels.plan import NORM_ROWS, NORM_WARPS
from memcore_kernels.tiled_l2 import INTERPRETED, PACKED_XOR, _flip, _load_block, tile_norms_kernel

QUERIES = 64
#: Longest list that a program keeps.
MAX_K = 128
#: No key is as large.
NO_KEY = 2**63 - 1
#: Programs to aim at: several for each multiprocessor of any device.
PROGRAMS = 1024


@triton.jit
def knn_kernel(
    q_ptr,
    c_ptr,
    q_norm_ptr,
    c_norm_ptr,
    key_ptr,
    queries,
    rows,
    rows_per_part,
    shift,
    q_stride,
    c_stride,
    K: tl.constexpr,
    ALIGN: tl.constexpr,
    SEGMENT: tl.constexpr,
    SEGMENTS: tl.constexpr,
    BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr,
    QUERIES: tl.constexpr,
    KEPT: tl.constexpr,
    PACKED_XOR: tl.constexpr,
):
    """key[part, q, :] = the KEPT smallest keys of query q among the rows of the part, ascending; int64 max where fewer."""
    MASKED: tl.constexpr = SEGMENT * SEGMENTS != K
    NONE: tl.constexpr = 9223372036854775807
    part = tl.program_id(1)
    i = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    i_safe = tl.where(i < queries, i, 0).to(tl.int64)
    q_rows = q_ptr + i_safe[:, None] * q_stride * ALIGN
    kept = tl.full((QUERIES, KEPT), NONE, tl.int64)
    end = tl.minimum((part + 1) * rows_per_part, rows)
    for start in range(part * rows_per_part, end, KEPT):
        j = start + tl.arange(0, KEPT)
        j_safe = tl.where(j < end, j, 0).to(tl.int64)
        c_rows = c_ptr + j_safe[:, None] * c_stride * ALIGN
        ssd = tl.zeros((QUERIES, KEPT), tl.int64)
        for segment in range(SEGMENTS):
            dot = tl.zeros((QUERIES, KEPT), tl.int32)
            for step in tl.range(0, SEGMENT, BLOCK_K, num_stages=STAGES):
                first = segment * SEGMENT + step
                q = _load_block(q_rows, first, 0, 0, K, 1, K, ALIGN, BLOCK_K, MASKED)
                c = _load_block(c_rows, first, 0, 0, K, 1, K, ALIGN, BLOCK_K, MASKED)
                dot = tl.dot(_flip(q, PACKED_XOR), tl.trans(_flip(c, PACKED_XOR)), dot, out_dtype=tl.int32)
            q_norm = tl.load(q_norm_ptr + i_safe * SEGMENTS + segment).to(tl.uint32, bitcast=True)
            c_norm = tl.load(c_norm_ptr + j_safe * SEGMENTS + segment).to(tl.uint32, bitcast=True)
            ssd += (q_norm[:, None] + c_norm[None, :] - 2 * dot.to(tl.uint32, bitcast=True)).to(tl.int64)
        keys = tl.where((j < end)[None, :], (ssd << shift) + j[None, :], NONE)
        worst = tl.max(kept, 1)
        if tl.max(tl.max((keys < worst[:, None]).to(tl.int32), 1), 0) > 0:
            both = tl.reshape(tl.permute(tl.join(kept, keys), (0, 2, 1)), (QUERIES, 2 * KEPT))
            halves = tl.permute(tl.reshape(tl.sort(both, 1), (QUERIES, 2, KEPT)), (0, 2, 1))
            kept, _ = tl.split(halves)
    place = (part.to(tl.int64) * queries + i[:, None]) * KEPT + tl.arange(0, KEPT)[None, :]
    tl.store(key_ptr + place, kept, mask=(i < queries)[:, None])


def kept_for(k: int) -> int:
    """Length of the list that a program keeps: a power of two, and columns enough for the matrix unit."""
    return max(32, 1 << (k - 1).bit_length())


def block_k_for(align: int) -> int:
    return 128 if align == 16 else 64 if align >= 4 else 32


def warps_for(kept: int) -> int:
    """More of them share a longer list."""
    return 8 if kept > 32 else 4


def constants(d: int, align: int, segment: int, segments: int, block_k: int, kept: int) -> dict[str, int]:
    """The compile-time arguments of ``knn_kernel``, less PACKED_XOR."""
    return {
        "K": d,
        "ALIGN": align,
        "SEGMENT": segment,
        "SEGMENTS": segments,
        "BLOCK_K": block_k,
        "STAGES": 3 if align >= 4 else 2,
        "QUERIES": QUERIES,
        "KEPT": kept,
    }


def knn(queries: torch.Tensor, corpus: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(Q, D), (N, D) uint8 -> ssd (Q, k) int64 and indices (Q, k) int64, nearest first, ties by index.

    Rows may stand apart by any stride; their bytes are contiguous, or they are copied. 1 <= k <= min(N, 128). Runs on the
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
    if (d * 255**2) << shift >= NO_KEY:
        raise ValueError(
            f"corpus must have fewer rows, or shorter ones: {rows} of {d} bytes need keys of over 63 bits"
        )
    if not (queries.is_cuda or INTERPRETED):
        raise ValueError(f"queries must be on a CUDA device, got {queries.device}")
    queries, corpus = (x if x.stride(1) == 1 or d == 1 else x.contiguous() for x in (queries, corpus))
    with torch.cuda.device(queries.device) if queries.is_cuda else contextlib.nullcontext():
        keys = _launch(queries, corpus, kept_for(k), shift)
    best = keys.transpose(0, 1).flatten(1).sort(1).values[:, :k]
    return best >> shift, best & ((1 << shift) - 1)


def _launch(queries: torch.Tensor, corpus: torch.Tensor, kept: int, shift: int) -> torch.Tensor:
    """(parts, Q, KEPT) int64 keys."""
    (count, d), rows = queries.shape, len(corpus)
    strides = [x.stride(0) if len(x) > 1 else 0 for x in (queries, corpus)]
    align = math.gcd(16, d, *strides, queries.data_ptr(), corpus.data_ptr())
    block_k = block_k_for(align)
    segment, segments = raster.segments(d, block_k)
    query_blocks = -(-count // QUERIES)
    steps = -(-rows // kept)
    parts = max(1, min(steps, PROGRAMS // query_blocks))
    rows_per_part = -(-steps // parts) * kept
    parts = -(-rows // rows_per_part)
    row = {"K": d, "ALIGN": align, "SEGMENT": segment, "SEGMENTS": segments, "BLOCK_K": block_k}
    norms = []
    for x, stride in zip((queries, corpus), strides, strict=True):
        norms.append(torch.empty(len(x), segments, dtype=torch.int32, device=x.device))
        tile_norms_kernel[(-(-len(x) // NORM_ROWS) * segments,)](
            x,
            norms[-1],
            len(x),
            1,
            1,
            0,
            stride // align,
            0,
            0,
            **row,
            ROWS=1,
            LINE=d,
            BLOCK_N=NORM_ROWS,
            num_warps=NORM_WARPS,
        )
    keys = torch.empty(parts, count, kept, dtype=torch.int64, device=queries.device)
    knn_kernel[(query_blocks, parts)](
        queries,
        corpus,
        *norms,
        keys,
        count,
        rows,
        rows_per_part,
        shift,
        strides[0] // align,
        strides[1] // align,
        **constants(d, align, segment, segments, block_k, kept),
        PACKED_XOR=PACKED_XOR,
        num_warps=warps_for(kept),
    )
    return keys
