"""A guarded model is audited: what its filter withholds is said, and is neither compared nor a clique of black frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from memcore.audit import audit
from memcore.errors import ConfigError
from memcore.guard import GuardedSampler, OutputFilter
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder
from memcore.sampling import FirstStep, FirstStepSampler, Images, Request
from tests.support.index_sets import make_index, pictures

TRAINING = pictures(30)


class Memorising:
    """Copies of training image 4 for "copied", with little noise, for four of five seeds; noise otherwise."""

    fingerprint, image_shape, seed_bits = "memorising-1", (12, 12, 3), 32

    def sample(self, requests: Sequence[Request]) -> Images:
        pixels = np.stack([self._one(request) for request in requests])
        return Images(pixels, np.zeros(len(pixels), np.bool_))

    def _one(self, request: Request) -> NDArray[np.uint8]:
        rng = np.random.default_rng(request.seed)
        if request.prompt == "copied" and rng.random() < 0.8:
            return np.clip(TRAINING[4].astype(int) + rng.integers(-2, 3, (12, 12, 3)), 0, 255).astype(
                np.uint8
            )
        return rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)

    def first_step(self, requests: Sequence[Request], *, guidance_scale: float) -> FirstStep:
        scores = np.ones(len(requests))
        return FirstStep(scores, scores)


def run(folder: Path, sampler: Any) -> RunFolder:
    config = Config(source="custom", generations=60, batch_size=25, grid=(2, 2))
    return audit(folder, config, sampler=sampler, prompts=["copied", "new"], quiet=True)


def test_an_audit_of_the_guarded_model(tmp_path: Path) -> None:
    index = make_index(tmp_path, TRAINING)
    bare = run(tmp_path / "bare", Memorising())
    assert [row["status"] for row in bare.findings()] == ["finding", "none"]
    sampler = GuardedSampler(Memorising(), OutputFilter(index, 0.05))
    guarded = run(tmp_path / "guarded", sampler)
    rows = guarded.findings()
    assert [row["status"] for row in rows] == ["none", "none"]
    assert 30 < rows[0]["excluded"] < 60
    assert (rows[0]["generated"], rows[1]["excluded"]) == (60, 0)
    (entry,) = [entry for entry in guarded.quarantine() if entry["reason"] == "guarded"]
    assert entry["prompt_id"] == 0
    assert (
        entry["detail"]
        == f"{rows[0]['excluded']} x an image that the output filter withheld: a training image is within 0.05"
    )
    told = guarded.meta["sampler"]["describe"]
    assert told["guard.delta"] == "0.05"
    assert told["guard.index_digest"] == index.digest


def test_a_replacement_is_what_is_compared(tmp_path: Path) -> None:
    new = pictures(1, seed=5)[0]
    guard = OutputFilter(
        make_index(tmp_path, TRAINING), 0.05, policy="replace", replacement=lambda image, decision: new
    )
    images = GuardedSampler(Memorising(), guard).sample([Request(0, "copied", seed) for seed in range(20)])
    replaced = (images.pixels == new).all((1, 2, 3))
    assert 10 < replaced.sum() < 20
    assert not images.flagged.any()
    assert len(images.notes) == replaced.sum()
    assert {note.reason for note in images.notes} == {"guarded"}
    assert "replaced" in images.notes[0].detail


def test_tensors_stay_tensors(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class OnTorch(Memorising):
        def sample(self, requests: Sequence[Request]) -> Images:
            made = super().sample(requests)
            return Images(torch.from_numpy(made.pixels), made.flagged)

    requests = [Request(0, "copied", seed) for seed in range(20)]
    guard = OutputFilter(make_index(tmp_path, TRAINING), 0.05)
    of_arrays, of_tensors = (GuardedSampler(kind(), guard).sample(requests) for kind in (Memorising, OnTorch))
    assert isinstance(of_tensors.pixels, torch.Tensor)
    assert (of_tensors.pixels.numpy() == of_arrays.pixels).all()
    assert (of_tensors.flagged == of_arrays.flagged).all()
    assert of_arrays.flagged.any()


def test_what_the_sampler_has_besides(tmp_path: Path) -> None:
    guard = OutputFilter(make_index(tmp_path, TRAINING), 0.05)
    sampler: Any = GuardedSampler(Memorising(), guard)
    assert sampler.seed_bits == 32
    assert isinstance(sampler, FirstStepSampler)
    assert not hasattr(sampler, "check_prompt")
    other = GuardedSampler(Memorising(), OutputFilter(tmp_path / "index", 0.04))
    assert len({sampler.fingerprint, other.fingerprint, Memorising.fingerprint}) == 3
    with pytest.raises(ConfigError, match="policy='flag', which gives all of them out"):
        GuardedSampler(Memorising(), OutputFilter(tmp_path / "index", 0.05, policy="flag"))
