"""What is compiled ahead of time: each kernel, with the arguments of launches that represent its configurations."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import torch
import triton

from memcore_kernels import graph_kernels, intake, knn, memory_layout, threshold_graph
from memcore_kernels.plan import Channels, Launch, plan
from memcore_kernels.proof.program import Program, image_types, plain, shared_limit
from memcore_kernels.tile_blocks import NORM_ROWS, NORM_WARPS, tile_norms_kernel
from memcore_kernels.tiled_l2 import tiled_l2_kernel


@dataclasses.dataclass(frozen=True)
class Case:
    """A shape that represents a configuration: n images (height, width, channels), tiles in pixels."""

    name: str
    n: int
    size: tuple[int, int, int]
    tile: tuple[int, int]
    channels: Channels = "last"
    m: int | None = None

    @property
    def image_bytes(self) -> int:
        """Bytes of one image."""
        return math.prod(self.size)

    def launch(self, capability: tuple[int, int]) -> Launch:
        """Return the launch that ``tiled_l2_ssd`` would make, planned from tensors without data."""
        height, width, channel_count = self.size
        last = self.channels == "last"
        image = (height, width, channel_count) if last else (channel_count, height, width)
        images = torch.empty(self.n, *image, dtype=torch.uint8, device="meta")
        other = None if self.m is None else torch.empty(self.m, *image, dtype=torch.uint8, device="meta")
        return plan(images, other, self.tile, self.channels, capability)[1]


CASES = (
    Case("512 px, interleaved", 500, (512, 512, 3), (128, 128)),
    Case("512 px, planes", 500, (512, 512, 3), (128, 128), "first"),
    Case("512 px, N <= 64", 64, (512, 512, 3), (128, 128)),
    Case("512 px, N x M", 500, (512, 512, 3), (128, 128), m=1000),
    Case("1024 px, 64-bit sums", 500, (1024, 1024, 3), (256, 256)),
    Case("1024 px, N <= 64", 64, (1024, 1024, 3), (256, 256)),
    Case("256 px, gray, lines of 64", 500, (256, 256, 1), (64, 64)),
    Case("160 px, lines of 120", 500, (160, 160, 3), (40, 40)),
    Case("32 px, lines of 24", 500, (32, 32, 3), (8, 8)),
    Case("32 px, N <= 64", 64, (32, 32, 3), (8, 8)),
    Case("300 px, lines of 4 n, tail", 500, (300, 400, 3), (75, 100)),
    Case("300 px, lines of 4 n, 64-bit sums", 500, (300, 400, 3), (300, 100)),
    Case("250 px, odd lines, tail", 500, (250, 250, 3), (125, 125)),
    Case("250 px, odd lines, 64-bit sums", 500, (500, 250, 3), (500, 125)),
)

#: Shapes of graphs: a case of the dense kernel, and the name of the configuration that it represents here.
GRAPH_CASES = tuple(
    (next(case for case in CASES if case.name == name), name.replace(", 64-bit sums", ", several segments"))
    for name in (
        "512 px, interleaved",
        "1024 px, 64-bit sums",
        "32 px, lines of 24",
        "250 px, odd lines, tail",
    )
)
#: Nearest rows: the name of the configuration, bytes of a row, k.
NEAREST = (
    ("rows of 3,072 bytes, k = 1", 3072, 1),
    ("rows of 3,072 bytes, k = 50", 3072, 50),
    ("rows of 3,072 bytes, k = 128", 3072, 128),
    ("rows of 3,600 bytes, k = 10", 3600, 10),
    ("rows of 3,604 bytes, k = 10", 3604, 10),
    ("rows of 3,075 bytes, k = 10", 3075, 10),
    ("rows of 786,432 bytes, k = 50", 786_432, 50),
    ("rows of 786,432 bytes, k = 128", 786_432, 128),
)
QUERIES = 1001
ROWS = 50_001
#: Capacity and slots of the graphs that represent an audit: the paper's 500 images a prompt.
CAPACITY = 500
SLOTS = 64
#: Multiprocessors of the device that launches are shared out for, an H100, and tiles of a work item of ``verify_kernel``.
MULTIPROCESSORS = 132
TILES_AN_ITEM = 3
#: Images of a batch that the graphs take in.
NEW_IMAGES = 64


def programs(architecture: int) -> Iterator[Program]:
    """Yield all of them, once each, as launched on a device of this compute capability: 80, 90 or 100."""
    capability = (architecture // 10, architecture % 10)
    yield from _dense(capability)
    yield from _norms(capability)
    for case, name in GRAPH_CASES:
        yield from _graph(case, name, _graphs(case, 2**31, capability), capability)
    case, name = GRAPH_CASES[1]
    yield _verify(case, f"{name}, threshold above 2^32", _graphs(case, 2**33, capability), capability)
    case, name = GRAPH_CASES[0]
    yield _verify(case, f"{name}, N <= 64", _graphs(case, 2**31, capability, 64), capability)
    for name, d, k in NEAREST:
        yield _nearest(name, d, k, capability)


def _dense(capability: tuple[int, int]) -> Iterator[Program]:
    for case in CASES:
        launch = case.launch(capability)
        config = launch.config
        m, n, k = config.block_m, config.block_n, config.block_k
        yield Program(
            kernel=tiled_l2_kernel,
            case=case.name,
            arguments=launch.arguments,
            constants=launch.constants | {"PACKED_XOR": True},
            pointers=image_types(("a", "b"), (m, n), k, config.tma)
            | {"a_norm_ptr": "*i32", "b_norm_ptr": "*i32", "out_ptr": "*u32" if launch.narrow else "*i64"},
            warps=config.warps,
            block=f"{m}x{n}x{k}",
            multiplies=True,
            copies=launch.lines.align >= 4,
            tma=config.tma,
            step_bytes=(m if config.gram else m + n) * k,
            step_multiply_adds=m * n * k,
            max_registers=255,
            max_shared_bytes=shared_limit(capability),
            work=f"{launch.n} x {launch.m} images" if case.m else f"{launch.n} images",
            programs=launch.programs,
            multiply_adds=_multiply_adds(launch),
            memory_bytes=case.image_bytes * (launch.n + (case.m or 0)) + 4 * launch.n * launch.m,
        )


def _norms(capability: tuple[int, int]) -> Iterator[Program]:
    seen = []
    for case in CASES:
        launch = case.launch(capability)
        if launch.norm_constants in seen or launch.config.gram:
            continue
        seen.append(launch.norm_constants)
        yield plain(
            tile_norms_kernel,
            case.name,
            launch.norm_arguments(0) | {"norm_stride": launch.padded[0]},
            launch.norm_constants,
            {"x_ptr": "*u8", "norm_ptr": "*i32"},
            NORM_WARPS,
            f"{NORM_ROWS}x{launch.config.block_k}",
            64,
            f"{launch.n} images",
            launch.norm_programs(0),
            case.image_bytes * launch.n,
        )


def _multiply_adds(launch: Launch) -> int:
    """Return the multiply-adds of all programs, with what is past the last image and the last byte of a tile."""
    config, constants = launch.config, launch.constants
    tile_bytes = constants["SEGMENT"] * constants["SEGMENTS"]
    return (
        launch.block_pairs * config.block_m * config.block_n * launch.lines.tiles * tile_bytes * launch.batch
    )


def _graphs(
    case: Case, ssd_max: int, capability: tuple[int, int], capacity: int = CAPACITY
) -> threshold_graph.DeviceGraphs:
    return threshold_graph.DeviceGraphs(
        SLOTS, capacity, case.size, tile=case.tile, ssd_max=ssd_max, device="meta", capability=capability
    )


def _graph(
    case: Case, name: str, graphs: threshold_graph.DeviceGraphs, capability: tuple[int, int]
) -> Iterator[Program]:
    """Yield the three launches of ``threshold_graph``, and the degrees."""
    lines, blocks, config = graphs.lines, graphs.blocks, graphs.config
    yield _intake(case, name, graphs)
    graph = {"capacity": CAPACITY, "words": graphs.words}
    names = ("spread_ptr", "bits_ptr", "list_ptr", "count_ptr")
    ints = dict.fromkeys(names, "*i32") | {"prompt_ptr": "*i64"}
    side = config.pairs
    stored = blocks.stored if blocks else side
    sides = -(-CAPACITY // side)
    pairs_decided = sides * (sides + 1) // 2 * side**2
    yield Program(
        kernel=graph_kernels.candidates_kernel,
        case=name,
        arguments={
            **graph,
            "tiles": lines.tiles,
            "limit": 99_991,
            "spread_stride": graphs.spreads.shape[-1],
            "sides": sides,
        },
        constants={"STORED": stored, "BOUNDED": blocks is not None, "PAIRS": side},
        pointers={"mean_ptr": "*u8", **ints},
        warps=threshold_graph.candidate_warps(side),
        block=f"{side}x{side}x{stored}",
        multiplies=blocks is not None,
        copies=False,
        tma=False,
        step_bytes=2 * side * stored,
        step_multiply_adds=side * side * stored,
        max_registers=255,
        max_shared_bytes=shared_limit((8, 0)),
        work=f"{CAPACITY} images from nothing",
        programs=sides * sides,
        multiply_adds=pairs_decided * lines.tiles * stored if blocks else 0,
        memory_bytes=CAPACITY * lines.tiles * (stored + 4),
    )
    yield _verify(case, name, graphs, capability)
    if case is CASES[0]:
        yield plain(
            graph_kernels.degrees_kernel,
            "500 images",
            {"rows": SLOTS * CAPACITY, "words": graphs.words},
            {"ROWS": 64, "WORDS": triton.next_power_of_2(graphs.words)},
            {"bits_ptr": "*i32", "degree_ptr": "*i32"},
            threshold_graph.WARPS,
            f"64x{graphs.words}",
            64,
            f"{SLOTS} prompts",
            -(-SLOTS * CAPACITY // 64),
            4 * SLOTS * CAPACITY * graphs.words,
        )


def _intake(case: Case, name: str, graphs: threshold_graph.DeviceGraphs) -> Program:
    """Return the launch that takes 64 new images in."""
    lines, blocks, take = graphs.lines, graphs.blocks, graphs.intake
    new = torch.empty(NEW_IMAGES, *case.size, dtype=torch.uint8, device="meta")
    element = "*i32" if take.word == 4 else "*u8"
    pointers = {"source_ptr": element, "image_ptr": element, "norm_ptr": "*i32", "position_ptr": "*i64"}
    arguments = {
        "count": NEW_IMAGES,
        "tiles": lines.tiles,
        "tiles_x": lines.tiles_x,
        "norm_stride": graphs.norms.shape[-1],
        **take.strides(take.rows_of(new)),
        "image_stride": lines.strides[0][1],
        "row_stride": lines.strides[0][3],
    }
    stored = 0
    if blocks is not None:
        pointers |= {"mean_ptr": "*u8", "spread_ptr": "*i32"}
        arguments |= {"spread_stride": graphs.spreads.shape[-1]}
        stored = blocks.stored + 4
    return plain(
        intake.intake_kernel if blocks else intake.intake_lines_kernel,
        name,
        arguments,
        take.constants | {"PACKED": True},
        pointers | {"listed_ptr": "*i32"},
        intake.WARPS,
        f"{take.images}x{take.down}x{blocks.rows}x{blocks.width}" if blocks else f"{take.images} lines",
        # Four programs a multiprocessor; three where every byte has an address of its own.
        128 if take.word == 4 else 168,
        f"{NEW_IMAGES} new images",
        take.programs(NEW_IMAGES),
        NEW_IMAGES * (2 * case.image_bytes + lines.tiles * (stored + 4 * graphs.segments[1])),
    )


def _verify(
    case: Case, name: str, graphs: threshold_graph.DeviceGraphs, capability: tuple[int, int]
) -> Program:
    lines, config, side = graphs.lines, graphs.config, graphs.config.pairs
    _, image, plane, row = lines.strides[0]
    sides = -(-graphs.capacity // side)
    names = ("norm_ptr", "bits_ptr", "list_ptr", "count_ptr")
    arguments = {
        "pages": sides,
        "capacity": graphs.capacity,
        "words": graphs.words,
        "tiles": lines.tiles,
        "tiles_x": lines.tiles_x,
        "tiles_per_program": TILES_AN_ITEM,
        "ssd_max": graphs.ssd_max + 1,
        "norm_stride": graphs.norms.shape[-1],
        "image_stride": image,
        "plane_stride": plane,
        "row_stride": row,
    }
    return Program(
        kernel=graph_kernels.verify_kernel,
        case=name,
        arguments=arguments,
        constants=graphs.tile_constants()
        | {
            "STAGES": config.stages,
            "PAIRS": side,
            "SATURATED": config.saturated,
            "TMA": config.tma,
            "PACKED_XOR": True,
        },
        pointers=image_types(("x",), (side,), config.block_k, config.tma)
        | dict.fromkeys(names, "*i32")
        | {"prompt_ptr": "*i64", "page_ptr": "*i64"},
        warps=config.warps,
        block=f"{side}x{side}x{config.block_k}",
        multiplies=True,
        copies=lines.align >= 4,
        tma=config.tma,
        step_bytes=2 * side * config.block_k,
        step_multiply_adds=side * side * config.block_k,
        max_registers=255,
        max_shared_bytes=shared_limit(capability),
        work=f"{graphs.capacity} images, no pair ruled out before",
        programs=min(
            threshold_graph.PROGRAMS * MULTIPROCESSORS,
            sides * (sides + 1) // 2 * -(-lines.tiles // TILES_AN_ITEM),
        ),
        multiply_adds=sides
        * (sides + 1)
        // 2
        * side**2
        * lines.tiles
        * graphs.segments[0]
        * graphs.segments[1],
        memory_bytes=graphs.capacity * case.image_bytes,
    )


def _nearest(name: str, d: int, k: int, capability: tuple[int, int]) -> Program:
    kept, align = knn.kept_for(k), math.gcd(16, d)
    tma = bool(knn.describe(d, align, (QUERIES, ROWS), (d, d), capability))
    config = knn.choose_config(kept, align, d > memory_layout.MAX_SEGMENT_BYTES, tma, capability)
    constants = knn.constants(d, align, kept, config, tma)
    m, n, block_k = config.queries, config.columns, config.block_k
    padded = constants["SEGMENT"] * constants["SEGMENTS"]
    query_blocks = -(-QUERIES // m)
    parts, rows_per_part = knn.share_out(ROWS, query_blocks, n, MULTIPROCESSORS)
    return Program(
        kernel=knn.knn_kernel,
        case=name,
        arguments={
            "queries": QUERIES,
            "rows": ROWS,
            "rows_per_part": rows_per_part,
            "shift": 17,
            "q_norm_stride": 1024,
            "c_norm_stride": 50_048,
            "q_stride": d // align,
            "c_stride": d // align,
        },
        constants=constants | {"PACKED_XOR": True},
        pointers=image_types(("q", "c"), (m, n), block_k, tma)
        | {"q_norm_ptr": "*i32", "c_norm_ptr": "*i32", "key_ptr": "*i64"},
        warps=config.warps,
        block=f"{m}x{n}x{block_k}",
        multiplies=True,
        copies=align >= 4,
        tma=tma,
        step_bytes=(m + n) * block_k,
        step_multiply_adds=m * n * block_k,
        max_registers=255,
        max_shared_bytes=shared_limit(capability),
        work=f"{QUERIES:,} queries x {ROWS:,} rows",
        programs=query_blocks * parts,
        multiply_adds=-(-QUERIES // m) * m * -(-ROWS // n) * n * padded,
        memory_bytes=(QUERIES + ROWS) * d,
        # The worst of 64 to 128 queries decides: kept keys enter about kept * (1 + ln(rows / kept)) times.
        rounds=kept * (1 + math.log(max(1, rows_per_part / kept))),
    )
