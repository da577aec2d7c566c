"""What is compiled ahead of time, as a launch would specialise it."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Program:
    """A kernel as a launch would specialise it. ``pointers``: what each points to, or describes, in Triton's words."""

    kernel: Any
    case: str
    arguments: dict[str, int]
    constants: dict[str, Any]
    pointers: dict[str, str]
    warps: int
    block: str
    #: Whether it multiplies matrices, copies without waiting, and has the copy engine (TMA) do so.
    multiplies: bool
    copies: bool
    tma: bool
    #: Bytes that a step of the inner loop copies from images, and its multiply-adds; 0 where it does not multiply.
    step_bytes: int
    step_multiply_adds: int
    max_registers: int
    max_shared_bytes: int
    #: What the launch does, for ``roofline``: in words; its programs; multiply-adds with all padding; bytes it must read or
    #: write once.
    work: str
    programs: int
    multiply_adds: int
    memory_bytes: int
    #: Rounds of selection of each program, where it selects: estimated for random rows.
    rounds: float = 0


def shared_limit(capability: tuple[int, int]) -> int:
    """Return the bytes of shared memory that a block may have on every device that runs this code."""
    return (227 if capability[0] in (9, 10) else 99) * 1024  # 99 KiB on sm_86 and sm_89


def image_types(names: tuple[str, ...], rows: tuple[int, ...], block_k: int, tma: bool) -> dict[str, str]:
    """Return the types of the arguments that images come by."""
    return {
        name: f"tensordesc<u8[1, {count}, 1, 1, {block_k}]>" if tma else "*u8"
        for name, count in zip(names, rows, strict=True)
    }


def plain(
    kernel: Any,
    case: str,
    arguments: dict[str, int],
    constants: dict[str, Any],
    pointers: dict[str, str],
    warps: int,
    block: str,
    max_registers: int,
    work: str,
    count: int,
    memory_bytes: int,
) -> Program:
    """Return a kernel that neither multiplies matrices nor copies without waiting."""
    return Program(
        kernel=kernel,
        case=case,
        arguments=arguments,
        constants=constants,
        pointers=pointers,
        warps=warps,
        block=block,
        multiplies=False,
        copies=False,
        tma=False,
        step_bytes=0,
        step_multiply_adds=0,
        max_registers=max_registers,
        max_shared_bytes=shared_limit((8, 0)),
        work=work,
        programs=count,
        multiply_adds=0,
        memory_bytes=memory_bytes,
    )
