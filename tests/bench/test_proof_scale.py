"""The proof of scale in small: the same program, fewer prompts."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from memcore.study.synthetic import NEGATIVES, prompts

ROOT = Path(__file__).parents[2]


def test_every_kind_is_there() -> None:
    kinds = Counter(p.split()[0] for p in prompts(1000, 10))
    assert {*NEGATIVES, "memorised", "hubbed", "plain"} == set(kinds)
    assert kinds["memorised"] == kinds["hubbed"] == 5
    assert min(kinds[k] for k in NEGATIVES) >= 10


def proof(tmp_path: Path, *more: str) -> dict[str, Any]:
    words = [
        sys.executable,
        str(ROOT / "benchmarks" / "proof_scale.py"),
        "--prompts",
        "1000",
        "--planted",
        "10",
    ]
    words += ["--workers", "2", "--kills", "2", "--folder", str(tmp_path / "proof"), "--shard-prompts", "100"]
    done = subprocess.run([*words, *more], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    record: dict[str, Any] = json.loads(done.stdout)
    assert (record["found"], record["wrong"], record["killed_identical"]) == (10, 0, True)
    assert (record["sample_identical"], record["kills"]) == (20, 2)
    assert record["max_rss_mib"] < 1024
    return record


def test_small(tmp_path: Path) -> None:
    record = proof(tmp_path)
    assert record["saved"] == 0
    assert record["processes"] >= 3, "the launcher and two workers are watched"
    assert record["files"] < 20 + 20 + 10 * 16 + 5


def test_small_with_a_sequential_budget(tmp_path: Path) -> None:
    budget = ["--budget", "sequential", "--copy-rate", "0.1", "--miss-rate", "0.01"]
    record = proof(tmp_path, "--kinds", "frequent", *budget)
    assert record["saved"] > 0.85


def test_memory_is_told_by_medians_of_each_process() -> None:
    """A leak in one process shows; a peak does not, nor a worker that ends before the others."""
    measure_memory = runpy.run_path(str(ROOT / "benchmarks" / "proof_scale.py"))["measure_memory"]
    mib = 2**20
    samples = [(float(t), {1: 100 * mib, 2: (100 + t) * mib, 3: 50 * mib}) for t in range(100)]
    samples[70][1][1] = 300 * mib
    del samples[99][1][3]
    told = measure_memory(samples, 100.0)
    assert (told["processes"], told["max_rss_mib"]) == (3, 300)
    still, ended_early, leak = told["rss_growth_percent"]
    assert still == ended_early == 0
    assert 25 < leak < 40
