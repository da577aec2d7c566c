"""unCLIP, trained on planted duplicates and audited: what was planted is found, and nothing else.

tests/data/unclip holds what ``memcore study train FOLDER --model unclip`` made; nothing is trained here.
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

from memcore.sampling.diffusers import DiffusersSampler
from memcore.study.dataset import TrainingSet
from memcore.study.planted.data import planted_set
from tests.support.planted_audit import DATA, audited, captions, check_stored


@pytest.fixture(scope="module")
def training() -> TrainingSet:
    return planted_set()


def sampler() -> DiffusersSampler:
    return DiffusersSampler.load(
        str(DATA / "unclip" / "model"), steps=10, guidance_scale=1.0, batch_size=16,
        call_options={"super_res_num_inference_steps": 2},
    )  # fmt: skip


@pytest.mark.slow
def test_what_was_planted_is_found(training: TrainingSet, tmp_path: Path) -> None:
    """Every planted caption, and five others."""
    planted, others = captions(training)
    flagged, _ = audited(sampler(), training, training.images, planted + others[::8], tmp_path)
    assert (len(planted), len(others[::8])) == (8, 5)
    assert flagged == set(planted)


def test_a_planted_caption_and_one_that_is_there_once(training: TrainingSet, tmp_path: Path) -> None:
    planted, others = captions(training)
    flagged, _ = audited(sampler(), training, training.images, [planted[2], others[0]], tmp_path)
    assert flagged == {planted[2]}


def test_the_weights_are_small_and_have_their_licence() -> None:
    check_stored("unclip", weights=6)
