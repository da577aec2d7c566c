"""Single bits are flipped in every file of a run and an index: each is noticed by name or harmless, whatever reads it.

Harmless is proven: every reader's answer, and every file that it writes, is what it is without the flip. Of a flip that is
noticed, what is refused has changed nothing, and what is answered all the same is of the same findings.
``MEMCORE_FLIPS`` and ``MEMCORE_RESUMES`` are the numbers for each of the seeds in ``MEMCORE_SEEDS``, with which ``make
proof-bit-flips`` takes 20,000 and 200 in all.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from memcore.system import atomic_files
from tests.support.faulty_disk import QuickDisk
from tests.support.flips import prove

FLIPS = int(os.environ.get("MEMCORE_FLIPS", "500"))
RESUMES = int(os.environ.get("MEMCORE_RESUMES", "20"))
SEEDS = tuple(map(int, os.environ.get("MEMCORE_SEEDS", "1").split()))
#: Kinds of files of which nearly every bit counts, and is noticed by some reader.
SEALED = (
    "run.toml",
    "/*.parquet",
    "/*.checkpoint",
    "shard.json",
    "index.json",
    "match.json",
    "/*.png",
    "places.npy",
)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_flip_is_noticed_or_harmless(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic_files, "disk", QuickDisk())
    told = prove(FLIPS, RESUMES, seed, tmp_path)
    print(json.dumps({**told, "wrong": told["wrong"][:20]}))
    assert told["wrong"] == []
    assert sum(told["total"].values()) == FLIPS + RESUMES
    assert set(told["total"]) == {"noticed", "harmless"}  # every file has a reader
    for kind, found in told["kinds"].items():
        if kind.startswith(("run/", "index/")) and kind.endswith(SEALED):
            assert found["noticed"] >= 0.9 * sum(found.values()), kind
