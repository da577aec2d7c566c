"""The proof of scale: 350,000 prompts x 500 images through the real ``memcore audit``, killed five times and resumed.

``make proof-scale`` runs it whole; ``--prompts 2000`` runs it small. The record for docs/scale.md is printed as JSON.
``--stage`` does one of its three runs, for a machine that is not free for all of them at once. Unknown flags are passed
to the audit: ``--kinds frequent --budget sequential --copy-rate 0.1 --miss-rate 0.01``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from memcore.runs.config import Config
from memcore.runs.folder import RunFolder, shard_size
from memcore.study.synthetic import FOUND, prompts

SAMPLER = "memcore.study.synthetic:SyntheticSampler"
PLANTED = 94
GENERATIONS = 500
STAGES = ("sample", "killed", "run")
MIB = 2**20


class Watch(threading.Thread):
    """Sample the resident memory of a command and its workers: 50 times while the time doubles, at least twice a second."""

    def __init__(self, process: subprocess.Popen[Any]) -> None:
        super().__init__(daemon=True)
        self.process = process
        #: seconds since the start, and bytes of each process by its number
        self.samples: list[tuple[float, dict[int, int]]] = []

    def run(self) -> None:
        start = time.monotonic()
        while self.process.poll() is None:
            try:
                parent = psutil.Process(self.process.pid)
                of_each = {p.pid: p.memory_info().rss for p in [parent, *parent.children(recursive=True)]}
                self.samples.append((time.monotonic() - start, of_each))
            except psutil.Error:
                pass
            time.sleep(min(0.5, max(0.02, (time.monotonic() - start) / 50)))


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
    return [*words, "--workers", str(workers), "--threads", "1", "--quiet", "--allow-incomplete", *more]


def measure_memory(samples: list[tuple[float, dict[int, int]]], seconds: float) -> dict[str, Any]:
    """Return the largest process, and the growth of each that lived through the last 90 % of the time.

    Growth is from the first half to the second. It is of medians, since an allocator keeps a few MiB more or less from one
    shard to the next, and without the very end, where one worker ends before the other.
    """
    late = [sample for at, sample in samples if 0.1 * seconds < at < 0.98 * seconds]
    first, second = late[: len(late) // 2], late[len(late) // 2 :]
    growth = [
        statistics.median(s[pid] for s in second) / statistics.median(s[pid] for s in first) - 1
        for pid in (set.intersection(*map(set, late)) if first else ())
    ]
    return {
        "processes": max(len(sample) for _, sample in samples),
        "max_rss_mib": round(max(max(sample.values()) for _, sample in samples) / MIB, 1),
        "rss_growth_percent": sorted(round(100 * g, 2) for g in growth),
    }


def run_once(words: list[str]) -> tuple[float, list[tuple[float, dict[int, int]]]]:
    start = time.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    watch = Watch(process)
    watch.start()
    if process.wait() != 0:
        raise SystemExit(f"the audit ended with exit code {process.returncode}: {' '.join(words)}")
    watch.join()
    return time.monotonic() - start, watch.samples


def run_killed(words: list[str], run: Path, shards: int, kills: int, rng: random.Random) -> tuple[float, int]:
    """Run a command with SIGKILL at ``kills`` random moments, then to its end; return its time and the number of kills.

    A moment is at a random point of a random shard, so that it comes on a machine of any speed.
    """
    start, killed = time.monotonic(), 0
    for after in sorted(rng.sample(range(shards), kills)):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        found, first = _shards_done(run), 0.0
        while (done := _shards_done(run)) < max(after, found + 1) and process.poll() is None:
            if done > found:
                first = first or time.monotonic()
            time.sleep(0.005)
        # without the start, which may take as long as all of a small run
        a_shard = (time.monotonic() - first) / (done - found) if first else 0.02
        time.sleep(rng.random() * a_shard)
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    run_once(words)
    return time.monotonic() - start, killed


def _shards_done(run: Path) -> int:
    return len(list(run.glob("manifest/*")))


def digests(run: Path) -> dict[str, str]:
    """Return the digests of everything that must not depend on how the run was made."""
    paths = (
        p
        for kind in ("findings", "images", "quarantine")
        for p in sorted((run / kind).rglob("*"))
        if p.is_file()
    )
    return {str(p.relative_to(run)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def check_findings(run: Path) -> dict[str, int]:
    """Raise SystemExit unless exactly the planted prompts were found, each with its planted number of copies."""
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


class Proof:
    """Three runs in one folder: the first 2 % of the prompts, all of them with kills, and all of them undisturbed."""

    def __init__(
        self, folder: Path, lines: list[str], workers: int, kills: int, shard_prompts: int, more: list[str]
    ) -> None:
        self.folder, self.lines, self.workers, self.kills, self.more = folder, lines, workers, kills, more
        self.shard_prompts = shard_prompts or shard_size(Config(source="custom"), len(lines))
        folder.mkdir(parents=True, exist_ok=True)
        # The first prompts keep their numbers, on which their seeds depend.
        self.first = lines[: max(1, len(lines) // 50)]
        for name, part in (("prompts.txt", lines), ("sample.txt", self.first)):
            (folder / name).write_text("".join(f"{line}\n" for line in part), "utf-8")

    def _command(self, stage: str, listing: str, workers: int) -> list[str]:
        shutil.rmtree(self.folder / stage, ignore_errors=True)
        more = ["--shard-prompts", str(self.shard_prompts), *self.more]
        return command(self.folder / stage, self.folder / listing, workers, more)

    def sample(self) -> dict[str, Any]:
        seconds, _ = run_once(self._command("sample", "sample.txt", 1))
        return {"sample_seconds": round(seconds, 1)}

    def killed(self) -> dict[str, Any]:
        words = self._command("killed", "prompts.txt", self.workers)
        shards = -(-len(self.lines) // self.shard_prompts)
        rng = random.Random(len(self.lines))
        seconds, kills = run_killed(words, self.folder / "killed", shards, self.kills, rng)
        return {"kills": kills, "killed_seconds": round(seconds, 1)}

    def run(self) -> dict[str, Any]:
        seconds, samples = run_once(self._command("run", "prompts.txt", self.workers))
        return {
            "seconds": round(seconds, 1),
            "ms_a_prompt_and_worker": round(1e3 * seconds * self.workers / len(self.lines), 3),
            **measure_memory(samples, seconds),
            "load": os.getloadavg()[1],
        }

    def measure(self, stage: str) -> None:
        """Do one of the runs, and write its figures next to it."""
        figures = getattr(self, stage)()
        (self.folder / f"{stage}.json").write_text(json.dumps(figures), "utf-8")

    def measured(self, stage: str) -> dict[str, Any]:
        path = self.folder / f"{stage}.json"
        if not path.exists():
            raise SystemExit(f"{path} is missing: run --stage {stage} first")
        figures: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return figures

    def record(self) -> dict[str, Any]:
        """Compare the three runs. Raises SystemExit if anything in them is wrong."""
        figures = {name: value for stage in STAGES for name, value in self.measured(stage).items()}
        run, count = self.folder / "run", len(self.lines)
        result = check_findings(run)
        if digests(self.folder / "killed") != digests(run):
            raise SystemExit("the killed and resumed run differs from the undisturbed one")
        ours = {r["prompt_id"]: r for r in RunFolder.open(self.folder / "sample").iter_findings()}
        theirs = {r["prompt_id"]: r for r in RunFolder.open(run).iter_findings() if r["prompt_id"] in ours}
        if ours != theirs:
            raise SystemExit("the sample's findings differ from the run's")
        files = [p for p in run.rglob("*") if p.is_file()]
        return {
            "prompts": count,
            "images": count * GENERATIONS,
            "kinds": dict(Counter(line.split()[0] for line in self.lines)),
            "audit_options": self.more,
            "workers": self.workers,
            **result,
            "saved": round(1 - result["generated"] / (count * GENERATIONS), 4),
            "files": len(files),
            "bytes": sum(p.stat().st_size for p in files),
            **figures,
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
    parser.add_argument("--negatives", type=int, default=7, help="one in this many prompts is a negative")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--shard-prompts", type=int, default=0, help="default: what memcore audit takes")
    parser.add_argument(
        "--stage", choices=STAGES, help="only this one, in this order (default: all, in turn)"
    )
    parser.add_argument("--folder", type=Path, default=Path("proof-scale"))
    arguments, more = parser.parse_known_args()
    lines = list(
        prompts(arguments.prompts, arguments.planted, negatives=arguments.negatives, kinds=arguments.kinds)
    )
    proof = Proof(arguments.folder, lines, arguments.workers, arguments.kills, arguments.shard_prompts, more)
    for stage in [arguments.stage] if arguments.stage else STAGES:
        proof.measure(stage)
    if arguments.stage in (None, STAGES[-1]):
        print(json.dumps(proof.record(), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
