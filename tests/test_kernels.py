"""The Triton kernels without a GPU: under the interpreter, compiled ahead of time, and their wrong calls."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memcore.backends import gpu, reference

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")
plan = importlib.import_module("memcore_kernels.plan")
programs = importlib.import_module("memcore_kernels.programs")
report = importlib.import_module("memcore_kernels.report")

ROOT = Path(__file__).parent.parent
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
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/gpu_interp", TRITON_INTERPRET="1"
    )
    assert " passed" in output
    assert " skipped" not in output


@pytest.fixture(scope="module")
def machine_code() -> list[dict[str, Any]]:
    """What ``python -m memcore_kernels.report`` says of every configuration on sm_80 and sm_90a."""
    lines = run_python("-m", "memcore_kernels.report", "--arch", "80", "90", "--json").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90a"])
def test_machine_code(architecture: str, machine_code: list[dict[str, Any]]) -> None:
    """int8 matrix instructions, asynchronous copies, no spills, registers and shared memory within bounds."""
    rows = {(r["kernel"], r["case"]): r for r in machine_code if r["architecture"] == architecture}
    prefix = {"sm_80": "IMMA.16832.S8.S8", "sm_90a": "IGMMA.64x"}[architecture]
    wanted = {(p.kernel.__name__, p.case): p for p in programs.programs()}
    assert set(rows) == set(wanted)
    for name, program in wanted.items():
        row = rows[name]
        context = json.dumps(row)
        assert bool(row["matrix_instructions"]) == program.multiplies, context
        for instruction in row["matrix_instructions"]:
            assert instruction.startswith(prefix), context
            assert ".S8.S8" in instruction, context
        assert (row["loop_matrix_instructions"] > 0) == program.multiplies, context
        assert row["stack_bytes"] == row["spills"] == 0, context
        assert row["registers"] <= program.max_registers, context
        assert row["shared_bytes"] <= 99 * 1024, context  # what a block may have on sm_86 and sm_89
        if program.copies:
            assert row["async_copies"] > 0, context


@pytest.mark.slow
def test_bytes_are_flipped_four_at_a_time(machine_code: list[dict[str, Any]]) -> None:
    """Unpacked, the loop of sm_80 has some 30 instructions to a matrix instruction, not 6."""
    row = next(
        r for r in machine_code if r["architecture"] == "sm_80" and r["case"] == programs.CASES[0].name
    )
    assert row["loop_instructions"] <= 8 * row["loop_matrix_instructions"]


@pytest.mark.slow
def test_the_documentation_shows_this_machine_code(machine_code: list[dict[str, Any]]) -> None:
    """Every program has its row; the numbers are compared where the table was written with this Triton."""
    page = (ROOT / "docs" / "kernels.md").read_text()
    same_compiler = f"Triton {triton.__version__}:" in page
    for row in machine_code:
        shown = report.markdown_row(report.MachineCode(**row))
        first_cells = " | ".join(shown.split(" | ")[:5])  # kernel, case, architecture, block, warps
        assert (shown if same_compiler else first_cells) in page, (
            f"run python -m memcore_kernels.report --write docs/kernels.md: {shown}"
        )


def test_the_kernels_know_nothing_of_memcore() -> None:
    run_python("-c", "import sys, memcore_kernels.report; assert 'memcore' not in sys.modules")


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
