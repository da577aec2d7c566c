"""What the oldest supported Triton makes of the kernels, beside what the newest makes: a table of docs/kernels.md.

    python -m memcore_kernels.proof.versions tests/machine_code_oldest.jsonl tests/machine_code.jsonl --write docs/kernels.md

Both files were written by ``machine_code --record``; nothing is compiled here.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from memcore_kernels.proof.machine_code import MachineCode, recorded, write_between_marks

TABLE_START = "<!-- memcore_kernels.proof.versions -->"
TABLE_END = "<!-- end of versions -->"


def markdown(oldest: Sequence[MachineCode], newest: Sequence[MachineCode]) -> str:
    """Return a table with a row for each configuration of both: "118 / 150" is the oldest's beside the newest's."""
    beside = {(row.kernel, row.case, row.architecture): row for row in newest}
    lines = [
        "| kernel | case | for | registers | shared bytes | spills | instructions of the inner loop |",
        "|---|---|---|---|---|---|---|",
    ]
    for old in oldest:
        new = beside[old.kernel, old.case, old.architecture]
        loops = (f"{row.loop_instructions}" if row.matrix_instructions else "" for row in (old, new))
        cells = (
            old.kernel.removesuffix("_kernel"),
            old.case,
            old.architecture,
            f"{old.registers} / {new.registers}",
            f"{old.shared_bytes:,} / {new.shared_bytes:,}",
            f"{old.spills} / {new.spills}",
            " / ".join(loops).strip(" /"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run the command line of this module."""
    parser = argparse.ArgumentParser(
        prog="python -m memcore_kernels.proof.versions", description="Put two records side by side."
    )
    parser.add_argument("oldest", type=Path)
    parser.add_argument("newest", type=Path)
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between its marks in FILE")
    arguments = parser.parse_args()
    table = markdown(recorded(arguments.oldest), recorded(arguments.newest))
    if arguments.write:
        write_between_marks(arguments.write, TABLE_START, TABLE_END, table)
    else:
        print(table)


if __name__ == "__main__":
    main()
