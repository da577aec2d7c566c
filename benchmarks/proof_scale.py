"""The proof of scale: 350,000 prompts x 500 images through the real ``memcore audit``, killed five times and resumed.

``make proof-scale`` runs it whole; ``--prompts 2000`` runs it small. The record for docs/scale.md is printed as JSON.
What it does not know goes to the audit: ``--kinds frequent --budget sequential --copy-rate 0.1 --miss-rate 0.01``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from memcore.jobs.store import RunFolder
from memcore.study.synthetic import FOUND, prompts

SAMPLER = "memcore.study.synthetic:SyntheticSampler"
PLANTED = 94
GENERATIONS = 500
MIB = 2**20


class Watch(threading.Thread):
    """Samples the resident memory of a command's workers twice a second."""

    def __init__(self, process: subprocess.Popen[Any]) -> None:
        super().__init__(daemon=True)
        self.process = process
        #: (seconds since the start, bytes of the largest process)
        self.samples: list[tuple[float, int]] = []

    def run(self) -> None:
        start = time.monotonic()
        while self.process.poll() is None:
            try:
                parent = psutil.Process(self.process.pid)
                largest = max(p.memory_info().rss for p in [parent, *parent.children(recursive=True)])
                self.samples.append((time.monotonic() - start, largest))
            except psutil.Error:
                pass
            time.sleep(0.5)


def command(run: Path, listing: Path, workers: int, more: list[str]) -> list[str]:
    words = [
        sys.executable,
        "-m",
        "memcore.cli",
        "audit",
        str(run),
        "--prompts",
        str(listing),
        "--sampler",
        SAMPLER,
    ]
    words += ["--generations", str(GENERATIONS), "--batch-size", str(GENERATIONS)]
    return [*words, "--workers", str(workers), "--threads", "1", "--quiet", *more]


def run_once(words: list[str]) -> tuple[float, list[tuple[float, int]]]:
    start = time.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    watch = Watch(process)
    watch.start()
    if process.wait() != 0:
        raise SystemExit(f"the audit ended with exit code {process.returncode}: {' '.join(words)}")
    watch.join()
    return time.monotonic() - start, watch.samples


def run_killed(words: list[str], kills: int, seconds: float, rng: random.Random) -> float:
    """The same with SIGKILL at ``kills`` random moments of about ``seconds`` of work, then to its end."""
    start = time.monotonic()
    for _ in range(kills):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        try:
            process.wait(timeout=rng.uniform(0.05, 1.0) * seconds / (kills + 1) + 2.0)
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
    run_once(words)
    return time.monotonic() - start


def digests(run: Path) -> dict[str, str]:
    """Of everything that must not depend on how the run was made."""
    paths = (
        p
        for kind in ("findings", "images", "quarantine")
        for p in sorted((run / kind).rglob("*"))
        if p.is_file()
    )
    return {str(p.relative_to(run)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def check_findings(run: Path) -> dict[str, int]:
    """SystemExit unless exactly the planted prompts were found, each with its planted number of copies."""
    wrong: list[str] = []
    found = generated = 0
    for row in RunFolder.open(run).iter_findings(["prompt", "status", "size", "generated"]):
        generated += row["generated"]
        planted = row["prompt"].split()[0] in FOUND
        found += row["status"] == "finding"
        most = GENERATIONS if row["prompt"].startswith("frequent") else 16
        if planted != (row["status"] == "finding") or (planted and not 10 <= row["size"] <= most):
            wrong.append(row["prompt"])
    if wrong:
        raise SystemExit(f"{len(wrong)} prompts are wrong, the first: {wrong[:3]}")
    return {"found": found, "wrong": 0, "generated": generated}


def proof(lines: list[str], workers: int, kills: int, folder: Path, more: list[str]) -> dict[str, Any]:
    """Runs it and returns the record."""
    count = len(lines)
    folder.mkdir(parents=True, exist_ok=True)
    listing, sample_listing = folder / "prompts.txt", folder / "sample.txt"
    listing.write_text("".join(f"{p}\n" for p in lines), "utf-8")
    # The first 2 % of the prompts: they keep their numbers, on which their seeds depend.
    sample_listing.write_text("".join(f"{p}\n" for p in lines[: max(1, count // 50)]), "utf-8")

    run = folder / "run"
    seconds, memory = run_once(command(run, listing, workers, more))
    result = check_findings(run)
    files = sum(1 for p in run.rglob("*") if p.is_file())
    after_a_tenth = [rss for at, rss in memory if at > 0.1 * seconds] or [rss for _, rss in memory]
    half = len(after_a_tenth) // 2

    killed = folder / "killed"
    killed_seconds = run_killed(command(killed, listing, workers, more), kills, seconds, random.Random(count))
    if digests(killed) != digests(run):
        raise SystemExit("the killed and resumed run differs from the undisturbed one")

    sample = folder / "sample"
    run_once(command(sample, sample_listing, 1, more))
    ours = {r["prompt_id"]: r for r in RunFolder.open(sample).iter_findings()}
    theirs = {r["prompt_id"]: r for r in RunFolder.open(run).iter_findings() if r["prompt_id"] in ours}
    if ours != theirs:
        raise SystemExit("the sample's findings differ from the run's")
    return {
        "prompts": count,
        "images": count * GENERATIONS,
        "kinds": dict(Counter(line.split()[0] for line in lines)),
        "audit_options": more,
        "workers": workers,
        "seconds": round(seconds, 1),
        "ms_a_prompt_and_worker": round(1e3 * seconds * workers / count, 3),
        **result,
        "saved": round(1 - result["generated"] / (count * GENERATIONS), 4),
        "files": files,
        "bytes": sum(p.stat().st_size for p in run.rglob("*") if p.is_file()),
        "max_rss_mib": round(max(rss for _, rss in memory) / MIB, 1),
        "rss_first_half_mib": round(max(after_a_tenth[: half or 1]) / MIB, 1),
        "rss_second_half_mib": round(max(after_a_tenth[half:]) / MIB, 1),
        "kills": kills,
        "killed_seconds": round(killed_seconds, 1),
        "killed_identical": True,
        "sample_identical": len(ours),
        "cpu": _cpu(),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return "unknown"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=350_000)
    parser.add_argument("--planted", type=int, default=PLANTED)
    parser.add_argument("--kinds", nargs="+", default=["memorised", "hubbed"], choices=FOUND)
    parser.add_argument("--negatives", type=int, default=7, help="of so many prompts one is no plain one")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("proof-scale"))
    arguments, more = parser.parse_known_args()
    shutil.rmtree(arguments.folder, ignore_errors=True)
    lines = list(
        prompts(arguments.prompts, arguments.planted, negatives=arguments.negatives, kinds=arguments.kinds)
    )
    record = proof(lines, arguments.workers, arguments.kills, arguments.folder, more)
    print(json.dumps(record, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
