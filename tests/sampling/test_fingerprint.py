"""Whatever changes images changes the fingerprint, or is refused; and an untouched pipeline keeps that of old runs."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers as d
import numpy as np
import pytest
import torch
from PIL import Image

from memcore.errors import ArgumentValueError
from memcore.sampling.diffusers import DiffusersSampler, content
from memcore.types import Request
from tests.support.tiny_multistage import MULTISTAGE
from tests.support.tiny_pipelines import PIPELINES

ALL = {**PIPELINES, **MULTISTAGE}
SD = "stable diffusion 1"
RECORDED = json.loads((Path(__file__).parents[1] / "data" / "fingerprints.json").read_text())


def make_pipe(name: str = SD) -> Any:
    torch.manual_seed(0)
    return ALL[name][0]()


def make_sampler(pipe: Any, name: str = SD, **changes: Any) -> DiffusersSampler:
    options: dict[str, Any] = {"steps": 2, "guidance_scale": 3.0, "batch_size": 4, "cpu_batch": 4}
    return DiffusersSampler(pipe, **{**options, **ALL[name][1], **changes})


def versions() -> dict[str, str]:
    found = {name: importlib.metadata.version(name) for name in ("torch", "diffusers", "transformers")}
    return {**found, "device": f"cpu {torch.backends.cpu.get_cpu_capability()}"}


@pytest.mark.parametrize("name", ALL)
def test_an_untouched_pipeline_is_described_as_before(name: str) -> None:
    """Recorded by the code before changes were looked for: old runs of such pipelines are resumed."""
    sampler = make_sampler(make_pipe(name), name)
    sampler.sample(
        [Request(0, "a dog", 1)]
    )  # a run changes the state of a scheduler, which is no change of its tables
    told = sampler.describe()
    assert not [key for key in told if key.startswith("changed.")]
    if versions() != RECORDED["made with"]:
        return  # random weights and defaults are those of the versions
    kept = {
        k: v for k, v in told.items() if k.partition(".")[0] in ("pipeline", "component", "call", "default")
    }
    assert kept == RECORDED["pipelines"][name]


@pytest.mark.parametrize("name", [SD, "stable diffusion 3", "pixart", "ddpm"])
def test_a_pipeline_from_a_folder_is_untouched(name: str, tmp_path: Path) -> None:
    make_pipe(name).save_pretrained(tmp_path)
    pipe = d.DiffusionPipeline.from_pretrained(tmp_path)
    pipe.set_progress_bar_config(disable=True)
    told = make_sampler(pipe, name).describe()
    assert not [key for key in told if key.startswith("changed.")]


@pytest.mark.parametrize(
    "scheduler",
    [
        d.DDIMScheduler,
        d.DPMSolverMultistepScheduler,
        d.EulerAncestralDiscreteScheduler,
        d.HeunDiscreteScheduler,
        d.LMSDiscreteScheduler,
        d.PNDMScheduler,
        d.UniPCMultistepScheduler,
        d.DEISMultistepScheduler,
        d.LCMScheduler,
    ],
)
def test_a_scheduler_that_was_used_is_untouched(scheduler: Any) -> None:
    pipe = make_pipe()
    pipe.scheduler = scheduler()
    fresh = make_sampler(pipe).fingerprint
    make_sampler(pipe, steps=5).sample([Request(0, "a dog", 1)])
    assert make_sampler(pipe).fingerprint == fresh


def _freeu(pipe: Any, b1: float = 1.4) -> None:
    pipe.enable_freeu(s1=0.9, s2=0.2, b1=b1, b2=1.6)


def _circular(pipe: Any) -> None:
    for module in pipe.vae.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.padding_mode = "circular"


def _hook(pipe: Any, scale: float = 1.5) -> None:
    pipe.unet.conv_in.register_forward_hook(lambda module, inputs, output: output * scale)


def _pre_hook(pipe: Any) -> None:
    pipe.unet.conv_in.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))


def _replaced(pipe: Any, scale: float = 1.1) -> None:
    decode = pipe.vae.decode
    pipe.vae.decode = lambda z, *rest, **options: decode(z * scale, *rest, **options)


class _Scaled:
    """A replacement that is an object, as tools that patch pipelines make them."""

    def __init__(self, function: Any, scale: float) -> None:
        self.function, self.scale = function, scale

    def __call__(self, z: Any, *rest: Any, **options: Any) -> Any:
        return self.function(z * self.scale, *rest, **options)


def _replaced_by_an_object(pipe: Any, scale: float = 1.2) -> None:
    pipe.vae.decode = _Scaled(pipe.vae.decode, scale)


def _wrapped(pipe: Any) -> None:
    step = pipe.scheduler.step

    @functools.wraps(step)
    def stepped(output: Any, *rest: Any, **options: Any) -> Any:
        return step(output * 1.01, *rest, **options)

    pipe.scheduler.step = stepped


def _encode(pipe: Any) -> None:
    encode = pipe.encode_prompt
    pipe.encode_prompt = lambda *a, **k: tuple(t if t is None else t * 2 for t in encode(*a, **k))


def _eps(pipe: Any) -> None:
    for module in pipe.unet.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.eps = 0.3


class _Adapter(torch.nn.Module):
    """Shaped as an adapter of peft's: a layer around another, with a scale and the adapter in use outside its weights."""

    def __init__(self, base: torch.nn.Linear, scale: float, active: str) -> None:
        super().__init__()
        self.base_layer = base
        torch.manual_seed(3)
        self.lora = torch.nn.ModuleDict(
            {n: torch.nn.Linear(base.in_features, base.out_features) for n in "ab"}
        )
        self.scaling = dict.fromkeys("ab", scale)
        self._active_adapter = [active]
        self._disable_adapters = False

    def forward(self, x: Any, *rest: Any, **options: Any) -> Any:
        answer = self.base_layer(x)
        for name in [] if self._disable_adapters else self._active_adapter:
            answer = answer + self.scaling[name] * self.lora[name](x)
        return answer


def _adapter(pipe: Any, scale: float = 1.0, active: str = "a", disabled: bool = False) -> None:
    for module in list(pipe.unet.modules()):
        if type(module).__name__ == "Attention":
            module.to_q = _Adapter(module.to_q, scale, active).eval()
            module.to_q._disable_adapters = disabled


def _tables(pipe: Any, power: float = 1.3) -> None:
    pipe.scheduler.alphas_cumprod = pipe.scheduler.alphas_cumprod**power


def _last_alpha(pipe: Any) -> None:
    pipe.scheduler.final_alpha_cumprod = torch.tensor(0.7)


def _processor(pipe: Any) -> None:
    pipe.image_processor.register_to_config(do_normalize=False)


CHANGES: dict[str, Callable[[Any], None]] = {
    "FreeU": _freeu,
    "FreeU, another": functools.partial(_freeu, b1=1.2),
    "circular padding": _circular,
    "a hook": _hook,
    "a hook with another value": functools.partial(_hook, scale=0.5),
    "a hook before": _pre_hook,
    "a replaced method": _replaced,
    "a replaced method with another value": functools.partial(_replaced, scale=0.7),
    "an object as a method": _replaced_by_an_object,
    "an object as a method with another value": functools.partial(_replaced_by_an_object, scale=0.6),
    "a wrapped method of the scheduler": _wrapped,
    "a replaced method of the pipeline": _encode,
    "eps": _eps,
    "an adapter": _adapter,
    "an adapter's scale": functools.partial(_adapter, scale=0.3),
    "another adapter": functools.partial(_adapter, active="b"),
    "a disabled adapter": functools.partial(_adapter, disabled=True),
    "a scheduler's table": _tables,
    "a scheduler's table, another": functools.partial(_tables, power=0.8),
    "a scheduler's last value": _last_alpha,
    "an image processor": _processor,
}


def test_every_change_of_a_pipeline_has_a_fingerprint_of_its_own() -> None:
    prints: dict[str, str] = {"": make_sampler(make_pipe()).fingerprint}
    for name, change in CHANGES.items():
        for _ in range(2):  # made again, it is the same: a run is resumed
            pipe = make_pipe()
            change(pipe)
            found = make_sampler(pipe).fingerprint
            assert prints.setdefault(name, found) == found, name
    assert len(set(prints.values())) == len(prints)


def test_the_changes_are_of_those_that_change_images() -> None:
    """These give other pixels than the untouched pipeline: the fingerprint does not cry wolf."""
    request = [Request(0, "a red dog", 11)]
    base = make_sampler(make_pipe()).sample(request).pixels
    for name in (
        "FreeU",
        "circular padding",
        "a hook",
        "a replaced method",
        "eps",
        "an adapter",
        "a scheduler's table",
    ):
        pipe = make_pipe()
        CHANGES[name](pipe)
        assert not torch.equal(make_sampler(pipe).sample(request).pixels, base), name


def test_a_method_patched_in_its_class_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    base = make_sampler(make_pipe()).fingerprint
    decode = d.AutoencoderKL.decode
    monkeypatch.setattr(d.AutoencoderKL, "decode", lambda self, z, *a, **k: decode(self, z * 1.1, *a, **k))
    told = make_sampler(make_pipe())
    assert told.fingerprint != base
    assert "AutoencoderKL.decode" in told.describe()["changed.vae"]


def test_libraries_may_be_installed_in_another_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment that sees another one's packages took their decorated methods for replaced ones."""
    base = make_sampler(make_pipe()).describe()
    right = sysconfig.get_path
    elsewhere = {"purelib": str(tmp_path / "site-packages"), "platlib": str(tmp_path / "site-packages")}
    monkeypatch.setattr(sysconfig, "get_path", lambda name: elsewhere.get(name) or right(name))
    content.library_of.cache_clear()
    try:
        assert make_sampler(make_pipe()).describe() == base
        own = tmp_path / "dist-packages" / "no_such_package" / "util.py"
        assert content.library_of(str(own)) == "no_such_package"
        assert content.library_of(str(tmp_path / "mine.py")) is None
    finally:
        content.library_of.cache_clear()


def test_a_change_without_content_is_refused(tmp_path: Path) -> None:
    pipe = make_pipe()
    with (tmp_path / "log").open("w") as log:
        pipe.unet.conv_in.register_forward_hook(lambda module, inputs, output: print(output, file=log))
        with pytest.raises(
            ArgumentValueError, match=r"a hook at unet\.conv_in\.hook0 that may change images"
        ):
            _ = make_sampler(pipe).fingerprint


def _callback(scale: float) -> Any:
    return lambda pipe, step, timestep, kept: {"latents": kept["latents"] * scale}


def _ramp(last: float) -> torch.Tensor:
    values = torch.linspace(0, 1, 2000)
    values[1000] = last  # where a printed tensor has dots
    return values


OPTIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "callback": lambda: {"callback_on_step_end": _callback(1.05)},
    "another callback": lambda: {"callback_on_step_end": _callback(1.01)},
    "tensor": lambda: {"cross_attention_kwargs": {"ramp": _ramp(1.0)}},
    "tensor, one number in 2000": lambda: {"cross_attention_kwargs": {"ramp": _ramp(2.0)}},
    "tensor, a last bit": lambda: {"cross_attention_kwargs": {"ramp": torch.tensor([1.0000001])}},
    "tensor, short": lambda: {"cross_attention_kwargs": {"ramp": torch.tensor([1.0])}},
    "array": lambda: {"cross_attention_kwargs": {"ramp": np.arange(3.0)}},
    "array, big-endian": lambda: {"cross_attention_kwargs": {"ramp": np.arange(3.0).astype(">f8")}},
    "picture": lambda: {"cross_attention_kwargs": {"mask": Image.new("RGB", (8, 8), (255, 0, 0))}},
    "another picture": lambda: {"cross_attention_kwargs": {"mask": Image.new("RGB", (8, 8), (254, 0, 0))}},
}


def test_options_count_by_their_content() -> None:
    prints: dict[str, str] = {}
    pipe = make_pipe()
    for name, options in OPTIONS.items():
        for _ in range(2):
            found = make_sampler(pipe, call_options=options())
            assert " at 0x" not in json.dumps(found.describe())
            assert prints.setdefault(name, found.fingerprint) == found.fingerprint, name
    assert len(set(prints.values())) == len(prints)


def test_options_without_content_are_refused_before_anything_is_sampled() -> None:
    with pytest.raises(
        ArgumentValueError, match="call_options holds 'cross_attention_kwargs', which cannot be put"
    ):
        make_sampler(make_pipe(), call_options={"cross_attention_kwargs": {"noise": torch.Generator()}})
    stream = torch.Generator()
    with pytest.raises(ArgumentValueError, match="call_options holds 'callback_on_step_end'"):
        make_sampler(make_pipe(), call_options={"callback_on_step_end": lambda *a: {"latents": stream}})


@pytest.mark.parametrize(
    ("name", "option"),
    [
        (SD, "latents"),
        (SD, "prompt_embeds"),
        ("unclip", "prior_latents"),
        ("unclip", "decoder_latents"),
        ("stable diffusion xl", "pooled_prompt_embeds"),
    ],
)
def test_what_replaces_prompts_or_seeds_is_refused(name: str, option: str) -> None:
    with pytest.raises(
        ArgumentValueError, match=f"call_options holds '{option}', which would take the place of"
    ):
        make_sampler(make_pipe(name), name, call_options={option: torch.zeros(4, 4, 16, 16)})
