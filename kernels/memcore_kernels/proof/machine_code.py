"""Compile every shipped configuration ahead of time, without a GPU, and count what the machine code holds.

    python -m memcore_kernels.proof.machine_code                        # a Markdown table, sm_80, sm_90a and sm_100a
    python -m memcore_kernels.proof.machine_code --arch 80 90 --json    # one JSON object a line
    python -m memcore_kernels.proof.machine_code --write docs/kernels.md --record tests/machine_code.jsonl
    python -m memcore_kernels.proof.machine_code --check tests/machine_code.jsonl    # compile again and compare

Registers and stack are read from the cubin (``cuobjdump -res-usage``), instructions from its disassembly,
both with the tools of Triton's own wheel. The launch of each case is planned from tensors without data
(device "meta"), so it is the one that ``tiled_l2_ssd`` would make.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import itertools
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from memcore_kernels.proof import roofline
from memcore_kernels.proof.compiled_cases import programs
from memcore_kernels.proof.digest import digest
from memcore_kernels.proof.program import Program
from memcore_kernels.tile_blocks import INTERPRETED

ARCHITECTURES = {80: "sm_80", 90: "sm_90a", 100: "sm_100a"}
#: What multiplies int8 matrices: mma.sync, wgmma, tcgen05.
MATRIX_INSTRUCTIONS = ("IMMA", "IGMMA", "UTCIMMA")
GLOBAL_LOADS = ("LDG", "UTMALDG")
TABLE_START = "<!-- memcore_kernels.proof.machine_code -->"
TABLE_END = "<!-- end -->"
#: What Triton notes of pointers (those of torch's allocator are aligned) and integers, by itself at a launch.
MULTIPLE_OF_16 = [["tt.divisibility", 16]]


@dataclasses.dataclass(frozen=True)
class MachineCode:
    """One kernel, one case, one architecture."""

    kernel: str
    case: str
    architecture: str
    block: str
    warps: int
    registers: int
    shared_bytes: int
    stack_bytes: int
    spills: int
    matrix_instructions: dict[str, int]
    async_copies: int
    #: Those of them that the copy engine makes (UTMALDG).
    tma_copies: int
    #: Opcodes of the inner loop with the modifiers that say how wide they are; of all of it where the compiler left no loop.
    loop: dict[str, int]
    #: ``digest`` of what it was compiled from.
    digest: str

    @property
    def loop_instructions(self) -> int:
        """Instructions of the inner loop."""
        return sum(self.loop.values())

    @property
    def loop_matrix_instructions(self) -> int:
        """Those of them that multiply matrices."""
        return sum(n for name, n in self.loop.items() if name.startswith(MATRIX_INSTRUCTIONS))


def compile_program(program: Program, architecture: int) -> Any:
    """Return Triton's compiled kernel for one compute capability, specialised as at a launch; needs no driver."""
    kernel, arguments = program.kernel, program.arguments
    general = {parameter.name for parameter in kernel.params if parameter.do_not_specialize}
    fixed = program.constants | {
        name: value for name, value in arguments.items() if value == 1 and name not in general
    }
    types: dict[str, str] = {}
    attributes = {}
    for position, name in enumerate(kernel.arg_names):
        if name in fixed:
            types[name] = "constexpr"
        elif name in arguments:
            types[name] = "i32" if arguments[name] < 2**31 else "i64"
        else:
            types[name] = program.pointers[name]
        described = types[name].startswith("tensordesc")
        if name in fixed or name in general or described:
            continue
        if arguments.get(name, 0) % 16 == 0:
            attributes[(position,)] = MULTIPLE_OF_16
    source = ASTSource(fn=kernel, signature=types, constexprs=fixed, attrs=attributes)
    target = GPUTarget("cuda", architecture, 32)
    return triton.compile(source, target=target, options={"num_warps": program.warps})


def inspect(program: Program, architecture: int) -> MachineCode:
    """Compile one kernel and count what it holds."""
    compiled = compile_program(program, architecture)
    usage, disassembly = _disassemble(compiled.asm["cubin"])
    opcodes = collections.Counter(_opcodes(disassembly.splitlines()))
    wanted = MATRIX_INSTRUCTIONS if program.multiplies else GLOBAL_LOADS
    loop = collections.Counter(_inner_loop(disassembly, wanted)) or opcodes

    def count(counter: collections.Counter[str], *prefixes: str) -> dict[str, int]:
        return {name: n for name, n in sorted(counter.items()) if name.startswith(prefixes)}

    return MachineCode(
        kernel=program.kernel.__name__,
        case=program.case,
        architecture=ARCHITECTURES[architecture],
        block=program.block,
        warps=program.warps,
        registers=int(usage["REG"]),
        shared_bytes=compiled.metadata.shared,
        stack_bytes=int(usage["STACK"]),
        spills=sum(count(opcodes, "STL", "LDL").values()),
        matrix_instructions=count(opcodes, *MATRIX_INSTRUCTIONS),
        async_copies=sum(count(opcodes, "LDGSTS", "UTMALDG", "UBLKCP").values()),
        tma_copies=sum(count(opcodes, "UTMALDG").values()),
        loop=dict(sorted(loop.items())),
        digest=digest(program, ARCHITECTURES[architecture]),
    )


@functools.cache
def _tool(name: str) -> str:
    return str(Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name)


def _disassemble(cubin: bytes) -> tuple[dict[str, str], str]:
    """Return resource usage and SASS."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)

        def output(*command: str) -> str:
            done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=True)
            return done.stdout + done.stderr

        usage = dict(
            re.findall(r"\b(REG|STACK|SHARED|LOCAL):(\d+)", output(_tool("cuobjdump"), "-res-usage"))
        )
        return usage, output(_tool("nvdisasm"), "-c")


_INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Za-z0-9_.]*)")


def _opcodes(lines: list[str]) -> list[str]:
    return [found[1] for line in lines if (found := _INSTRUCTION.match(line))]


def _inner_loop(disassembly: str, wanted: tuple[str, ...]) -> list[str]:
    """Return the opcodes of the shortest loop (a branch to a label above) with a wanted instruction; empty if none."""
    lines = disassembly.splitlines()
    labels = {found[1]: at for at, line in enumerate(lines) if (found := re.match(r"\s*(\.L_\w+):", line))}
    loops = []
    for at, line in enumerate(lines):
        branch = re.search(r"\bBRA\b.*`\((\.L_\w+)\)", line)
        if branch and labels.get(branch[1], at) < at:
            body = _opcodes(lines[labels[branch[1]] : at + 1])
            if any(opcode.startswith(wanted) for opcode in body):
                loops.append(body)
    return min(loops, key=len, default=[])


def markdown_row(row: MachineCode) -> str:
    """Return one line of the table of docs/kernels.md."""
    instructions = ", ".join(f"{n} {name}" for name, n in row.matrix_instructions.items())
    loop = (
        f"{row.loop_matrix_instructions} of {row.loop_instructions}" if row.loop_matrix_instructions else ""
    )
    cells = (
        row.kernel.removesuffix("_kernel"),
        row.case,
        row.architecture,
        row.block,
        row.warps,
        row.registers,
        f"{row.shared_bytes:,}",
        row.spills,
        instructions,
        row.async_copies,
        row.tma_copies,
        loop,
    )
    return f"| {' | '.join(map(str, cells))} |"


def markdown(rows: list[MachineCode]) -> str:
    """Return the table, under a line that names the compiler."""
    columns = (
        "kernel",
        "case",
        "for",
        "block",
        "warps",
        "registers",
        "shared bytes",
        "spills",
        "matrix instructions",
        "asynchronous copies",
        "of them TMA",
        "of the inner loop",
    )
    head = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return "\n".join([f"Triton {triton.__version__}:", "", *head, *map(markdown_row, rows)])


def record(path: Path, rows: list[MachineCode]) -> None:
    """Write one JSON object a line."""
    path.write_text("".join(json.dumps(dataclasses.asdict(row)) + "\n" for row in rows))


def recorded(path: Path) -> list[MachineCode]:
    """Read what ``record`` wrote."""
    return [MachineCode(**json.loads(line)) for line in path.read_text().splitlines()]


def write_between_marks(path: Path, start: str, end: str, table: str) -> None:
    """Replace what is between the lines ``start`` and ``end`` in a file."""
    text = path.read_text()
    before, found, rest = text.partition(start)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        sys.exit(f"{path} must hold the lines {start} and {end}")
    path.write_text(f"{before}{start}\n\n{table}\n\n{end}{after}")


def write_tables(path: Path, rows: list[MachineCode]) -> None:
    """Write both tables of docs/kernels.md."""
    write_between_marks(path, TABLE_START, TABLE_END, markdown(rows))
    of_case = {(row.kernel, row.case): row for row in rows if row.architecture == roofline.ARCHITECTURE}
    write_between_marks(path, roofline.TABLE_START, roofline.TABLE_END, roofline.markdown(of_case))


def main() -> None:
    """Run the command line of this module."""
    parser = argparse.ArgumentParser(
        prog="python -m memcore_kernels.proof.machine_code",
        description="Compile every configuration and count.",
    )
    parser.add_argument("--arch", type=int, nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of a table")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="put the tables between their marks in FILE"
    )
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="one JSON object a line; what FILE has is kept"
    )
    parser.add_argument("--check", type=Path, metavar="FILE", help="fail where FILE holds something else")
    parser.add_argument(
        "--all", action="store_true", help="compile everything, also what the record has a row for"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="that compile at a time")
    arguments = parser.parse_args()
    if INTERPRETED:
        sys.exit("TRITON_INTERPRET is set, nothing can be compiled: unset it")
    known = arguments.record and arguments.record.exists() and not arguments.all
    rows = compile_all(arguments.arch, recorded(arguments.record) if known else [], arguments.processes)
    if arguments.json:
        for row in rows:
            print(json.dumps(dataclasses.asdict(row)))
    if arguments.record:
        record(arguments.record, rows)
    if arguments.write:
        write_tables(arguments.write, rows)
    if arguments.check and (wrong := [row for row in rows if row not in recorded(arguments.check)]):
        sys.exit("\n".join(f"not what {arguments.check} holds: {row}" for row in wrong))
    if not (arguments.json or arguments.record or arguments.write or arguments.check):
        print(markdown(rows))


def compile_all(
    architectures: list[int], known: Sequence[MachineCode] = (), processes: int = 1
) -> list[MachineCode]:
    """Compile every program for every architecture, never from Triton's cache; rows in ``known`` are taken as they are."""
    by_digest = {row.digest: row for row in known}
    wanted = [(a, place, p) for a in architectures for place, p in enumerate(programs(a))]
    found = [by_digest.get(digest(p, ARCHITECTURES[a])) for a, _, p in wanted]
    missing = [(a, place) for (a, place, _), row in zip(wanted, found, strict=True) if row is None]
    with tempfile.TemporaryDirectory() as cache, _environment("TRITON_CACHE_DIR", cache):
        if processes > 1 and len(missing) > 1:
            context = multiprocessing.get_context("spawn")
            with concurrent.futures.ProcessPoolExecutor(processes, context) as pool:
                compiled = iter([*pool.map(_inspect_one, *zip(*missing, strict=True))])
        else:
            compiled = iter([_inspect_one(a, place) for a, place in missing])
        return [row or next(compiled) for row in found]


def _inspect_one(architecture: int, place: int) -> MachineCode:
    """Inspect the ``place``-th program: numbers can be sent to another process, jit functions cannot."""
    return inspect(next(itertools.islice(programs(architecture), place, None)), architecture)


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


if __name__ == "__main__":
    main()
