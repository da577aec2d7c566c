"""The first stage of a cascade, trained on planted duplicates and audited: what was planted is found, and nothing else.

tests/data/cascade holds the weights that ``memcore.study.planted.cascade.train_first`` made; nothing is trained here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

from memcore.audit import audit
from memcore.matching.match_run import match_run
from memcore.runs.config import Config
from memcore.sampling.diffusers import DiffusersSampler
from memcore.sampling.protocol import Sampler
from memcore.study import dataset
from memcore.study.dataset import TrainingSet
from memcore.study.planted.data import planted_set, shrink

DATA = Path(__file__).parents[1] / "data" / "cascade"
LIMIT_BYTES = 3_000_000
#: As many as a finding needs, and two more.
GENERATIONS = 12


@pytest.fixture(scope="module")
def training() -> TrainingSet:
    return planted_set()


def audited(
    sampler: Sampler, training: TrainingSet, images: np.ndarray, prompts: list[str], place: Path
) -> tuple[set[str], set[str]]:
    """Return which prompts an audit flags, and which of them show a training image of their own."""
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


@pytest.mark.slow
def test_the_first_stage_copies_what_was_planted(training: TrainingSet, tmp_path: Path) -> None:
    """Every planted caption, and five others, by the stage of 16 x 16 pixels alone."""
    truth = dataset.truth(training)["prompts"]
    planted = [entry["prompt"] for entry in truth if entry["expected"]]
    others = [entry["prompt"] for entry in truth if not entry["expected"]][::8]
    sampler = DiffusersSampler.load(str(DATA / "stage_1"), steps=10, guidance_scale=1.0, batch_size=16)
    flagged, copied = audited(sampler, training, shrink(training.images), planted + others, tmp_path)
    assert (len(planted), len(others)) == (8, 5)
    assert flagged == copied == set(planted)


def test_the_weights_are_small_and_have_their_licence() -> None:
    files = [file for file in DATA.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < LIMIT_BYTES
    assert sum(file.suffix == ".safetensors" for file in files) == 2
    assert "Apache" in (DATA / "NOTICE.md").read_text(encoding="utf-8")
