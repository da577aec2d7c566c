"""The Triton kernels without a GPU: under the interpreter, compiled ahead of time, and their wrong calls."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import itertools
import os
import pkgutil
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memcore.backends import gpu, reference

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")
memcore_kernels = importlib.import_module("memcore_kernels")
plan = importlib.import_module("memcore_kernels.plan")
programs = importlib.import_module("memcore_kernels.proof.compiled_cases")
machine_code = importlib.import_module("memcore_kernels.proof.machine_code")
roofline = importlib.import_module("memcore_kernels.proof.roofline")

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "tests" / "machine_code.jsonl"
WRITE = "--record tests/machine_code.jsonl --write docs/kernels.md"
#: The dense kernel on the paper's images, by pointers and by tensor descriptors.
PAPER = next(programs.programs(80))
PAPER_TMA = next(programs.programs(90))
NO_GPU = not torch.cuda.is_available()


def run_python(*arguments: str, **environment: str) -> str:
    """Output of a fresh process in the repository: TRITON_INTERPRET is as wanted before the import."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("TRITON_", "PYTEST_"))}
    command, variables = [sys.executable, *arguments], inherited | environment
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_under_the_interpreter() -> None:
    output = run_python(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/kernels/interpreted", TRITON_INTERPRET="1"
    )
    assert " passed" in output
    assert " skipped" not in output


@pytest.fixture(scope="module")
def compiled() -> list[Any]:
    """Every configuration's machine code, for all three architectures.

    What was compiled from the same text by the same compiler is in the record, which ``.ci/run`` compiles again and
    compares; what does not is compiled here, some seconds each.
    """
    done: list[Any] = machine_code.compile_all(
        list(machine_code.ARCHITECTURES), machine_code.recorded(RECORD)
    )
    return done


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90a", "sm_100a"])
def test_machine_code(architecture: str, compiled: list[Any]) -> None:
    """int8 matrix instructions, asynchronous copies, no spills, registers and shared memory within bounds."""
    rows = {(r.kernel, r.case): r for r in compiled if r.architecture == architecture}
    prefixes = {
        "sm_80": "IMMA.16832.S8.S8",
        "sm_90a": "IGMMA.64x",
        "sm_100a": ("UTCIMMA", "IMMA.16832.S8.S8"),
    }
    number = {name: number for number, name in machine_code.ARCHITECTURES.items()}[architecture]
    wanted = {(p.kernel.__name__, p.case): p for p in programs.programs(number)}
    assert set(rows) == set(wanted)
    for name, program in wanted.items():
        row = rows[name]
        assert bool(row.matrix_instructions) == program.multiplies, row
        for instruction in row.matrix_instructions:
            assert instruction.startswith(prefixes[architecture]), row
            assert ".S8.S8" in instruction or instruction.startswith("UTCIMMA"), row
        assert (row.loop_matrix_instructions > 0) == program.multiplies, row
        assert row.stack_bytes == row.spills == 0, row
        assert row.registers <= program.max_registers, row
        assert row.shared_bytes <= program.max_shared_bytes, row
        assert (row.async_copies > 0) >= program.copies, row
        assert (row.tma_copies > 0) == program.tma, row  # UTMALDG


@pytest.mark.slow
def test_the_record_is_what_the_compiler_makes() -> None:
    """Of a few programs here, of all in ``.ci/run``; where another compiler is installed, there is no record of it."""
    if not any(
        row.digest == machine_code.digest(PAPER, row.architecture) for row in machine_code.recorded(RECORD)
    ):
        pytest.skip(f"the record is not of Triton {triton.__version__}; everything was compiled instead")
    for architecture, name in machine_code.ARCHITECTURES.items():
        program = next(programs.programs(architecture))
        assert machine_code.inspect(program, architecture) in machine_code.recorded(RECORD), name


@pytest.mark.slow
def test_bytes_are_flipped_four_at_a_time(compiled: list[Any]) -> None:
    """Unpacked, the loop of sm_80 has some 30 instructions to a matrix instruction, not 6."""
    row = next(r for r in compiled if r.architecture == "sm_80" and r.case == programs.CASES[0].name)
    assert row.loop_instructions <= 8 * row.loop_matrix_instructions


@pytest.mark.slow
def test_the_documentation_shows_this_machine_code(compiled: list[Any], tmp_path: Path) -> None:
    """Both tables are what the script writes; with another Triton, every program has its row."""
    page = (ROOT / "docs" / "kernels.md").read_text()
    if f"Triton {triton.__version__}:" in page:
        again = tmp_path / "kernels.md"
        again.write_text(page)
        machine_code.write_tables(again, compiled)
        assert again.read_text() == page, "run python -m memcore_kernels.proof.machine_code " + WRITE
    for row in compiled:
        first_cells = " | ".join(
            machine_code.markdown_row(row).split(" | ")[:5]
        )  # kernel, case, architecture, block, warps
        assert first_cells in page, "run python -m memcore_kernels.proof.machine_code " + WRITE


def test_the_digest_follows_the_code_and_not_its_comments() -> None:
    digest = importlib.import_module("memcore_kernels.proof.digest")
    assert digest.digest(PAPER, "sm_80") != digest.digest(PAPER, "sm_90a")
    assert digest.digest(PAPER, "sm_80") != digest.digest(dataclasses.replace(PAPER, warps=4), "sm_80")
    texts = digest._texts(PAPER.kernel, {})
    assert {"tiled_l2_kernel", "tile_ssd", "flip", "load_block", "_triangle"} <= set(texts)
    assert "One program" not in texts["tiled_l2_kernel"]


def code(loop: dict[str, int], registers: int = 64, shared_bytes: int = 0) -> Any:
    return types.SimpleNamespace(loop=loop, registers=registers, shared_bytes=shared_bytes)


def test_bounds_of_a_known_loop() -> None:
    """Arithmetic of the roofline, by hand: 4 matrix instructions of 64 x 64 x 32, two groups of warps."""
    loop = {
        "IGMMA.64x64x32.S8.S8": 4,
        "LDGSTS.E.BYPASS.128": 6,
        "LDS.128": 2,
        "LOP3.LUT": 28,
        "BAR.SYNC": 2,
        "BRA": 58,
    }
    work = dataclasses.replace(
        PAPER, multiply_adds=132 * 1_048_576 * 1000, memory_bytes=3_350_000, programs=132
    )
    found = roofline.bound(work, code(loop))
    second = 1000 / 1.83e9  # 1,000 iterations of each multiprocessor, in seconds a cycle
    l2 = 5.5e12 / 132 / 1.83e9
    assert found.memory == pytest.approx(1e-3)
    assert found.int8 == pytest.approx(1000 * 256 * second)
    assert found.issue == pytest.approx(1000 * 8 * 100 / 4 * second)
    assert found.integer == pytest.approx(1000 * 8 * 28 / 2 * second)
    assert found.shared == pytest.approx(1000 * 8 * 32 * (6 + 2) * 16 / 128 * second)
    assert found.l2 == pytest.approx(1000 * 8 * 32 * 96 / l2 * second)
    # Products, then the instructions (200 cycles, its lanes' shared memory takes 64), then two barriers of 30.
    assert found.serial == pytest.approx(1000 * (256 + 200 + 60) * second)
    assert (found.binds, found.waves, found.resident) == ("l2", 1, 4)
    assert found.share == pytest.approx(found.int8 / found.l2)
    assert roofline.bound(work, code({"BRA": 1})) is None
    # The copy engine's instruction does not say how many bytes: a step of this kernel has 128 + 128 rows of 128.
    by_engine = dataclasses.replace(
        PAPER_TMA, multiply_adds=132 * 2_097_152 * 1000, memory_bytes=3_350_000, programs=132
    )
    found = roofline.bound(by_engine, code({"IGMMA.64x128x32.S8.S8": 4, "UTMALDG.5D": 2, "LDS.128": 2}))
    assert found.l2 == pytest.approx(1000 * 32_768 / l2 * second)
    assert found.shared == pytest.approx(1000 * (32_768 + 8 * 32 * 32) / 128 * second)
    assert found.int8 == pytest.approx(1000 * 512 * second)


def test_bounds_do_not_flatter() -> None:
    """Too few programs, one more than fits, steps that wait and selection all cost their time."""
    loop = {"IGMMA.64x128x32.S8.S8": 4, "UTMALDG.5D": 2, "LDS.128": 2}
    work = dataclasses.replace(PAPER_TMA, multiply_adds=132 * 2_097_152 * 1000, memory_bytes=1, programs=132)
    whole = roofline.bound(work, code(loop, 250))
    few = roofline.bound(dataclasses.replace(work, programs=16), code(loop, 250))
    assert few.int8 == pytest.approx(whole.int8 * 132 / 16)
    assert few.share < 16 / 132
    one_more = roofline.bound(dataclasses.replace(work, programs=133), code(loop, 250))
    assert (whole.waves, one_more.waves) == (1, 2)
    assert one_more.int8 == pytest.approx(whole.int8 * 264 / 133)
    assert one_more.serial == pytest.approx(whole.serial * 264 / 133)
    waiting = roofline.bound(work, code(loop | {"BAR.SYNC.DEFER_BLOCKING": 40}, 250))
    assert waiting.binds == "serial"
    assert waiting.share < whole.share
    selecting = roofline.bound(dataclasses.replace(work, rounds=10_000), code(loop, 250))
    assert selecting.select == pytest.approx(10_000 * 3 * 128 * 128 / 128 / 1.83e6)
    assert selecting.share < whole.share
    assert (roofline.resident_programs(8, 255, 0), roofline.resident_programs(4, 32, 100_000)) == (1, 2)


def test_the_shape_tables() -> None:
    """By shape and compute capability: who reads by descriptors, what is one block, how large blocks are."""
    cases = {case.name: case for case in programs.CASES}

    def config(name: str, *capability: int) -> Any:
        return cases[name].launch(capability).config

    paper = config("512 px, interleaved", 9, 0)
    assert (paper.tma, paper.gram, paper.block_m, paper.block_n, paper.block_k) == (
        True,
        False,
        128,
        128,
        128,
    )
    assert config("512 px, interleaved", 8, 0) == dataclasses.replace(paper, tma=False)
    assert config("512 px, N x M", 9, 0) == paper
    assert config("512 px, N <= 64", 9, 0).gram
    assert config("512 px, N <= 64", 8, 0).gram
    assert config("1024 px, 64-bit sums", 9, 0).block_n == 128
    # Sums of 64 bits of a large block would need 128 KiB of shared memory, which these do not have.
    for capability in ((8, 0), (10, 0), (12, 0)):
        assert config("1024 px, 64-bit sums", *capability).block_n == 64
    for name, case in cases.items():
        described = case.launch((9, 0)).config.tma
        assert described == (name.startswith(("512 px", "1024 px", "256 px"))), name
        assert not case.launch((8, 9)).config.tma, name


@pytest.mark.parametrize(
    ("name", "view", "described"),
    [
        ("as it comes", lambda x: x, True),
        ("every second image", lambda x: x[::2, 1::2], True),
        ("a crop at 16 bytes", lambda x: x[..., 16:144, 16:144], True),
        ("a crop at 8 bytes", lambda x: x[..., 8:136], False),
        ("lines of 32 bytes", lambda x: x[..., :64], False),
        ("one image for all", lambda x: x[:, :1].expand(-1, 6, -1, -1, -1), False),
        ("rows 250 bytes apart", lambda x: x.flatten(-2)[..., :40_000].unflatten(-1, (160, 250))[..., :128], False),
        ("planes further apart than images", lambda x: x.permute(2, 0, 1, 3, 4).contiguous().permute(1, 2, 0, 3, 4), False),
    ],
)  # fmt: skip
def test_what_the_copy_engine_can_read(name: str, view: Any, described: bool) -> None:
    """Strides that are multiples of 16 and of one another; lines of whole blocks; else the pointers."""
    whole = torch.zeros(2, 6, 3, 160, 256, dtype=torch.uint8)
    images = view(whole)
    tile = (images.shape[-2] // 2, images.shape[-1] // 2)
    launch = plan.plan(images, None, tile, "first", (9, 0))[1]
    assert launch.config.tma == described, launch.lines
    if launch.config.tma:
        for layout in launch.layouts:
            assert all(0 < stride < 2**40 and stride % 16 == 0 for stride in layout.strides[:-1])
            assert all(a % b == 0 for a, b in itertools.pairwise(layout.strides))


def test_a_launch_passes_what_was_compiled() -> None:
    """The type of a descriptor ahead of time is the one that Triton makes of it at a launch."""
    tile_blocks = importlib.import_module("memcore_kernels.tile_blocks")
    images = torch.zeros(2, 66, 128, 128, 3, dtype=torch.uint8)
    (operand,), launch = plan.plan(images, None, (128, 128), "last", (9, 0))
    config = launch.config
    made = tile_blocks.descriptor(operand, launch.layouts[0], config.block_m, config.block_k)
    assert triton.runtime.jit.mangle_type(made) == PAPER_TMA.pointers["a"]
    assert (made.shape, made.strides) == ([2, 66, 1, 128, 384], [3_244_032, 49_152, 49_152 // 128, 384, 1])


def test_descriptors_keep_to_the_limits_of_the_copy_engine() -> None:
    """Boxes of at most 256 entries a dimension, 16 to 128 bytes of a line."""
    for architecture in (90, 100):
        for program in programs.programs(architecture):
            boxes = [x for x in program.pointers.values() if x.startswith("tensordesc")]
            assert bool(boxes) == program.tma, program.case
            for box in boxes:
                *_, rows, planes, lines, line = map(int, re.findall(r"\d+", box.partition("[")[2]))
                assert (planes, lines) == (1, 1)
                assert 1 <= rows <= 256
                assert 16 <= line <= 128


@pytest.mark.parametrize(
    "name", [module.name for module in pkgutil.walk_packages(memcore_kernels.__path__, "memcore_kernels.")]
)
def test_docstrings(name: str) -> None:
    """Examples in docstrings hold. Those of the former names are their modules'."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_the_former_names_still_work() -> None:
    former = importlib.import_module("memcore_kernels.programs")
    assert former.CASES is programs.CASES
    former = importlib.import_module("memcore_kernels.raster")
    assert former.describe is importlib.import_module("memcore_kernels.memory_layout").describe
    assert importlib.import_module("memcore_kernels.report").main is machine_code.main


def test_the_kernels_know_nothing_of_memcore() -> None:
    run_python("-c", "import sys, memcore_kernels.proof.machine_code; assert 'memcore' not in sys.modules")


IMAGES = torch.zeros(3, 3, 16, 16, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"images": IMAGES.float()}, TypeError, "images must be torch.uint8, got torch.float32"),
        ({"images": IMAGES[0]}, ValueError, r"images must be \(N, C, H, W\) or \(B, N, C, H, W\), got shape"),
        ({"images": IMAGES[:, :0]}, ValueError, "images must not be empty"),
        ({"other": IMAGES.short()}, TypeError, "other must be torch.uint8"),
        ({"other": IMAGES[None]}, ValueError, "other may differ from images in N only"),
        ({"other": IMAGES[..., :8]}, ValueError, "other may differ from images in N only"),
        ({"other": IMAGES.to("meta")}, ValueError, "other must be on the device of images, cpu, got meta"),
        ({"tile": (5, 4)}, ValueError, r"tile must divide the images' height 16 and width 16, got \(5, 4\)"),
        ({"tile": (0, 4)}, ValueError, "tile must divide"),
        ({"channels": "middle"}, ValueError, "channels must be 'first' or 'last', got 'middle'"),
    ],
)
def test_wrong_calls_name_the_argument(changes: dict[str, Any], error: type[Exception], text: str) -> None:
    call = {"images": IMAGES, "other": None, "tile": (4, 4), "channels": "first"} | changes
    with pytest.raises(error, match=text):
        plan.plan(**call)


def test_cpu_tensors_are_refused() -> None:
    from memcore_kernels import tiled_l2_ssd

    with pytest.raises(ValueError, match="images must be on a CUDA device, got cpu"):
        tiled_l2_ssd(IMAGES, tile=(4, 4))


def test_too_many_programs_are_refused() -> None:
    for batch, n in ((2**23, 2000), (2**28, 16)):  # of the pairs, of the norms
        many = torch.empty(1, n, 3, 64, 64, dtype=torch.uint8, device="meta").expand(batch, -1, -1, -1, -1)
        with pytest.raises(ValueError, match=r"images need \d+ programs, more than 2147483647: split them"):
            plan.plan(many, None, (16, 16), "first")


def test_available_says_why_not() -> None:
    answer, reason = gpu.available()
    assert answer != NO_GPU or "capability" in reason
    if NO_GPU:
        assert reason == "torch finds no CUDA device"


def test_edges_within_equals_the_oracle() -> None:
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    images[4:9] = images[4] ^ rng.integers(0, 8, (5, 16, 16, 3), dtype=np.uint8)
    ssd = torch.from_numpy(reference.tiled_l2_ssd(images[None], None, (4, 4))[0].astype(np.int64))
    for ssd_max in (0, 1000, int(ssd.median()), 2**40):
        edges, edge_ssd = gpu.edges_within(ssd, ssd_max)
        expected_edges, expected_ssd = reference.tiled_l2_graph(images, (4, 4), ssd_max)
        assert (edges.dtype, edge_ssd.dtype) == (torch.int32, torch.int64)
        assert edges.tolist() == expected_edges.tolist()
        assert edge_ssd.tolist() == expected_ssd.tolist()
