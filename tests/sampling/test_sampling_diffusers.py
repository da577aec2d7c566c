"""DiffusersSampler: an image depends on its prompt and its seed alone, for every pipeline class that is built here."""

from __future__ import annotations

import json
from typing import Any

import diffusers as d
import numpy as np
import pytest
import torch
import transformers as t

from memcore.errors import ArgumentTypeError, ArgumentValueError, ConfigError, MemcoreError, SamplerError
from memcore.sampling import Sampler
from memcore.sampling.diffusers import DiffusersSampler
from memcore.sampling.diffusers.sampler import CPU_BATCH, CPU_THREADS
from memcore.types import Images, Request
from tests.support import tiny_pipelines
from tests.support.tiny_multistage import MULTISTAGE
from tests.support.tiny_pipelines import PIPELINES

ALL = {**PIPELINES, **MULTISTAGE}
SD = "stable diffusion 1"
REQUESTS = [
    Request(0, "a red dog", 11),
    Request(1, "blue cat", 12),
    Request(0, "a red dog", 13),
]


def make_pipe(name: str) -> Any:
    torch.manual_seed(0)
    return ALL[name][0]()


def make_sampler(name: str = SD, pipe: Any = None, **changes: Any) -> DiffusersSampler:
    """Batches of four on the CPU, unless ``changes`` say otherwise: the constant's value does not matter here."""
    options: dict[str, Any] = {"steps": 2, "guidance_scale": 3.0, "batch_size": 4, "cpu_batch": 4}
    return DiffusersSampler(pipe or make_pipe(name), **{**options, **ALL[name][1], **changes})


def pixels(images: Images) -> np.ndarray:
    return images.pixels.numpy()


@pytest.mark.parametrize("name", ALL)
def test_an_image_depends_on_its_request_alone(name: str) -> None:
    sampler = make_sampler(name)
    assert isinstance(sampler, Sampler)
    together = sampler.sample(REQUESTS)  # three of a batch of four: padded
    assert together.pixels.shape == (3, *sampler.image_shape)
    assert together.pixels.dtype is torch.uint8
    assert not together.flagged.any()
    alone = sampler.sample(REQUESTS[1:2])
    assert np.array_equal(pixels(alone)[0], pixels(together)[1])
    backwards = sampler.sample(REQUESTS[::-1])
    assert np.array_equal(pixels(backwards)[::-1], pixels(together))
    assert not np.array_equal(pixels(together)[0], pixels(together)[2])
    assert sampler.image_shape == make_sampler(name).image_shape


@pytest.mark.parametrize("name", [SD, "unclip", "ddpm"])
def test_batch_size_and_threads_do_not_matter_on_a_cpu(name: str) -> None:
    """unCLIP is here because without the pinned thread count its images differ by one level between 1 and 2 threads."""
    many = [Request(i % 3, ["a dog", "red cat", "blue"][i % 3], 100 + i) for i in range(6)]
    sampler, before = make_sampler(name, batch_size=32), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = pixels(sampler.sample(many))
        torch.set_num_threads(2)
        small = make_sampler(name, pipe=sampler._pipe, batch_size=3)
        parts = [pixels(small.sample(many[s : s + 3])) for s in (0, 3)]
        assert torch.get_num_threads() == 2  # the caller's setting is put back
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(np.concatenate(parts), expected)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        (SD, torch.float32),
        (SD, torch.bfloat16),
        ("deepfloyd if", torch.float32),
        ("deepfloyd if", torch.bfloat16),
        ("kandinsky 2.2", torch.float32),
        ("unclip", torch.float32),
        ("ddpm", torch.float32),
    ],
)
def test_bytes_are_those_of_the_saved_image(name: str, dtype: torch.dtype) -> None:
    """With output_type="pt" some pipelines answer in [-1, 1], or without their safety checker."""
    sampler = make_sampler(name, pipe=make_pipe(name).to(dtype))
    call = {k: v for k, v in sampler._call.items() if k != "output_type"}
    call |= {"prompt": ["a red dog"] * 4} if sampler._conditional else {"batch_size": 4}
    generators = [torch.Generator().manual_seed(11) for _ in range(4)]
    with sampler._repeatable():
        saved = sampler._pipe(**call, generator=generators, output_type="pil").images[0]
    assert np.array_equal(np.asarray(saved), pixels(sampler.sample(REQUESTS[:1]))[0])


def test_bfloat16_where_diffusers_itself_cannot_save() -> None:
    """DDPM's own way to NumPy raises in bfloat16; as tensors its images are had."""
    sampler = make_sampler("ddpm", pipe=make_pipe("ddpm").to(torch.bfloat16))
    images = sampler.sample(REQUESTS)
    assert images.pixels.shape == (3, 16, 16, 3)
    assert len(images.pixels.unique()) > 50


def test_every_stage_gets_the_steps_and_can_be_set_apart() -> None:
    told = make_sampler("unclip", steps=5, call_options={"prior_num_inference_steps": 7}).describe()
    assert told["call.prior_num_inference_steps"] == "7"
    assert told["call.decoder_num_inference_steps"] == told["call.super_res_num_inference_steps"] == "5"
    assert told["call.prior_guidance_scale"] == told["call.decoder_guidance_scale"] == "3.0"
    told = make_sampler("kandinsky 2.2").describe()
    assert {k for k in told if k.endswith("_steps")} >= {
        "call.num_inference_steps",
        "call.prior_num_inference_steps",
    }
    told = make_sampler("deepfloyd if").describe()
    assert told["call.clean_caption"] == "False"  # else prompts depend on whether beautifulsoup4 is installed
    assert make_sampler(SD).describe()["default.eta"] == "0.0"


@pytest.mark.parametrize("name", [SD, "deepfloyd if"])
def test_negative_prompt_is_for_every_image(name: str) -> None:
    """DeepFloyd IF, and many others, raise unless it is a list like the prompts."""
    plain, without = make_sampler(name), make_sampler(name, negative_prompt="blue cat")
    assert not np.array_equal(pixels(plain.sample(REQUESTS)), pixels(without.sample(REQUESTS)))


def test_modules_in_training_mode_are_put_right() -> None:
    pipe = make_pipe(SD)
    pipe.unet.eval()
    pipe.unet.mid_block.train()  # a part alone, below a module that says that it is not training
    assert pipe.vae.training
    make_sampler(pipe=pipe)
    modules = [c for c in pipe.components.values() if isinstance(c, torch.nn.Module)]
    assert not any(m.training for c in modules for m in c.modules())


def _vision() -> Any:
    return t.CLIPConfig(
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 16,
            "patch_size": 8,
            "projection_dim": 16,
        },
        projection_dim=16,
    )


@pytest.mark.parametrize("unsafe", [False, True])
def test_black_frames_of_a_safety_checker_are_flagged(unsafe: bool) -> None:
    """The real class with random weights, its thresholds moved so that all or no image is unsafe."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

    torch.manual_seed(0)
    checker = StableDiffusionSafetyChecker(_vision())
    for thresholds in (checker.concept_embeds_weights, checker.special_care_embeds_weights):
        thresholds.data.fill_(-2.0 if unsafe else 2.0)
    images = make_sampler(pipe=tiny_pipelines.stable_diffusion(checker)).sample(REQUESTS)
    assert images.flagged.tolist() == [unsafe] * 3
    assert (int(images.pixels.max()) == 0) == unsafe


class _Verdicts(torch.nn.Module):
    """A safety checker that leaves images as they are: only its verdicts can be what is flagged."""

    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self, *verdicts: list[bool]) -> None:
        super().__init__()
        self.verdicts = verdicts

    def forward(self, images: Any, clip_input: Any) -> tuple[Any, ...]:
        return (images, *[list(v) for v in self.verdicts])


@pytest.mark.parametrize(
    "verdicts", [([False, True, False, False], [False] * 4), ([False] * 4, [False, True, False, False])]
)
def test_both_verdicts_of_deepfloyd_ifs_checker_are_heard(verdicts: tuple[list[bool], ...]) -> None:
    """It runs only for NumPy answers, and has a second verdict, on watermarks."""
    pipe = make_pipe("deepfloyd if")
    pipe.safety_checker = _Verdicts(*verdicts)
    pipe.feature_extractor = t.CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=16)
    images = make_sampler("deepfloyd if", pipe=pipe).sample(REQUESTS)
    assert images.flagged.tolist() == [False, True, False]
    assert int(images.pixels[1].max()) > 0


class _OwnNoise(d.DDPMScheduler):
    """Draws from torch's global source instead of the generators, as schedulers with a noise source of their own do."""

    def step(self, *arguments: Any, **options: Any) -> Any:
        return super().step(*arguments, **{**options, "generator": None})


def test_a_scheduler_with_noise_of_its_own_is_found_out() -> None:
    pipe = make_pipe(SD)
    pipe.scheduler = d.DDPMScheduler()
    make_sampler(pipe=pipe).check_independence()
    pipe.scheduler = _OwnNoise()
    with pytest.raises(
        SamplerError, match="an image of StableDiffusionPipeline depends on what else is in its batch"
    ):
        make_sampler(pipe=pipe).check_independence()


def test_fingerprint_is_the_same_for_the_same_and_changes_with_anything() -> None:
    base = make_sampler().fingerprint
    assert make_sampler().fingerprint == base
    pipe = make_pipe(SD)
    settings: list[dict[str, Any]] = [
        {"steps": 3},
        {"guidance_scale": 3.5},
        {"batch_size": 8},
        {"height": 32},
        {"negative_prompt": "dog"},
        {"call_options": {"eta": 0.5}},
        {"cpu_batch": CPU_BATCH},
        {"cpu_threads": CPU_THREADS + 1},
        {"pipe": tiny_pipelines.stable_diffusion_2()},
    ]
    prints = [base, *[make_sampler(**{"pipe": pipe, **s}).fingerprint for s in settings]]
    pipe.scheduler = d.DDIMScheduler(beta_end=0.03)
    prints.append(make_sampler(pipe=pipe).fingerprint)
    pipe.vae.enable_tiling()
    prints.append(make_sampler(pipe=pipe).fingerprint)
    weight = next(pipe.unet.parameters()).detach().view(-1)
    weight[0] = torch.nextafter(weight[0], torch.tensor(9.0))  # the last bit of one weight
    prints.append(make_sampler(pipe=pipe).fingerprint)
    prints.append(make_sampler(pipe=pipe.to(torch.bfloat16)).fingerprint)
    assert len(set(prints)) == len(prints)


def test_a_copied_folder_has_the_same_fingerprint(tmp_path: Any) -> None:
    pipe = make_pipe(SD)
    options: dict[str, Any] = {"steps": 2, "guidance_scale": 3.0, "batch_size": 4, "height": 16, "width": 16}
    pipe.save_pretrained(tmp_path / "a")
    pipe.save_pretrained(tmp_path / "elsewhere" / "b")
    one = DiffusersSampler.load(str(tmp_path / "a"), **options)
    two = DiffusersSampler.load(str(tmp_path / "elsewhere" / "b"), **options)
    assert one.fingerprint == two.fingerprint
    assert str(tmp_path) not in json.dumps(one.describe())
    own = DiffusersSampler(pipe, **options)
    assert np.array_equal(pixels(own.sample(REQUESTS)), pixels(one.sample(REQUESTS)))
    euler = DiffusersSampler.load(str(tmp_path / "a"), scheduler="EulerDiscreteScheduler", **options)
    assert euler.describe()["component.scheduler"].startswith("EulerDiscreteScheduler ")
    assert euler.fingerprint != one.fingerprint
    for name in ("NoSuchScheduler", "UNet2DModel"):
        with pytest.raises(ConfigError, match=f"scheduler='{name}' is no scheduler class of diffusers"):
            DiffusersSampler.load(str(tmp_path / "a"), scheduler=name, **options)
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="device='cuda' cannot be used"):
            DiffusersSampler.load(str(tmp_path / "a"), device="cuda", **options)


def _build(name: str = SD, **changes: Any) -> Any:
    options: dict[str, Any] = {"steps": 2, "guidance_scale": 3.0, "batch_size": 4, **changes}
    return DiffusersSampler(options.pop("pipe", None) or make_pipe(name), **options)


class OfSounds(d.DDIMPipeline):  # type: ignore[misc]
    """A pipeline that asks for what no request has."""

    def __call__(self, sounds: Any, batch_size: int = 1, num_inference_steps: int = 1) -> Any:
        raise NotImplementedError


VALUE, TYPE = ArgumentValueError, ArgumentTypeError
WRONG: list[tuple[Any, type[MemcoreError], str]] = [
    (
        lambda: _build(pipe=torch.nn.Linear(1, 1)),
        TYPE,
        "pipe must be a diffusers DiffusionPipeline, got Linear",
    ),
    (
        lambda: _build(pipe=OfSounds(**tiny_pipelines.ddim().components), guidance_scale=None),
        VALUE,
        "pipe is no pipeline that makes images of prompts, labels or given images: OfSounds asks for sounds; "
        "CallableSampler wraps it",
    ),
    (lambda: _build(steps=0), VALUE, "steps must be >= 1, got 0"),
    (lambda: _build(steps=2.5), TYPE, "steps must be an integer, got float"),
    (lambda: _build(batch_size=0), VALUE, "batch_size must be >= 1, got 0"),
    (lambda: _build(cpu_batch=0), VALUE, "cpu_batch must be >= 1, got 0"),
    (lambda: _build(cpu_threads=0), VALUE, "cpu_threads must be >= 1, got 0"),
    (
        lambda: _build(guidance_scale=None),
        VALUE,
        "guidance_scale is missing: StableDiffusionPipeline takes it, and its default changes the images; 1.0 turns it off",
    ),
    (lambda: _build(guidance_scale="7.5"), TYPE, "guidance_scale must be a number or None, got str"),
    (lambda: _build(guidance_scale=float("nan")), VALUE, "guidance_scale must be finite, got nan"),
    (
        lambda: _build("ddim"),
        VALUE,
        "guidance_scale must be None, since DDIMPipeline does not take it, got 3.0",
    ),
    (
        lambda: _build("ddim", guidance_scale=None, height=8),
        VALUE,
        "height must be None, since DDIMPipeline does not take it, got 8",
    ),
    (
        lambda: _build("ddim", guidance_scale=None, negative_prompt="x"),
        VALUE,
        "negative_prompt must be None, since DDIMPipeline does not take it, got 'x'",
    ),
    (lambda: _build(height=0), VALUE, "height must be >= 1, got 0"),
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
    (lambda: _build().sample([]), VALUE, "requests must hold at least one request"),
    (
        lambda: DiffusersSampler.load("/no/such/folder", dtype="int8"),
        VALUE,
        "dtype must be float32, float16 or bfloat16, got 'int8'",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), WRONG)
def test_wrong_call(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text


def test_a_pipeline_that_raises_names_the_prompts() -> None:
    threads = torch.get_num_threads()
    with pytest.raises(
        SamplerError, match=r"the pipeline raised ValueError for prompts \[0, 1\]: .*divisible by 8"
    ):
        make_sampler(height=17).sample(REQUESTS)
    assert torch.get_num_threads() == threads


def test_answers_that_are_no_images_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = make_sampler()
    pipe = type(sampler._pipe)
    answers = {
        "answered with something other than images: images must lie in .0, 1.": torch.full(
            (4, 3, 8, 8), -0.5
        ),
        "answered with something other than images: images must be a tensor": torch.zeros(4, 3),
        "answered with something other than images: 3 images for 4 requests": torch.zeros(3, 3, 8, 8),
    }
    for text, images in answers.items():
        answer = d.ImagePipelineOutput(images=images)
        monkeypatch.setattr(pipe, "__call__", lambda self, answer=answer, **options: answer)
        with pytest.raises(SamplerError, match=f"StableDiffusionPipeline {text}"):
            sampler.sample(REQUESTS)


def test_a_model_that_is_not_there(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be loaded as a diffusers pipeline"):
        DiffusersSampler.load(str(tmp_path), steps=1, guidance_scale=1.0, batch_size=1)


def test_one_nan_costs_its_image_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 24: a decoder that overflows for one seed failed the whole prompt."""
    pipe = make_pipe(SD)
    good = make_sampler(pipe=pipe).sample(REQUESTS)
    decode = pipe.vae.decode

    def overflow(latents: Any, *rest: Any, **options: Any) -> Any:
        answer = decode(latents, *rest, **options)
        (answer[0] if isinstance(answer, tuple) else answer.sample)[1, 0, 3, 3] = torch.nan
        return answer

    monkeypatch.setattr(pipe.vae, "decode", overflow)
    images = make_sampler(pipe=pipe).sample(REQUESTS)
    assert images.flagged.tolist() == [False, True, False]
    assert images.broken is not None
    assert images.broken.tolist() == [False, True, False]
    assert good.broken is None
    assert np.array_equal(pixels(images)[::2], pixels(good)[::2])
    assert not pixels(images)[1].any()


@pytest.mark.parametrize(
    ("name", "long", "cut"),
    [
        (SD, 40, "the pipeline reads 16"),
        ("stable diffusion xl", 40, "the pipeline reads 16"),
        ("ddpm", 40, ""),
    ],
)
def test_a_prompt_that_the_pipeline_cuts_is_told(name: str, long: int, cut: str) -> None:
    sampler = make_sampler(name)
    assert sampler.check_prompt("a dog") == ""
    assert cut in sampler.check_prompt("x" * long)
    assert bool(sampler.check_prompt("x" * long)) == bool(cut)
