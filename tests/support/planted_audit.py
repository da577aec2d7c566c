"""An audit of a stored model trained on planted duplicates: what it flags, and what it shows of its training set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memcore.audit import audit
from memcore.matching.match_run import match_run
from memcore.runs.config import Config
from memcore.sampling.protocol import Sampler
from memcore.study import dataset
from memcore.study.dataset import TrainingSet

DATA = Path(__file__).parents[1] / "data"
LIMIT_BYTES = 3_000_000
#: As many as a finding needs, and two more.
GENERATIONS = 12


def captions(training: TrainingSet) -> tuple[list[str], list[str]]:
    """Return the captions that were planted, and the others."""
    truth = dataset.truth(training)["prompts"]
    planted = [entry["prompt"] for entry in truth if entry["expected"]]
    return planted, [entry["prompt"] for entry in truth if not entry["expected"]]


def audited(
    sampler: Sampler, training: TrainingSet, images: NDArray[np.uint8], prompts: list[str], place: Path
) -> tuple[set[str], set[str]]:
    """Return which prompts an audit flags, and which of them show a training image of their own."""
    place.mkdir(exist_ok=True)
    np.savez(place / "train.npz", images=images)
    config = Config(source="custom", generations=GENERATIONS, seed=5)
    run = audit(place / "run", config, sampler=sampler, prompts=prompts, quiet=True)
    flagged = {prompts[i] for i, row in enumerate(run.findings()) if row["status"] == "finding"}
    copied = {
        prompts[row["prompt_id"]]
        for row in match_run(run.path, place / "train.npz", metric="tiled_l2")
        if row["extracted"] and training.items[row["training_index"]].caption == prompts[row["prompt_id"]]
    }
    return flagged, copied


def check_stored(name: str, weights: int) -> None:
    """Check that a stored model is small, and has its licence."""
    files = [file for file in (DATA / name).rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < LIMIT_BYTES
    assert sum(file.suffix == ".safetensors" for file in files) == weights
    assert "Apache" in (DATA / name / "NOTICE.md").read_text(encoding="utf-8")
