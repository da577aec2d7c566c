"""``memcore bench``."""

from __future__ import annotations

import argparse
from pathlib import Path

from memcore.commands._answer import DONE, FAILED, Answer
from memcore.system.console import write_error

NAME = "bench"
HELP = "time the kernels against their peers and print the ratios"


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
    parser.add_argument(
        "--record",
        nargs="?",
        type=Path,
        const=Path("benchmarks", "history"),
        metavar="FOLDER",
        help="append each ratio to one CSV file a suite (default folder: %(const)s)",
    )


def run(arguments: argparse.Namespace) -> Answer:
    """Measure; a wrong answer of a kernel makes it exit code 1."""
    from memcore.bench import history, run_all, table

    if arguments.record is not None:
        history.check_folder(arguments.record)
    if arguments.gpu:
        from memcore.bench import gpu

        results = gpu.run_all(arguments.quick, arguments.part or gpu.PARTS)
    else:
        results = run_all(arguments.quick, isa=arguments.isa, parts=arguments.part, progress=_show)
    if arguments.record is not None:
        for path in history.record(arguments.record, results):
            _show(f"recorded: {path}")
    refused = any(row.get("refused") for row in results)
    return Answer({"results": results}, table(results), FAILED if refused else DONE)


def _show(line: str) -> None:
    write_error(line)
