"""``memcore bench`` on the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from memcore.commands.index import AddCommand, Print

_DONE, _FAILED = 0, 1


def register(commands: Any, add: AddCommand, show: Print) -> None:
    """Add the command."""
    bench = add(
        commands, "bench", "the kernels against their peers, as ratios", lambda given: _bench(given, show)
    )
    bench.add_argument("--quick", action="store_true", help="small inputs: a minute instead of 15 to 20")
    bench.add_argument("--isa", help="the instruction set to measure (default: the strongest; memcore info)")
    bench.add_argument(
        "--part",
        action="append",
        choices=["dense", "graph", "clique", "knn", "stored"],
        help="only this part; may be repeated",
    )
    bench.add_argument(
        "--gpu", action="store_true", help="the kernels for CUDA tensors, against peers on the device"
    )
    bench.add_argument(
        "--record",
        nargs="?",
        type=Path,
        const=Path("benchmarks", "history"),
        metavar="FOLDER",
        help="append each ratio to one CSV file a suite (default folder: %(const)s)",
    )


def _bench(arguments: argparse.Namespace, show: Print) -> int:
    from memcore.bench import history, run_all, table

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    if arguments.record is not None:
        history.check_folder(arguments.record)
    if arguments.gpu:
        from memcore.bench import gpu

        results = gpu.run_all(arguments.quick, arguments.part or gpu.PARTS)
    else:
        results = run_all(arguments.quick, isa=arguments.isa, parts=arguments.part, progress=tell)
    if arguments.record is not None:
        for path in history.record(arguments.record, results):
            tell(f"recorded: {path}")
    show(arguments, {"results": results}, table(results))
    return _FAILED if any(row.get("refused") for row in results) else _DONE
