"""The cascade and unCLIP with planted duplicates: what they are trained on, a short training, and a sample of each.

That a whole training memorises what was planted is measured by benchmarks/planted_model_figures.py: it takes minutes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from memcore.cli import main  # noqa: E402
from memcore.errors import ConfigError  # noqa: E402
from memcore.sampling.diffusers import DiffusersSampler  # noqa: E402
from memcore.sampling.diffusers.cascade import CascadeSampler  # noqa: E402
from memcore.study import dataset  # noqa: E402
from memcore.study.planted.build import build  # noqa: E402
from memcore.study.planted.data import KINDS, Entries, planted_set, shrink  # noqa: E402
from memcore.study.tiny_sd import folder_bytes  # noqa: E402
from memcore.types import Request  # noqa: E402

MODEL_LIMIT_BYTES = 3_000_000
REQUESTS = [Request(0, "lion face", 1), Request(1, "a wild animal", 2), Request(0, "lion face", 3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both models after two steps of each part: their classes and files are those of a whole training."""
    out = tmp_path_factory.mktemp("planted")
    for kind in ("cascade", "unclip"):
        assert main(["study", "train", str(out / kind), "--model", kind, "--steps", "2"]) == 0
    return out


def cascade(folder: Path, **options: Any) -> CascadeSampler:
    return CascadeSampler(
        str(folder / "cascade" / "stage_1"),
        str(folder / "cascade" / "stage_2"),
        **{"steps": 2, "guidance_scale": 1.0, **options},
    )


def test_what_is_planted() -> None:
    training = planted_set()
    truth = dataset.truth(training)["prompts"]
    assert {item.kind for item in training.items} == set(KINDS)
    assert sum(entry["expected"] is True for entry in truth) == 8
    assert sum(entry["expected"] is False for entry in truth) == 33
    assert {entry["copies"] for entry in truth if entry["expected"]} == {200}
    assert {entry["copies"] for entry in truth if not entry["expected"]} == {1}
    small = shrink(training.images)
    assert small.shape == (len(training.items), 16, 16, 3)
    mean = training.images.reshape(-1, 16, 4, 16, 4, 3).mean((2, 4))
    assert np.abs(small - mean).max() <= 1  # each pixel is the mean of those that it covers, rounded twice


def test_each_copy_is_seen_once_an_epoch() -> None:
    training = planted_set()
    entries = Entries(training, torch.Generator().manual_seed(0))
    epoch = torch.cat([entries.take(16) for _ in range(2 * len(training.entries()) // 16)])
    half = len(training.entries())
    assert sorted(epoch[:half].tolist()) == sorted(training.entries().tolist())
    assert epoch[:half].tolist() != epoch[half : 2 * half].tolist()


def test_both_stages_make_the_images_that_they_make_alone(folder: Path) -> None:
    sampler = cascade(folder)
    images = sampler.sample(REQUESTS).pixels
    assert images.shape == (3, 64, 64, 3)
    assert torch.equal(images[1], sampler.sample(REQUESTS[1:2]).pixels[0])
    alone = DiffusersSampler.load(
        str(folder / "cascade" / "stage_1"), steps=2, guidance_scale=1.0, batch_size=16
    )
    many = [
        Request(r.prompt_id, r.prompt, r.seed + 10 * i) for i in range(6) for r in REQUESTS
    ]  # two batches
    both, small = sampler.sample_stages(many)
    assert small.shape == (18, 16, 16, 3)
    assert (small == alone.sample(many).pixels.numpy()).all()
    assert torch.equal(both.pixels[:3], images)
    assert sampler._pipe.kept is None


def test_a_fingerprint_sees_both_stages(folder: Path) -> None:
    described = cascade(folder).describe()
    assert {"component.unet", "component.super_res_unet", "component.text_encoder"} <= set(described)
    assert (described["call.num_inference_steps"], described["call.super_res_num_inference_steps"]) == (
        "2",
        "2",
    )
    prints = [cascade(folder, **o).fingerprint for o in ({}, {"super_res_steps": 3}, {"noise_level": 100})]
    assert len(set(prints)) == 3
    assert not any(name.startswith("changed.") for name in described)


def test_stages_of_other_classes_are_refused(folder: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"stage_1 must be a pipeline of the class IFPipeline, got UnCLIPPipeline"
    ):
        CascadeSampler(str(folder / "unclip" / "model"), "", steps=2, guidance_scale=1.0)
    with pytest.raises(
        ConfigError, match=r"stage_2 must be a pipeline of the class IFSuperResolutionPipeline"
    ):
        CascadeSampler(*[str(folder / "cascade" / "stage_1")] * 2, steps=2, guidance_scale=1.0)


def test_unclip_is_sampled_as_it_is_saved(folder: Path) -> None:
    sampler = DiffusersSampler.load(
        str(folder / "unclip" / "model"), steps=2, guidance_scale=1.0, batch_size=16
    )
    images = sampler.sample(REQUESTS).pixels
    assert images.shape == (3, 64, 64, 3)
    assert torch.equal(images[2], sampler.sample(REQUESTS[2:]).pixels[0])
    assert not any(name.startswith("changed.") for name in sampler.describe())


def test_same_command_same_bytes(folder: Path, tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    for kind in ("cascade", "unclip"):
        build(kind, tmp_path / kind, steps=2)
    assert torch.equal(torch.random.get_rng_state(), state)
    files = sorted(file.relative_to(tmp_path) for file in tmp_path.rglob("*") if file.is_file())
    assert sum(file.suffix == ".safetensors" for file in files) == 9
    for file in files:
        assert (tmp_path / file).read_bytes() == (folder / file).read_bytes(), file


def test_models_are_small_and_in_half_precision(folder: Path) -> None:
    from safetensors import safe_open

    models = [folder / "cascade" / "stage_1", folder / "cascade" / "stage_2", folder / "unclip" / "model"]
    for model in models:
        for file in model.rglob("*.safetensors"):
            with safe_open(file, "np") as tensors:
                kinds = {tensors.get_tensor(name).dtype.name for name in tensors.keys()}  # noqa: SIM118
                assert kinds <= {"float16", "int64"}, file
    assert folder_bytes(models[0]) + folder_bytes(models[1]) < MODEL_LIMIT_BYTES
    assert folder_bytes(models[2]) < MODEL_LIMIT_BYTES
    assert all("Apache" in (folder / kind / "NOTICE.md").read_text() for kind in ("cascade", "unclip"))


def test_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="kind must be cascade or unclip, got 'imagen'"):
        build("imagen", tmp_path)
