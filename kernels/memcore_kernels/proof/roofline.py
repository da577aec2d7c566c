"""Lower bounds on the time of each kernel on an H100, from the instructions of its compiled inner loop.

A bound, never a speed: nothing here was measured. An iteration of the loop by one program of w warps, with n instructions a
warp, keeps a multiprocessor's units busy for at least

    int8     multiply-adds / 4,096               cycles; the shape of the matrix instruction says how many there are
    issue    w * n / 4                           four schedulers, one instruction a cycle each
    integer  w * 32 * (integer instructions) / 64
    shared   (bytes read or written in shared memory, by lanes and by asynchronous copies) / 128
    L2       (bytes loaded and copied) / (L2_BYTES_A_SECOND / multiprocessors / clock), the rate being an assumption

all of it times the unevenness of the launch: with P programs on 132 multiprocessors, the busiest has ceil(P / 132) of them.
Two more bounds do not ask that units overlap or are shared out well:

    serial   the steps of one program that wait for each other, times its iterations, times the waves: of P programs as many
             run at a time as registers, threads and shared memory allow. A step: its products, then what its lanes read
             and write in shared memory or all its other instructions (the longer), then BARRIER_CYCLES a barrier, a fence
             or a wait for a matrix instruction. Triton waits for each int8 product before the next step begins.
    select   rounds of selection (``knn``), each a pass over a block's sums in registers, which the products wait for
    memory   bytes that must come from memory once, of the whole launch, / 3.35 TB/s

Outside the inner loop only selection is counted: not what a program does once, nor the launch itself.

Rates: int8, memory: NVIDIA's data sheet of the H100 SXM (1,979 TOPS dense = 132 multiprocessors * 4,096 * 2 * 1.83 GHz).
issue, integer, shared: CUDA C++ programming guide, compute capability 9.0. L2: NVIDIA publishes none for the H100; published
measurements by others lie at 5.5 to 7 TB/s, and the lower one is taken. What the matrix unit itself reads from shared memory
is part of its rate.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Protocol

from memcore_kernels.proof.compiled_cases import MULTIPROCESSORS, programs
from memcore_kernels.proof.program import Program

ARCHITECTURE = "sm_90a"
TABLE_START = "<!-- memcore_kernels.proof.roofline -->"
TABLE_END = "<!-- end of roofline -->"

CYCLES_A_SECOND = 1.83e9
MEMORY_BYTES_A_SECOND = 3.35e12
MULTIPLY_ADDS_A_CYCLE = 4096
INSTRUCTIONS_A_CYCLE = 4
INTEGERS_A_CYCLE = 64
SHARED_BYTES_A_CYCLE = 128
L2_BYTES_A_SECOND = 5.5e12
L2_BYTES_A_CYCLE = L2_BYTES_A_SECOND / CYCLES_A_SECOND / MULTIPROCESSORS
#: What a barrier of a block, a fence before the copy engine or a wait for a product takes at least: an estimate.
BARRIER_CYCLES = 30
#: What one multiprocessor holds: threads, registers, bytes of shared memory, of which a block takes 1,024 for itself.
THREADS, REGISTERS, SHARED_BYTES = 2048, 65_536, 228 * 1024
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
_STORED = ("STG",)
_WAITS = ("BAR.", "WARPGROUP.DEPBAR", "FENCE", "SYNCS.PHASECHK")
_BITS = re.compile(r"\.[US]?(8|16|32|64|128)(?=\.|$)")


class Compiled(Protocol):
    """What a bound needs to know of machine code: ``machine_code.MachineCode``."""

    @property
    def loop(self) -> Mapping[str, int]:
        """Opcodes of the inner loop, of all of the program where there is none."""

    @property
    def registers(self) -> int:
        """Registers of a thread."""

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block."""


@dataclasses.dataclass(frozen=True)
class Bound:
    """Milliseconds of each unit at least, for a whole launch; ``resident``: programs of a multiprocessor at a time."""

    int8: float
    memory: float
    issue: float
    integer: float
    shared: float
    l2: float
    serial: float
    select: float
    resident: int
    waves: int
    #: The better of products and memory, were all multiprocessors always busy.
    ideal: float

    @property
    def binds(self) -> str:
        """The unit that needs longest; products wait for selection, so that those two are one."""
        return max(self._times.items(), key=lambda item: item[1])[0]

    @property
    def _times(self) -> dict[str, float]:
        names = ("int8", "memory", "issue", "integer", "shared", "l2")
        times = {name: getattr(self, name) for name in names}
        return times | {"serial" if self.serial > self.select else "select": self.serial + self.select}

    @property
    def share(self) -> float:
        """Share of ``ideal`` that is left at most: 1 where nothing else is in the way."""
        return self.ideal / max(self._times.values())


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


def resident_programs(warps: int, registers: int, shared_bytes: int) -> int:
    """Return how many programs a multiprocessor runs at a time.

    >>> resident_programs(8, 150, 81_952), resident_programs(8, 118, 81_952), resident_programs(4, 104, 64)
    (1, 2, 4)
    """
    of_a_warp = -(-registers * 32 // 256) * 256
    return min(
        32, THREADS // (32 * warps), REGISTERS // (of_a_warp * warps), SHARED_BYTES // (shared_bytes + 1024)
    )


def bound(program: Program, code: Compiled) -> Bound | None:
    """Return the bound of the launch that ``program`` represents; None where its loop moves nothing that is counted."""
    loop, warps = code.loop, program.warps
    lanes = 32 * warps
    loaded: float = lane_bytes(loop, _GLOBAL) * lanes
    done = (
        loop_multiply_adds(loop, warps) if program.multiplies else loaded + lane_bytes(loop, _STORED) * lanes
    )
    if not done:
        return None
    iterations = (program.multiply_adds if program.multiplies else program.memory_bytes) / done
    integers = sum(n for name, n in loop.items() if name.startswith(_INTEGER))
    copied: float = lane_bytes(loop, _ASYNCHRONOUS) * lanes
    if program.tma:  # its instruction does not say how many bytes
        fetched = program.step_bytes * done / program.step_multiply_adds
        loaded += fetched
        copied += fetched
    by_lanes = lane_bytes(loop, _SHARED) * lanes / SHARED_BYTES_A_CYCLE
    issue = warps * sum(loop.values()) / INSTRUCTIONS_A_CYCLE
    resident = resident_programs(warps, code.registers, code.shared_bytes)
    waves = -(-program.programs // (MULTIPROCESSORS * resident))
    uneven = -(-program.programs // MULTIPROCESSORS) * MULTIPROCESSORS / program.programs
    products = program.multiply_adds / program.programs / MULTIPLY_ADDS_A_CYCLE
    waits = sum(n for name, n in loop.items() if name.startswith(_WAITS))
    a_step = max(by_lanes, issue) + BARRIER_CYCLES * waits
    serial = waves * (products + iterations / program.programs * a_step)
    a_round = 0.0
    if program.rounds:
        # Three instructions a sum: for the smallest, for its place, and to take it away.
        queries, columns, _ = map(int, program.block.split("x"))
        a_round = 3 * queries * columns / 32 / INSTRUCTIONS_A_CYCLE

    def milliseconds(cycles: float) -> float:
        return 1000 * cycles / CYCLES_A_SECOND

    def shared_out(cycles: float) -> float:
        return milliseconds(iterations * cycles * uneven / MULTIPROCESSORS)

    all_products = milliseconds(program.multiply_adds / MULTIPLY_ADDS_A_CYCLE / MULTIPROCESSORS)
    memory = 1000 * program.memory_bytes / MEMORY_BYTES_A_SECOND
    return Bound(
        int8=all_products * uneven,
        memory=memory,
        issue=shared_out(issue),
        integer=shared_out(lanes * integers / INTEGERS_A_CYCLE),
        shared=shared_out(by_lanes + copied / SHARED_BYTES_A_CYCLE),
        l2=milliseconds(iterations * loaded / L2_BYTES_A_CYCLE / MULTIPROCESSORS),
        serial=milliseconds(serial),
        select=milliseconds(waves * program.rounds * a_round),
        resident=resident,
        waves=waves,
        ideal=max(all_products, memory),
    )


def markdown(codes: Mapping[tuple[str, str], Compiled]) -> str:
    """Return the table of docs/kernels.md, from the machine code of (kernel, case) on sm_90a."""
    shown = ("int8", "memory", "issue", "integer", "shared", "l2", "serial", "select")
    columns = (
        "kernel",
        "case",
        "work",
        "programs",
        "at a time",
        "waves",
        *shown,
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
        code = codes.get((name, program.case))
        limits = bound(program, code) if code else None
        cells = [program.case, program.work, f"{program.programs:,}"]
        if limits is None:
            cells += [""] * 10 + ["nothing that is counted moves", "", ""]
        else:
            met = "yes" if limits.share >= DESIGN_POINT else "no"
            cells += [str(limits.resident), str(limits.waves)]
            cells += [f"{getattr(limits, unit):.3g}" for unit in shown]
            cells += [limits.binds, f"{limits.share:.0%}", met]
        lines.append(f"| {' | '.join((name.removesuffix('_kernel'), *cells))} |")
    return "\n".join(lines)
