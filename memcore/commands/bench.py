"""``memcore bench``."""

from __future__ import annotations

import argparse
import sys

from memcore.commands._answer import DONE, FAILED, Answer

NAME = "bench"
HELP = "time the kernels beside their peers and print the ratios"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is measured."""
    from memcore import isa
    from memcore.bench import PARTS

    parser.add_argument("--quick", action="store_true", help="small inputs: a minute instead of 15 to 20")
    parser.add_argument(
        "--isa",
        choices=isa.available(),
        help="the instruction set to measure (default: the strongest; memcore info)",
    )
    parser.add_argument(
        "--part", action="append", choices=PARTS, help="only this part; may be repeated (default: all)"
    )
    parser.add_argument(
        "--gpu", action="store_true", help="the kernels for CUDA tensors, against peers on the device"
    )


def run(arguments: argparse.Namespace) -> Answer:
    """Measure; a wrong answer of a kernel makes it exit code 1."""
    from memcore.bench import run_all, table

    if arguments.gpu:
        from memcore.bench import gpu

        results = gpu.run_all(arguments.quick, arguments.part or gpu.PARTS)
    else:
        results = run_all(arguments.quick, isa=arguments.isa, parts=arguments.part, progress=_show)
    refused = any(row.get("refused") for row in results)
    return Answer({"results": results}, table(results), FAILED if refused else DONE)


def _show(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
