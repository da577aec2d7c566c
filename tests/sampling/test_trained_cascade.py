"""A cascade, trained on planted duplicates and audited: what was planted is found, nothing else, and which stage copies.

tests/data/cascade holds what ``memcore study train FOLDER --model cascade`` made; nothing is trained here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

from memcore.sampling import CallableSampler
from memcore.sampling.diffusers.cascade import CascadeSampler
from memcore.study.dataset import TrainingSet
from memcore.study.planted.cascade import NOISE_LEVEL
from memcore.study.planted.data import planted_set, shrink
from memcore.types import Images, Request
from tests.support.planted_audit import DATA, audited, captions, check_stored


@pytest.fixture(scope="module")
def training() -> TrainingSet:
    return planted_set()


class Kept(CascadeSampler):
    """The stored cascade, which keeps what its first stage made."""

    def __init__(self) -> None:
        stages = (str(DATA / "cascade" / "stage_1"), str(DATA / "cascade" / "stage_2"))
        super().__init__(
            *stages, steps=10, super_res_steps=2, guidance_scale=1.0, noise_level=NOISE_LEVEL, batch_size=16
        )
        self.small: dict[tuple[str, int], Any] = {}

    def sample(self, requests: Any) -> Images:
        if self._pipe.kept is not None:
            return super().sample(requests)
        images, small = self.sample_stages(requests)
        self.small |= {(r.prompt, r.seed): image for r, image in zip(requests, small, strict=True)}
        return images


def audit_both(training: TrainingSet, prompts: list[str], place: Path) -> list[tuple[set[str], set[str]]]:
    """Return what is flagged and what is copied, of both stages and of what the first one had made of the same images."""
    both = Kept()

    def first(texts: list[str], seeds: list[int]) -> Any:
        return np.stack([both.small[key] for key in zip(texts, seeds, strict=True)])

    found = audited(both, training, training.images, prompts, place / "both")
    kept = CallableSampler(first, (16, 16, 3), "stage 1", seed_bits=both.seed_bits)
    return [found, audited(kept, training, shrink(training.images), prompts, place / "first")]


@pytest.mark.slow
def test_what_was_planted_is_found_and_its_first_stage_copied_it(
    training: TrainingSet, tmp_path: Path
) -> None:
    """Every planted caption, and five others."""
    planted, others = captions(training)
    both, first = audit_both(training, planted + others[::8], tmp_path)
    assert (len(planted), len(others[::8])) == (8, 5)
    assert both[0] == set(planted)
    assert first == (set(planted), set(planted))


def test_a_planted_caption_and_one_that_is_there_once(training: TrainingSet, tmp_path: Path) -> None:
    planted, others = captions(training)
    both, first = audit_both(training, [planted[2], others[0]], tmp_path)
    assert both[0] == first[0] == first[1] == {planted[2]}


def test_a_kept_small_image_is_that_which_the_first_stage_makes_alone(training: TrainingSet) -> None:
    from memcore.sampling.diffusers import DiffusersSampler

    requests = [Request(0, caption, seed) for seed, caption in enumerate(captions(training)[0])]
    _, small = Kept().sample_stages(requests)
    alone = DiffusersSampler.load(
        str(DATA / "cascade" / "stage_1"), steps=10, guidance_scale=1.0, batch_size=16
    )
    assert (small == alone.sample(requests).pixels.numpy()).all()


def test_the_weights_are_small_and_have_their_licence() -> None:
    check_stored("cascade", weights=3)
