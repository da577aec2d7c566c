"""What is compiled ahead of time: each kernel with the arguments of launches that stand for its configurations."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import torch
import triton

from memcore_kernels import block_bounds, knn, raster, threshold_graph
from memcore_kernels.plan import NORM_ROWS, NORM_WARPS, Channels, Launch, plan
from memcore_kernels.tiled_l2 import tile_norms_kernel, tiled_l2_kernel


@dataclasses.dataclass(frozen=True)
class Program:
    """A kernel as a launch would specialise it. ``pointers``: the elements of each, in Triton's words."""

    kernel: Any
    case: str
    arguments: dict[str, int]
    constants: dict[str, Any]
    pointers: dict[str, str]
    warps: int
    block: str
    #: Whether it multiplies matrices, and copies without waiting.
    multiplies: bool
    copies: bool
    max_registers: int
    #: What the launch does, for ``roofline``: in words; multiply-adds with all padding; bytes it must read or write once.
    work: str
    multiply_adds: int
    memory_bytes: int


@dataclasses.dataclass(frozen=True)
class Case:
    """A shape that stands for a configuration: n images (height, width, channels), tiles in pixels."""

    name: str
    n: int
    size: tuple[int, int, int]
    tile: tuple[int, int]
    channels: Channels = "last"
    m: int | None = None

    @property
    def image_bytes(self) -> int:
        return math.prod(self.size)

    def launch(self) -> Launch:
        height, width, channel_count = self.size
        last = self.channels == "last"
        image = (height, width, channel_count) if last else (channel_count, height, width)
        images = torch.empty(self.n, *image, dtype=torch.uint8, device="meta")
        other = None if self.m is None else torch.empty(self.m, *image, dtype=torch.uint8, device="meta")
        return plan(images, other, self.tile, self.channels)[1]


CASES = (
    Case("512 px, interleaved", 500, (512, 512, 3), (128, 128)),
    Case("512 px, planes", 500, (512, 512, 3), (128, 128), "first"),
    Case("512 px, N <= 64", 64, (512, 512, 3), (128, 128)),
    Case("512 px, N x M", 500, (512, 512, 3), (128, 128), m=1000),
    Case("1024 px, 64-bit sums", 500, (1024, 1024, 3), (256, 256)),
    Case("32 px, lines of 24", 500, (32, 32, 3), (8, 8)),
    Case("32 px, N <= 64", 64, (32, 32, 3), (8, 8)),
    Case("300 px, lines of 4 n, tail", 500, (300, 400, 3), (75, 100)),
    Case("300 px, lines of 4 n, 64-bit sums", 500, (300, 400, 3), (300, 100)),
    Case("250 px, odd lines, tail", 500, (250, 250, 3), (125, 125)),
    Case("250 px, odd lines, 64-bit sums", 500, (500, 250, 3), (500, 125)),
)

#: Nearest rows: what it stands for, bytes of a row, k.
NEAREST = (
    ("rows of 3,072 bytes, k = 1", 3072, 1),
    ("rows of 3,072 bytes, k = 50", 3072, 50),
    ("rows of 786,432 bytes, k = 50", 786_432, 50),
)
QUERIES = 1001
ROWS = 50_001
#: Capacity and slots of the graphs that stand for an audit: the paper's 500 images a prompt.
CAPACITY = 500
SLOTS = 64


def programs() -> Iterator[Program]:
    """All of them, once each."""
    yield from _dense()
    yield from _norms()
    for case in (CASES[0], CASES[4], CASES[5], CASES[9]):
        yield from _graph(case)
    for name, d, k in NEAREST:
        yield _nearest(name, d, k)


def _dense() -> Iterator[Program]:
    for case in CASES:
        launch = case.launch()
        config = launch.config
        yield Program(
            tiled_l2_kernel,
            case.name,
            launch.arguments,
            launch.constants | {"PACKED_XOR": True},
            {"a_ptr": "*u8", "b_ptr": "*u8", "a_norm_ptr": "*i32", "b_norm_ptr": "*i32"}
            | {"out_ptr": "*u32" if launch.narrow else "*i64"},
            config.warps,
            f"{config.block_m}x{config.block_n}x{config.block_k}",
            True,
            launch.lines.align >= 4,
            255 if launch.tiles_per_program > 1 else 184,
            f"{launch.n} x {launch.m} images" if case.m else f"{launch.n} images",
            _multiply_adds(launch),
            case.image_bytes * (launch.n + (case.m or 0)) + 4 * launch.n * launch.m,
        )


def _norms() -> Iterator[Program]:
    seen = []
    for case in CASES:
        launch = case.launch()
        if launch.norm_constants in seen:
            continue
        seen.append(launch.norm_constants)
        yield Program(
            tile_norms_kernel,
            case.name,
            launch.norm_arguments(0),
            launch.norm_constants,
            {"x_ptr": "*u8", "norm_ptr": "*i32"},
            NORM_WARPS,
            f"{NORM_ROWS}x{launch.config.block_k}",
            False,
            False,
            64,
            f"{launch.n} images",
            0,
            case.image_bytes * launch.n,
        )


def _multiply_adds(launch: Launch) -> int:
    """Of all programs, with what is past the last image and the last byte of a tile."""
    config, constants = launch.config, launch.constants
    tile_bytes = constants["SEGMENT"] * constants["SEGMENTS"]
    return (
        launch.block_pairs * config.block_m * config.block_n * launch.lines.tiles * tile_bytes * launch.batch
    )


def _graph(case: Case) -> Iterator[Program]:
    """The three launches of ``threshold_graph``, and the degrees."""
    height, width, channels = case.size
    graphs = threshold_graph.DeviceGraphs(
        SLOTS, CAPACITY, (height, width, channels), tile=case.tile, ssd_max=2**31, device="meta"
    )
    lines, blocks, config = graphs.lines, graphs.blocks, graphs.config
    _, image, plane, row = lines.strides[0]
    where = {"image_stride": image, "plane_stride": plane, "row_stride": row}
    tiles = {"tiles": lines.tiles, "tiles_x": lines.tiles_x}
    if blocks is not None:
        yield Program(
            block_bounds.block_means_kernel,
            case.name,
            {"rows_new": 64, **tiles, **where},
            block_bounds.constants(lines, blocks, config.block_k),
            {"x_ptr": "*u8", "mean_ptr": "*u8", "norm_ptr": "*i32", "position_ptr": "*i64"},
            block_bounds.WARPS,
            f"{blocks.images}x{blocks.rows}x{blocks.width}",
            False,
            False,
            128,
            "64 new images",
            0,
            64 * case.image_bytes,
        )
    graph = {"capacity": CAPACITY, "words": graphs.words}
    pairs = f"{threshold_graph.PAIRS}x{threshold_graph.PAIRS}"
    names = ("norm_ptr", "bits_ptr", "list_ptr", "count_ptr", "slot_ptr", "since_ptr", "end_ptr")
    ints = dict.fromkeys(names, "*i32")
    stored = blocks.stored if blocks else threshold_graph.PAIRS
    sides = -(-CAPACITY // threshold_graph.PAIRS)
    pairs_decided = sides * (sides + 1) // 2 * threshold_graph.PAIRS**2
    yield Program(
        threshold_graph.candidates_kernel,
        case.name,
        {**graph, "tiles": lines.tiles, "limit": 99_991, "sides": 8},
        {"STORED": stored, "BOUNDED": blocks is not None, "PAIRS": threshold_graph.PAIRS},
        {"mean_ptr": "*u8", **ints},
        threshold_graph.WARPS,
        f"{pairs}x{stored}",
        blocks is not None,
        False,
        168,
        f"{CAPACITY} images from nothing",
        pairs_decided * lines.tiles * stored if blocks else 0,
        CAPACITY * lines.tiles * stored,
    )
    yield Program(
        threshold_graph.verify_kernel,
        case.name,
        {**graph, **tiles, "tiles_per_program": 3, "ssd_max": 2**31 + 1, **where},
        graphs.tile_constants()
        | {"STAGES": config.stages, "PAIRS": threshold_graph.PAIRS, "PACKED_XOR": True},
        {"x_ptr": "*u8", **ints},
        config.warps,
        f"{pairs}x{config.block_k}",
        True,
        lines.align >= 4,
        255,
        f"{CAPACITY} images, no pair ruled out before",
        pairs_decided * lines.tiles * graphs.segments[0] * graphs.segments[1],
        CAPACITY * case.image_bytes,
    )
    if case is CASES[0]:
        yield Program(
            threshold_graph.degrees_kernel,
            "500 images",
            {"rows": SLOTS * CAPACITY, "words": graphs.words},
            {"ROWS": 64, "WORDS": triton.next_power_of_2(graphs.words)},
            {"bits_ptr": "*i32", "degree_ptr": "*i32"},
            threshold_graph.WARPS,
            f"64x{graphs.words}",
            False,
            False,
            64,
            f"{SLOTS} prompts",
            0,
            4 * SLOTS * CAPACITY * graphs.words,
        )


def _nearest(name: str, d: int, k: int) -> Program:
    kept, block_k = knn.kept_for(k), knn.block_k_for(16)
    segment, segments = raster.segments(d, block_k)
    return Program(
        knn.knn_kernel,
        name,
        {
            "queries": QUERIES,
            "rows": ROWS,
            "rows_per_part": 3200,
            "shift": 17,
            "q_stride": d // 16,
            "c_stride": d // 16,
        },
        knn.constants(d, 16, segment, segments, block_k, kept) | {"PACKED_XOR": True},
        {"q_ptr": "*u8", "c_ptr": "*u8", "q_norm_ptr": "*i32", "c_norm_ptr": "*i32", "key_ptr": "*i64"},
        knn.warps_for(kept),
        f"{knn.QUERIES}x{kept}x{block_k}",
        True,
        True,
        255,
        f"{QUERIES:,} queries x {ROWS:,} rows; sorting left out",
        -(-QUERIES // knn.QUERIES) * knn.QUERIES * -(-ROWS // kept) * kept * segment * segments,
        (QUERIES + ROWS) * d,
    )
