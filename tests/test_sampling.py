"""Samplers: an image depends on nothing but its prompt and its seed, for every pipeline class that can be built here."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from memcore.errors import ArgumentTypeError, ArgumentValueError, ConfigError, SamplerError
from memcore.sampling import CallableSampler, Sampler, check_images, derive_seed, flag_constant
from memcore.sampling.diffusers import CPU_BATCH, DiffusersSampler
from memcore.types import Images, Request
from tests import tiny_pipelines
from tests.tiny_pipelines import PIPELINES

REQUESTS = [
    Request(0, "a red dog", 11),
    Request(1, "blue cat", 12),
    Request(0, "a red dog", 13),
    Request(2, "photo", 14),
]


def make_sampler(name: str, **changes: Any) -> DiffusersSampler:
    options: dict[str, Any] = {
        "steps": 2,
        "guidance_scale": 3.0,
        "batch_size": 4,
        **PIPELINES[name][1],
        **changes,
    }
    return DiffusersSampler(tiny_pipelines.make(name), **options)


def pixels(images: Images) -> np.ndarray:
    return images.pixels.numpy()


@pytest.mark.parametrize("name", PIPELINES)
def test_an_image_depends_on_its_request_alone(name: str) -> None:
    sampler = make_sampler(name)
    assert isinstance(sampler, Sampler)
    together = sampler.sample(REQUESTS)
    h, w, c = sampler.image_shape
    assert together.pixels.shape == (4, h, w, c)
    assert together.pixels.dtype is torch.uint8
    assert not together.flagged.any()
    alone = sampler.sample(REQUESTS[1:2])
    assert np.array_equal(pixels(alone)[0], pixels(together)[1])
    backwards = sampler.sample(REQUESTS[::-1])
    assert np.array_equal(pixels(backwards)[::-1], pixels(together))
    assert not np.array_equal(pixels(together)[0], pixels(together)[2])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_batch_size_and_threads_do_not_matter_on_a_cpu(batch_size: int, threads: int) -> None:
    many = [Request(i % 3, ["a dog", "red cat", "blue"][i % 3], 100 + i) for i in range(CPU_BATCH + 3)]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = pixels(make_sampler("stable diffusion 1").sample(many))
        torch.set_num_threads(threads)
        sampler = make_sampler("stable diffusion 1", batch_size=batch_size)
        parts = [pixels(sampler.sample(many[s : s + batch_size])) for s in range(0, len(many), batch_size)]
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(np.concatenate(parts), expected)


def test_unit_range_is_that_of_the_saved_image() -> None:
    """IF answers in [-1, 1] when asked for tensors: its bytes must be those of its own PIL images."""
    sampler = make_sampler("deepfloyd if")
    pipe = tiny_pipelines.make("deepfloyd if")
    for component in pipe.components.values():
        if isinstance(component, torch.nn.Module):
            component.eval()
    padded = [REQUESTS[0]] * CPU_BATCH
    saved = pipe(
        prompt=[r.prompt for r in padded],
        generator=[torch.Generator().manual_seed(r.seed) for r in padded],
        num_inference_steps=2,
        guidance_scale=3.0,
        **tiny_pipelines._SIZE,
    ).images[0]
    assert np.array_equal(np.asarray(saved), pixels(sampler.sample(REQUESTS[:1]))[0])


def test_modules_in_training_mode_are_put_right() -> None:
    pipe = tiny_pipelines.make("stable diffusion 1")
    assert pipe.unet.training
    make = DiffusersSampler(pipe, steps=1, guidance_scale=1.0, batch_size=2, height=16, width=16)
    assert not any(c.training for c in pipe.components.values() if isinstance(c, torch.nn.Module))
    assert make.steps == 1


class BlackChecker(torch.nn.Module):
    """A safety checker that finds every second image unsafe and answers with black."""

    device = torch.device("cpu")
    dtype = torch.float32

    def forward(self, images: Any, clip_input: Any) -> tuple[Any, list[bool]]:
        unsafe = [i % 2 == 1 for i in range(len(images))]
        for i, bad in enumerate(unsafe):
            if bad:
                images[i] = 0
        return images, unsafe


def test_black_frames_of_a_safety_checker_are_flagged() -> None:
    torch.manual_seed(0)
    pipe = tiny_pipelines.stable_diffusion()
    from transformers import CLIPImageProcessor

    pipe.safety_checker = BlackChecker()
    pipe.feature_extractor = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=16)
    sampler = DiffusersSampler(pipe, steps=1, guidance_scale=1.0, batch_size=4, height=16, width=16)
    images = sampler.sample(REQUESTS)
    assert images.flagged.tolist() == [False, True, False, True]
    assert int(images.pixels[1].max()) == 0


def test_constant_frames_are_flagged() -> None:
    frames = np.zeros((4, 8, 8, 3), np.uint8)
    frames[1] = 200
    frames[2, 3, 3, 1] = 1
    frames[3] = (10, 20, 30)
    for images in (frames, torch.from_numpy(frames)):
        assert flag_constant(images).tolist() == [True, True, False, True]
    assert flag_constant(frames[:0]).shape == (0,)


def test_fingerprint_is_the_same_for_the_same_and_changes_with_anything() -> None:
    base = make_sampler("stable diffusion 1").fingerprint
    assert make_sampler("stable diffusion 1").fingerprint == base
    changed = [
        make_sampler("stable diffusion 1", steps=3),
        make_sampler("stable diffusion 1", guidance_scale=3.5),
        make_sampler("stable diffusion 1", batch_size=8),
        make_sampler("stable diffusion 1", height=32),
        make_sampler("stable diffusion 1", call_options={"negative_prompt": "dog"}),
        make_sampler("stable diffusion 2"),
    ]
    pipe = tiny_pipelines.make("stable diffusion 1")
    with torch.no_grad():
        next(pipe.unet.parameters()).view(-1)[0] += 1e-3
    options: dict[str, Any] = {"steps": 2, "guidance_scale": 3.0, "batch_size": 4, "height": 16, "width": 16}
    changed.append(DiffusersSampler(pipe, **options))
    prints = [base, *[s.fingerprint for s in changed]]
    assert len(set(prints)) == len(prints)


def test_a_copied_folder_has_the_same_fingerprint(tmp_path: Any) -> None:
    pipe = tiny_pipelines.make("stable diffusion 1")
    options: dict[str, Any] = {"steps": 2, "guidance_scale": 3.0, "batch_size": 4, "height": 16, "width": 16}
    pipe.save_pretrained(tmp_path / "a")
    pipe.save_pretrained(tmp_path / "elsewhere" / "b")
    one = DiffusersSampler.load(str(tmp_path / "a"), **options)
    two = DiffusersSampler.load(str(tmp_path / "elsewhere" / "b"), **options)
    assert one.fingerprint == two.fingerprint
    assert str(tmp_path) not in json.dumps(one.describe())
    own = DiffusersSampler(pipe, **options)
    assert np.array_equal(pixels(own.sample(REQUESTS)), pixels(one.sample(REQUESTS)))


def test_seeds() -> None:
    """Known answers: a change would silently make every old run unrepeatable."""
    assert derive_seed(0, 0, 0) == KNOWN[0]
    assert derive_seed(1, 349_999, 499) == KNOWN[1]
    seeds = {derive_seed(r, p, i) for r in range(3) for p in range(20) for i in range(50)}
    assert len(seeds) == 3 * 20 * 50
    assert all(0 <= s < 2**63 for s in seeds)


KNOWN = (7_296_892_043_415_487_710, 8_034_045_746_847_259_662)


def _noise(prompts: list[str], seeds: list[int]) -> np.ndarray:
    return np.stack([np.random.default_rng(s).integers(0, 256, (8, 8, 3), dtype=np.uint8) for s in seeds])


def _sample(function: Any) -> Any:
    return CallableSampler(function, (8, 8, 3), "f").sample(REQUESTS[:2])


def test_any_callable_is_a_sampler() -> None:
    from PIL import Image

    sampler = CallableSampler(_noise, (8, 8, 3), "noise-1")
    assert isinstance(sampler, Sampler)
    images = sampler.sample(REQUESTS)
    assert images.pixels.shape == (4, 8, 8, 3)
    as_pil = CallableSampler(lambda p, s: [Image.fromarray(x) for x in _noise(p, s)], (8, 8, 3), "noise-2")
    assert np.array_equal(as_pil.sample(REQUESTS).pixels, images.pixels)
    black = CallableSampler(lambda p, s: np.zeros((len(s), 8, 8, 3), np.uint8), (8, 8, 3), "black")
    assert black.sample(REQUESTS).flagged.all()


def _pipe() -> Any:
    return tiny_pipelines.make("stable diffusion 1")


def _build(**changes: Any) -> Any:
    options: dict[str, Any] = {"steps": 2, "guidance_scale": 3.0, "batch_size": 4, **changes}
    return DiffusersSampler(options.pop("pipe", None) or _pipe(), **options)


VALUE, TYPE = ArgumentValueError, ArgumentTypeError
WRONG: list[tuple[Any, type, str]] = [
    (
        lambda: _build(pipe=torch.nn.Linear(1, 1)),
        TYPE,
        "pipe must be a diffusers DiffusionPipeline, got Linear",
    ),
    (lambda: _build(steps=0), VALUE, "steps must be >= 1, got 0"),
    (lambda: _build(steps=2.5), TYPE, "steps must be an integer, got float"),
    (lambda: _build(batch_size=0), VALUE, "batch_size must be >= 1, got 0"),
    (
        lambda: _build(guidance_scale=None),
        VALUE,
        "guidance_scale is missing: StableDiffusionPipeline takes it, and its default changes the images; 1.0 turns it off",
    ),
    (
        lambda: _build(pipe=tiny_pipelines.make("ddim")),
        VALUE,
        "guidance_scale must be None, since DDIMPipeline does not take it, got 3.0",
    ),
    (
        lambda: _build(pipe=tiny_pipelines.make("ddim"), guidance_scale=None, height=8),
        VALUE,
        "height must be None, since DDIMPipeline does not take it, got 8",
    ),
    (
        lambda: _build(call_options={"colour": "red"}),
        VALUE,
        "call_options holds 'colour', which is no argument of StableDiffusionPipeline",
    ),
    (
        lambda: _build(call_options={"generator": None}),
        VALUE,
        "call_options holds 'generator', which is set by the sampler",
    ),
    (lambda: _build(height=16, width=16).sample([]), VALUE, "requests must hold at least one request"),
    (
        lambda: DiffusersSampler.load("/no/such/folder", dtype="int8"),
        VALUE,
        "dtype must be float32, float16 or bfloat16, got 'int8'",
    ),
    (lambda: CallableSampler("f", (8, 8, 3), "f"), TYPE, "function must be callable, got str"),
    (
        lambda: CallableSampler(_noise, (8, 8), "f"),
        VALUE,
        "image_shape must be (height, width, channels), got (8, 8)",
    ),
    (lambda: CallableSampler(_noise, (8, 0, 3), "f"), VALUE, "image_shape must be >= 1, got 0"),
    (
        lambda: CallableSampler(_noise, (8, 8, 3), ""),
        VALUE,
        "fingerprint must be a text that is not empty, got ''",
    ),
    (
        lambda: _sample(lambda p, s: 1 / 0),
        SamplerError,
        "the sampler's function raised ZeroDivisionError: division by zero",
    ),
    (
        lambda: _sample(lambda p, s: _noise(p, s)[:1]),
        SamplerError,
        "the sampler's pixels must have the shape (2, 8, 8, 3) (N, H, W, C), got (1, 8, 8, 3)",
    ),
    (
        lambda: _sample(lambda p, s: _noise(p, s) / 255),
        SamplerError,
        "the sampler's pixels must be uint8, got float64; memcore.to_uint8() converts",
    ),
    (
        lambda: _sample(lambda p, s: None),
        SamplerError,
        "the sampler's pixels must be a NumPy array or a torch tensor, got NoneType",
    ),
    (
        lambda: check_images(np.zeros(3), REQUESTS, (8, 8, 3)),
        SamplerError,
        "the sampler must return memcore.Images, got ndarray",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), WRONG)
def test_wrong_call(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text


def test_a_pipeline_that_raises_names_the_prompts() -> None:
    sampler = make_sampler("stable diffusion 1", height=17)
    with pytest.raises(SamplerError, match=r"the pipeline raised ValueError for prompts \[0, 1, 2\]"):
        sampler.sample(REQUESTS)


def test_a_model_that_is_not_there(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be loaded as a diffusers pipeline"):
        DiffusersSampler.load(str(tmp_path), steps=1, guidance_scale=1.0, batch_size=1)
