"""Write docs/gpu.md from a record of ``make gpu-check``: ``python page.py [record.json] > docs/gpu.md``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from parts import parts

HEAD = """# What a GPU said

This page is written by `benchmarks/gpu_check/page.py` from the record of one visit of `make gpu-check` to a machine with a
GPU. What the kernels do, and what was verified without one, is in [Kernels](kernels.md).
"""
NEVER = """
**There is no record: none of this has run on hardware.** To make one, on a machine with an NVIDIA GPU of compute capability
8.0 or more and nvcc:

```
MEMCORE_CUDA=1 pip install -e '.[audit,gpu,dev]'
make gpu-check
python benchmarks/gpu_check/page.py gpu-check/record.json > docs/gpu.md
```

It takes 280 seconds at most; `--only` and `--but` split it into shorter visits. It will run, each part in a process with
a limit:
"""


def table(columns: list[str], rows: list[list[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def write(record: dict[str, Any] | None) -> str:
    """Return the page; a record without a device, or none, gives the page that says so."""
    if record is None or record["device"] is None:
        planned = table(
            ["part", "what it does", "seconds at most"], [[p.name, p.what, p.seconds] for p in parts()]
        )
        return f"{HEAD}{NEVER}\n{planned}\n"
    text = [HEAD]
    versions = ", ".join(f"{name} {record[name]}" for name in ("torch", "triton", "cuda", "python"))
    changed = ", with changes that were not committed" if record["changed"] else ""
    text.append(
        f"{record['device']}, driver {record['driver']}, {record['processor']}; {versions}. "
        f"Commit `{record['commit'][:12]}`{changed}, {record['when']}. Cliques: {record['cliques']}.\n"
    )
    rows = []
    for one in record["parts"]:
        wrong = [case for case in one["cases"] if case["ok"] is False]
        right = sum(case["ok"] is True for case in one["cases"])
        said = "not run" if one["ok"] is None else "passed" if one["ok"] and not wrong else "**failed**"
        rows.append([one["name"], one["what"], said, one["ended"], f"{right} of {len(one['cases'])}"])
    text.append(table(["part", "what it does", "answer", "ended", "cases that passed"], rows) + "\n")
    cases = [case for one in record["parts"] for case in one["cases"]]
    if failed := [case for case in cases if case["ok"] is False]:
        text.append("## What failed\n")
        text.append("\n".join(f"- {case['name']}: {case['why']}" for case in failed) + "\n")
    for kind, title in (
        ("ceiling", "Ceilings of this device, measured"),
        ("time", "Kernels"),
        ("path", "Whole path"),
    ):
        found = [case for case in cases if case["kind"] == kind and case["ok"]]
        if not found:
            continue
        names = [
            name
            for name in dict.fromkeys(key for case in found for key in case)
            if name not in ("kind", "ok", "seconds")
        ]
        text.append(f"## {title}\n")
        text.append(table(names, [[case.get(name, "") for name in names] for case in found]) + "\n")
    return "\n".join(text)


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text()) if len(sys.argv) > 1 else None
    sys.stdout.write(write(given))
