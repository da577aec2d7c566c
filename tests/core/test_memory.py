"""A run holds few images at a time: at most three prompts beyond its sampler, however many it does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys, threading, time
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow.parquet

import memcore
from memcore.audit import audit
from memcore.runs.config import Config
from memcore.sampling import CallableSampler

SHAPE, GENERATIONS = (512, 512, 3), 48
pool = np.random.default_rng(0).integers(0, 256, (4, *SHAPE), dtype=np.uint8)


def draw(prompts, seeds):
    out = np.empty((len(seeds), *SHAPE), np.uint8)
    for i, seed in enumerate(seeds):
        out[i] = pool[0] if seed % 3 else np.roll(pool[1 + seed % 3], seed % 509, 0)
        out[i, 0, 0, 0] = seed % 255
    return out


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


sampler = CallableSampler(draw, SHAPE, "pool")
sampler.sample([memcore.Request(0, "a", 1)] * 16)
memcore.pairwise_tiled_l2(pool)
before, peak, running = resident(), 0, True


def watch():
    global peak
    while running:
        peak = max(peak, resident())
        time.sleep(0.002)


watcher = threading.Thread(target=watch)
watcher.start()
config = Config(source="custom", generations=GENERATIONS, batch_size=16, shard_prompts=3)
audit(Path(sys.argv[1]), config, sampler=sampler, prompts=list("abcdef"), quiet=True)
running = False
watcher.join()
print(json.dumps((peak - before) / (GENERATIONS * 512 * 512 * 3)))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads resident memory from /proc")
def test_memory_beyond_the_sampler_is_at_most_three_prompts(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "run")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert 0.5 < json.loads(said) <= 3.0
