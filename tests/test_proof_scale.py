"""The proof of scale in small: the same program, fewer prompts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from memcore.study.synthetic import NEGATIVES, prompts

ROOT = Path(__file__).parents[1]


def test_every_kind_is_there() -> None:
    kinds = Counter(p.split()[0] for p in prompts(1000, 10))
    assert {*NEGATIVES, "memorised", "hubbed", "plain"} == set(kinds)
    assert kinds["memorised"] == kinds["hubbed"] == 5
    assert min(kinds[k] for k in NEGATIVES) >= 10


def test_small(tmp_path: Path) -> None:
    words = [
        sys.executable,
        str(ROOT / "benchmarks" / "proof_scale.py"),
        "--prompts",
        "1000",
        "--planted",
        "10",
    ]
    words += ["--workers", "2", "--kills", "2", "--folder", str(tmp_path / "proof"), "--shard-prompts", "100"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["found"], record["wrong"], record["killed_identical"]) == (10, 0, True)
    assert record["sample_identical"] == 20
    assert record["max_rss_mib"] < 1024
    assert record["files"] < 20 + 20 + 10 * 16 + 5
