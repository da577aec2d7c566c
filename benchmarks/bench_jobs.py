"""What the engine costs: an audit against calling the functions in a loop, and Ray against local processes.

    python benchmarks/bench_jobs.py [--prompts 40] [--rounds 7] [--ray-prompts 50000] [--json]

The loop makes a prompt's images, extends its graph and looks for findings; the audit does the same and also writes a run
folder that survives a kill. Its targets are at most 5 % more time than the loop's, and with Ray at most 1.1 times the time
of local processes, byte-identical findings included. A prompt is 500 images of 128 x 128 that cost about what their random
bytes do: any model costs more, so that the share of the engine is smaller.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import memcore
from memcore.audit import audit
from memcore.graphs.findings import findings
from memcore.runs.config import Config
from memcore.sampling.seeds import derive_seeds
from memcore.study.synthetic import prompts
from memcore.types import Images, Request

GENERATIONS, SIDE = 500, 128
COPIES = 40  # of the last prompt


class NoiseSampler:
    """A sampler of random bytes; of the last prompt, the first images are near-copies of one."""

    image_shape = (SIDE, SIDE, 3)
    fingerprint = "noise"

    def __init__(self, last: int) -> None:
        self.last = last
        self.base = np.random.default_rng(0).integers(64, 192, self.image_shape, dtype=np.uint8)
        self.copies = set(derive_seeds(0, last, COPIES).tolist())

    def describe(self) -> dict[str, str]:
        return {"kind": "noise"}

    def sample(self, requests: Sequence[Request]) -> Images:
        rng = np.random.default_rng(requests[0].seed)
        pixels = np.frombuffer(rng.bytes(len(requests) * SIDE * SIDE * 3), np.uint8)
        pixels = pixels.reshape(len(requests), *self.image_shape)
        copied = [i for i, r in enumerate(requests) if r.prompt_id == self.last and r.seed in self.copies]
        if copied:
            pixels = pixels.copy()
            pixels[copied] = self.base + (pixels[copied] & np.uint8(15))
        return Images(pixels, np.zeros(len(requests), np.bool_))


def in_a_loop(sampler: NoiseSampler, texts: Sequence[str]) -> list[int]:
    """Return the size of each prompt's first finding, 0 for none."""
    sizes = []
    for prompt_id, text in enumerate(texts):
        seeds = derive_seeds(0, prompt_id, GENERATIONS)
        images = sampler.sample([Request(prompt_id, text, int(seed)) for seed in seeds])
        graph = memcore.PromptGraph(sampler.image_shape, threads=1, capacity=GENERATIONS)
        graph.extend(images.pixels, exclude=memcore.images.constant.flag_constant(images.pixels))
        found = findings(graph.graph())
        sizes.append(found[0].size if found else 0)
    return sizes


def compared(work: str, ours: Sequence[float], other: Sequence[float], target: float) -> dict[str, Any]:
    """Return the ratios of the pairs of each round."""
    ratios = [a / b for a, b in zip(ours, other, strict=True)]
    return {
        "work": work,
        "other_s": statistics.median(other),
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "target": target,
    }


def overhead(count: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Time both in this process, with one thread, in turn."""
    texts = [f"prompt {i}" for i in range(count)]
    sampler = NoiseSampler(count - 1)
    config = Config(source="custom", generations=GENERATIONS, batch_size=GENERATIONS)
    loop_seconds, audit_seconds = [], []
    for turn in range(rounds + 1):
        seconds = {}
        for name in ("loop", "audit") if turn % 2 else ("audit", "loop"):
            start = time.perf_counter()
            if name == "loop":
                expected = in_a_loop(sampler, texts)
            else:
                run = audit(
                    folder / f"run-{turn}", config, sampler=sampler, prompts=texts, threads=1, quiet=True
                )
            seconds[name] = time.perf_counter() - start
        sizes = [row["size"] for row in run.findings()]
        if sizes != expected or sizes[-1] != COPIES:
            raise SystemExit(f"the audit found {sizes}, the loop {expected}")
        if turn:  # the first one warms up
            loop_seconds.append(seconds["loop"])
            audit_seconds.append(seconds["audit"])
    work = f"{count} prompts x {GENERATIONS} images of {SIDE}x{SIDE}x3, one thread"
    return compared(work, audit_seconds, loop_seconds, 1.05)


def launchers(count: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Time whole commands in turn, Ray's start included: the synthetic sampler, one worker a processor."""
    listing = folder / "prompts.txt"
    listing.write_text("".join(f"{p}\n" for p in prompts(count, 10)), "utf-8")
    local: list[float] = []
    ray: list[float] = []
    for turn in range(rounds):
        digests = {}
        for name in ("local", "ray") if turn % 2 else ("ray", "local"):
            run = folder / f"{name}-{turn}"
            words = [sys.executable, "-m", "memcore.cli", "audit", str(run), "--prompts", str(listing)]
            words += [
                "--sampler",
                "memcore.study.synthetic:SyntheticSampler",
                "--batch-size",
                str(GENERATIONS),
            ]
            words += ["--workers", str(len(os.sched_getaffinity(0))), "--threads", "1", "--launcher", name]
            start = time.perf_counter()
            subprocess.run([*words, "--quiet", "--allow-incomplete"], check=True, stdout=subprocess.DEVNULL)
            (local if name == "local" else ray).append(time.perf_counter() - start)
            found = sorted((run / "findings").iterdir())
            digests[name] = [(p.name, hashlib.sha256(p.read_bytes()).hexdigest()) for p in found]
        if digests["local"] != digests["ray"]:
            raise SystemExit("the findings of local and ray differ")
    work = f"{count} prompts x {GENERATIONS} images of 16x16x3, a worker a processor, Ray's start included"
    return compared(work, ray, local, 1.1)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--ray-prompts", type=int, default=50_000, help="about a minute of them; 0: without Ray"
    )
    parser.add_argument("--ray-rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results: dict[str, Any] = {"load": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as name:
        results["audit against a loop"] = overhead(arguments.prompts, arguments.rounds, Path(name))
        if not arguments.ray_prompts or importlib.util.find_spec("ray") is None:
            print("ray against local: left out, since Ray is not installed or not wanted", file=sys.stderr)
        else:
            results["ray against local"] = launchers(arguments.ray_prompts, arguments.ray_rounds, Path(name))
    if arguments.json:
        print(json.dumps(results, indent=1))
        return 0
    print(f"load {results.pop('load'):.1f} at the start")
    for what, r in results.items():
        held = "holds" if r["ratio"] <= r["target"] else "missed"
        print(f"{what}: {r['ratio']:.3f} ({r['low']:.3f} to {r['high']:.3f}), at most {r['target']}: {held}")
        print(f"    {r['work']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
