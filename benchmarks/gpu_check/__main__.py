"""One visit to a machine with a GPU: check, then time, and keep the record that docs/gpu.md is written from.

``make gpu-check`` runs it; ``python benchmarks/gpu_check --seconds 280 --out gpu-check`` is the same. Build the core with
MEMCORE_CUDA=1 before. Every part is a process with a limit; one that fails, hangs or lacks its tool is noted, and the next
one goes on. Without a device it says what it would do. ``--only`` and ``--but`` choose parts, so that two short visits do
what one long one would; ``--add`` keeps the parts that the record has and these do not repeat.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from parts import ROOT, Part, parts

from memcore.backends import gpu, gpu_clique
from memcore.bench import machine

#: Seconds that are kept for writing the record.
RESERVE = 5
#: Parts at a time that only check.
AT_ONCE = 4


def describe() -> dict[str, Any]:
    """Return the machine, the device, its driver, versions and the commit that the record belongs to."""
    import torch
    import triton

    usable, device = gpu.available()
    with_cliques, why = gpu_clique.available()

    def output(*command: str) -> str:
        try:
            done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=20)
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    return {
        "device": device if usable else None,
        "why_not": "" if usable else device,
        "cliques": "on the device" if with_cliques else why,
        "driver": output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "processor": machine.processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "cuda": torch.version.cuda or "",
        "commit": output("git", "rev-parse", "HEAD"),
        "changed": bool(output("git", "status", "--porcelain", "--untracked-files=no")),
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def run(part: Part, limit: float, folder: Path) -> dict[str, Any]:
    """Run a part within ``limit`` seconds; its output goes to a file, its lines to the record."""
    lines, log = folder / f"{part.name}.jsonl", folder / f"{part.name}.log"
    lines.unlink(missing_ok=True)
    variables = os.environ | {
        "MEMCORE_CHECK_LINES": str(lines),
        "MEMCORE_CHECK_ROOM": str(max(1, limit - 10)),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels"), os.environ.get("PYTHONPATH", "")]),
    }
    start = time.monotonic()
    with log.open("w") as file:
        try:
            code: int | None = subprocess.run(
                part.command,
                cwd=ROOT,
                env=variables,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=limit,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = None
    return {
        "name": part.name,
        "what": part.what,
        "ended": "in time"
        if code == 0
        else f"after its limit of {limit:.0f} s"
        if code is None
        else f"with exit code {code}",
        "ok": code == 0,
        "seconds": round(time.monotonic() - start, 1),
        "cases": [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else [],
        "last_lines": log.read_text(errors="replace").splitlines()[-6:],
    }


def run_all(chosen: list[Part], seconds: float, folder: Path) -> list[dict[str, Any]]:
    """Run the parts: those that check, a few at a time; then those that time, alone."""
    end = time.monotonic() + seconds - RESERVE
    done = []

    def one(part: Part) -> dict[str, Any]:
        limit = min(part.seconds, end - time.monotonic())
        why = part.missing or ("no time was left" if limit < 5 else "")
        found = {"name": part.name, "what": part.what, "ended": why, "ok": None, "cases": []}
        found = found if why else run(part, limit, folder)
        print(f"{part.name}: {found['ended']}", flush=True)
        return found

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        done += pool.map(one, [part for part in chosen if part.shared])
    done += map(one, [part for part in chosen if not part.shared])
    return done


def main() -> None:
    parser = argparse.ArgumentParser(prog="make gpu-check", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=280, help="that all of it may take")
    parser.add_argument(
        "--out", type=Path, default=Path("gpu-check"), help="folder of the record and the logs"
    )
    parser.add_argument("--only", nargs="+", metavar="PART", help="run these parts alone")
    parser.add_argument("--but", nargs="+", metavar="PART", default=[], help="leave these parts out")
    parser.add_argument("--add", action="store_true", help="keep other parts of the record that is there")
    arguments = parser.parse_args()
    every = parts()
    known = [part.name for part in every]
    for name in [*(arguments.only or []), *arguments.but]:
        if name not in known:
            parser.error(f"a part must be one of {', '.join(known)}, got {name!r}")
    chosen = [p for p in every if p.name in (arguments.only or known) and p.name not in arguments.but]
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "record.json"
    record = describe()
    before = json.loads(path.read_text())["parts"] if arguments.add and path.exists() else []
    if record["device"] is None:
        print(f"No part can run here: {record['why_not']}. With a device this would run:")
        for part in chosen:
            print(f"  {part.name:15} {part.seconds:4} s at most: {part.what}")
        done = []
    else:
        done = run_all(chosen, arguments.seconds, arguments.out)
    again = {one["name"] for one in done}
    record["parts"] = [one for one in before if one["name"] not in again] + done
    path.write_text(json.dumps(record, indent=1) + "\n")
    wrong = [one["name"] for one in done if one["ok"] is False] + [
        f"{one['name']}: {case['name']}" for one in done for case in one["cases"] if case["ok"] is False
    ]
    print(
        f"{path}: {sum(one['ok'] is not None for one in done)} parts run"
        + "".join(f"\n  wrong: {name}" for name in wrong)
    )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:
        os.environ.setdefault("TRITON_CACHE_DIR", cache)
        main()
