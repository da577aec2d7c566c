"""Single bits are flipped in every file of a run and an index: each is noticed by name or harmless, whatever reads it.

Harmless is proven: every reader's answer, and every file that it writes, is what it is without the flip. Of a flip that is
noticed, what is refused has changed nothing, and what is answered all the same is of the same findings.
``MEMCORE_FLIPS`` and ``MEMCORE_RESUMES`` are the numbers (``make proof-bit-flips`` takes 20,000 and 200), ``MEMCORE_SEED``
is the seed.
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
SEED = int(os.environ.get("MEMCORE_SEED", "1"))
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


def test_every_flip_is_noticed_or_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_files, "disk", QuickDisk())
    told = prove(FLIPS, RESUMES, SEED, tmp_path)
    if FLIPS > 500:
        print(json.dumps({**told, "wrong": told["wrong"][:20]}, indent=1))
    assert told["wrong"] == []
    assert sum(told["total"].values()) == FLIPS + RESUMES
    assert set(told["total"]) == {"noticed", "harmless"}  # every file has a reader
    for kind, found in told["kinds"].items():
        if kind.startswith(("run/", "index/")) and kind.endswith(SEALED):
            assert found["noticed"] >= 0.9 * sum(found.values()), kind
