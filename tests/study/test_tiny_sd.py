"""The demo's model: its tokenizer, a short training run, and that the bundled one memorises."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from memcore.study import dataset, tiny_sd  # noqa: E402
from memcore.study.tokenizer import learn_merges, train_tokenizer  # noqa: E402

STEPS = 10
MODEL_LIMIT_BYTES, TRAIN_LIMIT_BYTES, TOTAL_LIMIT_BYTES = 5_000_000, 3_000_000, 7_000_000


@pytest.fixture(scope="module")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("short")
    tiny_sd.build(folder, steps=3, autoencoder_steps=3)
    return folder


@pytest.fixture(scope="module")
def bundled() -> diffusers.DiffusionPipeline:
    pipe = diffusers.DiffusionPipeline.from_pretrained(dataset.load_demo().model)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_tokenizer_gives_every_caption_back() -> None:
    texts = dataset.load(dataset.load_demo().folder).captions()
    tokenizer = train_tokenizer(texts)
    for text in texts:
        ids = tokenizer(text).input_ids
        assert ids[0] == tokenizer.bos_token_id
        assert ids[-1] == tokenizer.eos_token_id
        words = text.replace("-", " - ").split()
        assert len(ids) == len(words) + 2
        assert tokenizer.decode(ids, skip_special_tokens=True).split() == words
    assert tokenizer("a word unseen").input_ids != tokenizer("a word unheard").input_ids


def test_merges_do_not_depend_on_the_order_of_captions() -> None:
    texts = ["a red heart", "a red rose", "the rose"]
    assert learn_merges(texts) == learn_merges(reversed(texts))


def test_short_run_loads_and_samples(short_run: Path) -> None:
    pipe = diffusers.DiffusionPipeline.from_pretrained(short_run / "model")
    assert not any(module.training for module in (pipe.unet, pipe.vae, pipe.text_encoder))
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    images = sample(pipe, "rocket", 2)
    assert images.shape == (2, 64, 64, 3)
    for name in ("train.npz", "train.json", "truth.json", "prompts.txt"):
        assert (short_run / name).is_file()


def test_same_command_same_bytes(short_run: Path, tmp_path: Path) -> None:
    before, state = torch.get_num_threads(), torch.random.get_rng_state()
    tiny_sd.build(tmp_path, steps=3, autoencoder_steps=3)
    assert torch.get_num_threads() == before
    assert torch.equal(torch.random.get_rng_state(), state)
    files = sorted(file.relative_to(tmp_path) for file in tmp_path.rglob("*") if file.is_file())
    assert sum(file.suffix == ".safetensors" for file in files) == 3
    for file in files:
        assert (tmp_path / file).read_bytes() == (short_run / file).read_bytes(), file


def test_bundled_weights_are_half_precision() -> None:
    from safetensors import safe_open

    for file in dataset.load_demo().model.rglob("*.safetensors"):
        with safe_open(file, "np") as tensors:
            assert {tensors.get_tensor(name).dtype.name for name in tensors.keys()} <= {"float16", "int64"}  # noqa: SIM118


def test_bundled_files_are_small() -> None:
    paths = dataset.load_demo()
    assert tiny_sd.folder_bytes(paths.model) < MODEL_LIMIT_BYTES
    assert paths.train.stat().st_size < TRAIN_LIMIT_BYTES
    assert tiny_sd.folder_bytes(paths.folder) < TOTAL_LIMIT_BYTES


def test_planted_caption_gives_copies(bundled: diffusers.DiffusionPipeline) -> None:
    assert copies(bundled, "rocket") >= 10


def test_single_image_is_not_copied(bundled: diffusers.DiffusionPipeline) -> None:
    assert copies(bundled, "sailboat") < 10


def copies(pipe: diffusers.DiffusionPipeline, prompt: str) -> int:
    """Of 16 generations, those whose every tile lies within 0.15 of the caption's training image."""
    training = dataset.load(dataset.load_demo().folder)
    planted = training.images[next(i for i, item in enumerate(training.items) if item.caption == prompt)]
    squares = (sample(pipe, prompt, 16).astype(np.int64) - planted.astype(np.int64)) ** 2
    tiles = squares.reshape(16, 4, 16, 4, 16, 3).sum(axis=(2, 4, 5)).reshape(16, 16)
    return int((tiles.max(axis=1) * 100**2 <= 15**2 * 255**2 * 16 * 16 * 3).sum())


def sample(pipe: diffusers.DiffusionPipeline, prompt: str, count: int) -> NDArray[np.uint8]:
    seeds = [
        int.from_bytes(hashlib.sha256(f"{prompt}/{i}".encode()).digest()[:6], "big") for i in range(count)
    ]
    images = pipe(
        [prompt] * count,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        num_inference_steps=STEPS,
        guidance_scale=1.0,
        output_type="np",
    ).images
    return np.rint(images * 255).astype(np.uint8)
