"""Lower bounds on the time of each kernel on an H100, from the instructions of its compiled inner loop.

A bound, never a speed: nothing here was measured, and what is outside the inner loop is left out. An iteration of the
loop by one program of w warps, with n instructions a warp, keeps a multiprocessor's units busy for at least

    int8     multiply-adds / 4,096               cycles; the shape of the matrix instruction says how many there are
    issue    w * n / 4                           four schedulers, one instruction a cycle each
    integer  w * 32 * (integer instructions) / 64
    shared   (bytes read or written in shared memory, by lanes and by asynchronous copies) / 128
    L2       (bytes loaded and copied) / 38.8, an assumed rate
    memory   bytes that must come from memory once, of the whole launch, / 3.35 TB/s

Rates: int8, memory: NVIDIA's data sheet of the H100 SXM (1,979 TOPS dense = 132 multiprocessors * 4,096 * 2 * 1.83 GHz).
issue, integer, shared: CUDA C++ programming guide, compute capability 9.0. L2: 5,120 bytes a cycle for all multiprocessors
are what NVIDIA publishes for the A100; for the H100 it publishes none, so this one is an assumption. What the matrix unit
itself reads from shared memory is part of its rate.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from memcore_kernels.proof.compiled_cases import Program, programs

ARCHITECTURE = "sm_90a"
TABLE_START = "<!-- memcore_kernels.proof.roofline -->"
TABLE_END = "<!-- end of roofline -->"

MULTIPROCESSORS = 132
CYCLES_A_SECOND = 1.83e9
MEMORY_BYTES_A_SECOND = 3.35e12
MULTIPLY_ADDS_A_CYCLE = 4096
INSTRUCTIONS_A_CYCLE = 4
INTEGERS_A_CYCLE = 64
SHARED_BYTES_A_CYCLE = 128
L2_BYTES_A_CYCLE = 5120 / MULTIPROCESSORS
#: The share of the better bound that is aimed at.
DESIGN_POINT = 0.6

_IGMMA = re.compile(r"IGMMA\.(\d+)x(\d+)x(\d+)\.")
#: On the 32-bit integer pipe, a lane of a cycle each. Uniform instructions (U...) run once a warp, elsewhere.
_INTEGER = (
    "IMAD",
    "IADD",
    "VIADD",
    "LOP",
    "SHF",
    "LEA",
    "ISETP",
    "SEL",
    "PRMT",
    "IABS",
    "VIMNMX",
    "IMNMX",
    "IDP",
    "I2I",
)
_GLOBAL = ("LDG",)
_SHARED = ("LDS", "STS")
#: What they load they also write to shared memory.
_ASYNCHRONOUS = ("LDGSTS",)
_BITS = re.compile(r"\.[US]?(8|16|32|64|128)(?=\.|$)")


@dataclasses.dataclass(frozen=True)
class Bound:
    """Milliseconds of each unit at least, for a whole launch."""

    int8: float
    memory: float
    issue: float
    integer: float
    shared: float
    l2: float

    @property
    def binds(self) -> str:
        """The unit that needs longest."""
        return max(dataclasses.asdict(self).items(), key=lambda item: item[1])[0]

    @property
    def share(self) -> float:
        """Share of the better of the int8 and the memory bound: 1 where nothing else is in the way."""
        longest: float = max(dataclasses.astuple(self))
        return max(self.int8, self.memory) / longest


def loop_multiply_adds(loop: Mapping[str, int], warps: int) -> int:
    """Return the multiply-adds of a program's iteration on sm_90a, where four warps issue one matrix instruction together.

    >>> loop_multiply_adds({"IGMMA.64x64x32.S8.S8": 4, "BRA": 1}, warps=8)
    1048576
    """
    total = 0
    for name, count in loop.items():
        if found := _IGMMA.match(name):
            m, n, k = map(int, found.groups())
            total += m * n * k * count * warps // 4
    return total


def lane_bytes(loop: Mapping[str, int], prefixes: tuple[str, ...]) -> int:
    """Return the bytes that one lane moves in an iteration, by instructions with these prefixes.

    >>> lane_bytes({"LDG.E.128": 2, "LDG.E.U8": 1, "LDG.E": 1, "LDGSTS.E.BYPASS.128": 1}, ("LDG",))
    53
    >>> lane_bytes({"LDSM.16.M88.4": 1, "LDS": 1, "STS.64": 1}, ("LDS", "STS"))
    28
    """
    total = 0
    for name, count in loop.items():
        if not name.startswith(prefixes) or name in ("LDGDEPBAR",):
            continue
        if name.startswith("LDSM"):  # matrices of 8 x 8 x 16 bits, 4 bytes a lane each
            width = 4 * int(name.rsplit(".", 1)[1]) if name[-1].isdigit() else 4
        else:
            bits = _BITS.findall(name)
            width = int(bits[-1]) // 8 if bits else 4
        total += width * count
    return total


def bound(program: Program, loop: Mapping[str, int]) -> Bound | None:
    """Return the bound of the launch that ``program`` represents; None where its loop moves nothing that is counted."""
    loaded: float = lane_bytes(loop, _GLOBAL) * 32 * program.warps
    an_iteration = loop_multiply_adds(loop, program.warps) if program.multiplies else loaded
    if not an_iteration:
        return None
    iterations = (program.multiply_adds if program.multiplies else program.memory_bytes) / an_iteration
    integers = sum(n for name, n in loop.items() if name.startswith(_INTEGER))
    copied: float = lane_bytes(loop, _ASYNCHRONOUS) * 32 * program.warps
    if program.tma:  # its instruction does not say how many bytes
        fetched = program.step_bytes * an_iteration / program.step_multiply_adds
        loaded += fetched
        copied += fetched
    shared = lane_bytes(loop, _SHARED) * 32 * program.warps + copied

    def milliseconds(cycles: float) -> float:
        return 1000 * iterations * cycles / (MULTIPROCESSORS * CYCLES_A_SECOND)

    return Bound(
        int8=1000 * program.multiply_adds / (MULTIPLY_ADDS_A_CYCLE * MULTIPROCESSORS * CYCLES_A_SECOND),
        memory=1000 * program.memory_bytes / MEMORY_BYTES_A_SECOND,
        issue=milliseconds(program.warps * sum(loop.values()) / INSTRUCTIONS_A_CYCLE),
        integer=milliseconds(program.warps * 32 * integers / INTEGERS_A_CYCLE),
        shared=milliseconds(shared / SHARED_BYTES_A_CYCLE),
        l2=milliseconds(loaded / L2_BYTES_A_CYCLE),
    )


def markdown(loops: Mapping[tuple[str, str], Mapping[str, int]]) -> str:
    """Return the table of docs/kernels.md, from the inner loops of (kernel, case) on sm_90a."""
    columns = (
        "kernel",
        "case",
        "work",
        *(f.name for f in dataclasses.fields(Bound)),
        "binds",
        "share",
        ">= 60 %",
    )
    lines = [
        "Lower bounds in milliseconds, H100 SXM, by instruction counts of the inner loop; not measured:",
        "",
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
    ]
    for program in programs(int(re.sub(r"\D", "", ARCHITECTURE))):
        name = program.kernel.__name__
        limits = bound(program, loops.get((name, program.case), {}))
        if limits is None:
            cells = [""] * 6 + ["no loop that loads", "", ""]
        else:
            met = "yes" if limits.share >= DESIGN_POINT else "no"
            values = [f"{value:.3g}" for value in dataclasses.astuple(limits)]
            cells = [*values, limits.binds, f"{limits.share:.0%}", met]
        lines.append(f"| {' | '.join((name.removesuffix('_kernel'), program.case, program.work, *cells))} |")
    return "\n".join(lines)
