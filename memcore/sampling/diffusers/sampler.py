"""Any diffusers pipeline that makes images of prompts, labels or given ones, as a sampler. Only here is diffusers imported.

Source: Carlini et al. 2023, section 4.2: 500 images a prompt with different seeds; docs/sampling.md for what was tried.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np

from memcore import arrays
from memcore.distance import to_uint8
from memcore.errors import ArgumentTypeError, ArgumentValueError, MissingExtraError, SamplerError
from memcore.images.constant import flag_constant
from memcore.sampling.diffusers.call import (
    GUIDANCE,
    SET_HERE,
    TEXTS,
    call_arguments,
    call_parameters,
    check_guidance,
    stages,
)
from memcore.sampling.diffusers.first_step import watch_first_step
from memcore.sampling.diffusers.tokens import describe_cut
from memcore.sampling.protocol import check_images
from memcore.sampling.screen import FirstStep, first_images, join
from memcore.types import Condition, Images, Request

try:
    import torch
    from diffusers import DiffusionPipeline

    from memcore.sampling.diffusers.answer import channels_last, without_nan
    from memcore.sampling.diffusers.changes import find_changes
    from memcore.sampling.diffusers.condition import PipelineConditions
    from memcore.sampling.diffusers.content import NoContentError
    from memcore.sampling.diffusers.digest import component_digest, describe_option
    from memcore.sampling.diffusers.loading import (
        check_place,
        find_class,
        load_pipeline,
        quiet_libraries,
        untold_truncation,
    )
    from memcore.sampling.diffusers.precision import describe_precision, deterministic_kernels
except ImportError as error:
    raise MissingExtraError(
        getattr(error, "name", None) or "diffusers", "audit", "Sampling a diffusers pipeline"
    ) from None

#: On a CPU every call of the pipeline has this many images, whatever batch_size is: kernels choose their order of
#: summation by the shape of the batch, so a constant shape is what keeps images equal bit for bit.
CPU_BATCH = 16
#: Likewise the number of threads that torch may use for one call on a CPU: 1x1 convolutions split their sums by it.
CPU_THREADS = 1


class DiffusersSampler:
    """A diffusers pipeline as a sampler: an image depends on nothing but its prompt and its seed.

    Each image has a generator of its own, made from its seed on the CPU. A batch can mix prompts, and a short one is
    padded with repetitions that are dropped. Images stay on the pipeline's device, rounded there as diffusers rounds
    when it saves. Modules in training mode (those built by hand are) are switched to evaluation mode: dropout would
    change images from call to call. Do not change the pipeline while the sampler is in use.

    Parameters
    ----------
    pipe
        A loaded ``DiffusionPipeline``, on its device, with the scheduler that is to be used.
    steps
        Denoising steps, for every stage of the pipeline that has such an argument (unCLIP has three). One stage is set
        apart through ``call_options``: ``{"prior_num_inference_steps": 25}``.
    guidance_scale
        Classifier-free guidance, for every stage likewise; a number where the pipeline takes one, None where it does not.
    batch_size
        Images a call on a GPU, where in float16 images depend on it, so it is part of the fingerprint. On a CPU images do
        not: each call there has ``cpu_batch``.
    height, width
        Pixels, where the pipeline takes them; by default its own. Of one that begins with a given image, that image's.
    negative_prompt
        One text for all images, where the pipeline takes it.
    strength
        How far an image may leave the given one, in (0, 1], where the pipeline takes it.
    call_options
        Further arguments of the pipeline's call, for example ``{"max_sequence_length": 77}``.
    cpu_batch, cpu_threads
        Images and torch threads of a call on a CPU. Both change images in the last bit, so they are constants, whatever
        torch was set to, and part of the fingerprint; more processes are what uses more cores.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        From the constructor: no pipeline, an argument that it does not take, one that it needs, guidance missing.
    SamplerError
        From ``sample``: the pipeline raised, or its answer is not images in [0, 1].
    """

    #: torch's generator on the CPU, which makes each image's noise, reads the lower 32 bits of a seed.
    seed_bits = 32

    def __init__(
        self,
        pipe: Any,
        *,
        steps: int,
        guidance_scale: float | None,
        batch_size: int,
        height: int | None = None,
        width: int | None = None,
        negative_prompt: str | None = None,
        call_options: Mapping[str, Any] | None = None,
        strength: float | None = None,
        cpu_batch: int = CPU_BATCH,
        cpu_threads: int = CPU_THREADS,
    ) -> None:
        if not isinstance(pipe, DiffusionPipeline):
            raise ArgumentTypeError(f"pipe must be a diffusers DiffusionPipeline, got {type(pipe).__name__}")
        self.steps = arrays.check_count(steps, "steps")
        self.batch_size = arrays.check_count(batch_size, "batch_size")
        self.cpu_batch = arrays.check_count(cpu_batch, "cpu_batch")
        self.cpu_threads = arrays.check_count(cpu_threads, "cpu_threads")
        self._pipe = cast(Any, pipe)
        self._parameters = call_parameters(type(pipe))
        self._conditional = "prompt" in self._parameters
        self._call = call_arguments(
            type(pipe), self.steps, guidance_scale, height, width, negative_prompt, call_options, strength
        )
        self._size = height, width
        self._conditions = PipelineConditions(pipe, self._parameters)
        #: What images are made from besides a prompt, and what of it no image can be made without.
        self.conditions, self.needed_conditions = self._conditions.takes, self._conditions.needs
        #: Whether the model does not see what a mask covers: below full strength it begins with it.
        self.masks_hide = self._call.get("strength", 1.0) >= 1
        self._options = _described_options(self._call)
        self._shape: tuple[int, int, int] | None = None
        self._described: dict[str, str] | None = None
        for component in self._pipe.components.values():
            if isinstance(component, torch.nn.Module) and any(m.training for m in component.modules()):
                component.eval()
        self._pipe.set_progress_bar_config(disable=True)

    @classmethod
    def load(
        cls,
        model: str,
        *,
        dtype: Literal["float32", "float16", "bfloat16"] | str = "float32",
        device: str = "cpu",
        revision: str | None = None,
        variant: str | None = None,
        scheduler: str | None = None,
        model_config: str | None = None,
        adapter: str | None = None,
        **options: Any,
    ) -> DiffusersSampler:
        """Load a pipeline from a folder, by its name on the hub, or from one file; ``options`` are the constructor's.

        ``scheduler`` names a class of diffusers, for example "DDIMScheduler", that replaces the model's own and takes
        over its configuration. A model that is one .safetensors file takes the rest from ``model_config``, a pipeline of
        its kind. ``adapter`` is a folder or file of LoRA weights, which are added to the model's. Raises ConfigError if
        one of these is not available, and MissingExtraError without peft.
        """
        check_place(dtype, device)
        kind = find_class(model, revision, model_config)
        if kind is not None and "steps" in options and "guidance_scale" in options:
            # what its call takes is known without the weights
            names = ("height", "width", "negative_prompt", "call_options", "strength")
            given = {name: options[name] for name in names if name in options}
            call_arguments(kind, options["steps"], options["guidance_scale"], **given)
        pipe = load_pipeline(
            model,
            dtype=dtype,
            device=device,
            revision=revision,
            variant=variant,
            scheduler=scheduler,
            model_config=model_config,
            adapter=adapter,
        )
        return cls(pipe, **options)

    def __repr__(self) -> str:
        """Return one line; nothing is sampled or digested for it."""
        scale = next((f", {n}={v}" for n, v in self._call.items() if n.endswith("guidance_scale")), "")
        name, device = type(self._pipe).__name__, self._device
        return f"DiffusersSampler({name}, steps={self.steps}{scale}, batch_size={self.batch_size}, device={str(device)!r})"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C): known after the first batch; asked for before, one image is sampled to see."""
        if self._shape is None:
            condition = self._conditions.probe(*self._size)
            pixels = self._sample_batch([Request(0, "a picture", 0, condition)], 1).pixels
            self._shape = (int(pixels.shape[1]), int(pixels.shape[2]), int(pixels.shape[3]))
        return self._shape

    @property
    def fingerprint(self) -> str:
        """sha256 over ``describe()``: equal for the same model and settings, wherever it was loaded from."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()

    def describe(self) -> dict[str, str]:
        """Return all that changes images, readable: configuration and weights of each component, settings, versions, device.

        ``call.*`` is what the sampler says to the pipeline, ``default.*`` what the pipeline fills in by itself.
        """
        if self._described is None:
            defaults = {
                name: str(p.default)
                for name, p in self._parameters.items()
                if name not in SET_HERE | set(self._call) and isinstance(p.default, bool | int | float | str)
            }
            components = sorted(self._pipe.components.items())
            with quiet_libraries():  # components are built again from their configurations
                changes = find_changes(self._pipe, self.steps)
            self._described = {
                "pipeline": type(self._pipe).__name__,
                **{f"component.{name}": component_digest(c, name) for name, c in components},
                **{f"changed.{name}": text for name, text in changes.items()},
                **self._options,
                **{f"default.{name}": value for name, value in sorted(defaults.items())},
                "batch_size": str(self.batch_size),
                "dtype": str(self._pipe.dtype).removeprefix("torch."),
                "device": self._device_kind(),
                **describe_precision(on_gpu=self._device.type == "cuda"),
                **{name: importlib.metadata.version(name) for name in ("torch", "diffusers", "transformers")},
                "memcore": str(importlib.import_module("memcore").__version__),
            }
            if self._on_cpu:
                self._described |= {"cpu_batch": str(self.cpu_batch), "cpu_threads": str(self.cpu_threads)}
        return dict(self._described)

    def sample(self, requests: Sequence[Request]) -> Images:
        """Return (N, H, W, C) uint8 on the pipeline's device, in the order of the requests; blanked frames are flagged."""
        if not requests:
            raise ArgumentValueError("requests must hold at least one request")
        size = self.cpu_batch if self._on_cpu else self.batch_size
        parts = [self._sample_batch(requests[s : s + size], size) for s in range(0, len(requests), size)]
        pixels = torch.cat([part.pixels for part in parts])
        broken = np.concatenate([part.broken for part in parts if part.broken is not None])
        images = Images(
            pixels, np.concatenate([part.flagged for part in parts]), broken if broken.any() else None
        )
        shape = self._shape or (int(pixels.shape[1]), int(pixels.shape[2]), int(pixels.shape[3]))
        check_images(images, requests, shape)
        self._shape = shape
        return images

    def first_step(self, requests: Sequence[Request], *, guidance_scale: float) -> FirstStep:
        """Return scores from the first of the sampler's steps, with guidance: two denoiser calls an image, no image is made.

        ``guidance_scale`` must turn guidance on (above 1 for most pipelines), whatever that of the images is. Raises
        SamplerError for pipelines without classifier-free guidance, for example Flux.
        """
        if not requests:
            raise ArgumentValueError("requests must hold at least one request")
        scales = dict.fromkeys(stages(self._parameters, GUIDANCE), check_guidance(guidance_scale))
        size = self.cpu_batch if self._on_cpu else self.batch_size
        parts: list[FirstStep] = []
        for start in range(0, len(requests), size):
            group = requests[start : start + size]
            arguments = self._batch_arguments(group, size) | scales
            try:
                with self._calling(group, size):
                    parts.append(first_images(watch_first_step(self._pipe, arguments, size), len(group)))
            except SamplerError:
                raise
            except Exception as error:
                raise SamplerError(
                    f"the pipeline raised {type(error).__name__} in a screen: {error}"
                ) from error
        return join(parts)

    def check_independence(
        self,
        prompts: tuple[str, str] = ("a dog", "a red house"),
        conditions: tuple[Condition, Condition] | None = None,
    ) -> None:
        """Sample two requests together and the second one alone; raise SamplerError unless its bytes are equal.

        For pipelines that were not tried: some draw noise past the generators (a scheduler with a noise source of its
        own), and then no image can be made again.
        """
        probe = self._conditions.probe(*self._size)
        given = conditions or (probe, probe)
        first, second = (Request(i, text, i + 1, given[i]) for i, text in enumerate(prompts))
        together, alone = self.sample([first, second]).pixels[1], self.sample([second]).pixels[0]
        levels = int((together.short() - alone.short()).abs().max())
        if levels:
            name = type(self._pipe).__name__
            raise SamplerError(
                f"an image of {name} depends on what else is in its batch, or on chance: the same request gave images "
                f"that are up to {levels} levels apart"
            )

    def check_prompt(self, prompt: str) -> str:
        """Return what is lost of a prompt that every tokenizer of the pipeline cuts; nothing if one reads it all."""
        return describe_cut(self._pipe.components, self._parameters, self._call, prompt)

    @property
    def _device(self) -> torch.device:
        """The device that computes; where weights are offloaded to the CPU, it is not theirs."""
        return cast("torch.device", getattr(self._pipe, "_execution_device", self._pipe.device))

    @property
    def _on_cpu(self) -> bool:
        return self._device.type == "cpu"

    def _batch_arguments(self, requests: Sequence[Request], size: int) -> dict[str, Any]:
        """Return the arguments of one call of the pipeline; the last request fills up what is missing."""
        padded = _padded(requests, size)
        arguments = self._call | self._conditions.arguments(padded)
        if self._conditional:
            arguments["prompt"] = [r.prompt for r in padded]
            for key, value in self._call.items():
                if isinstance(value, str) and TEXTS.fullmatch(key):
                    arguments[key] = [value] * size
        elif "batch_size" in self._parameters:
            arguments["batch_size"] = size
        generators = [torch.Generator("cpu").manual_seed(r.seed) for r in padded]
        arguments["generator"] = (
            generators if size > 1 else generators[0]
        )  # some take no list, for example aMUSEd
        return arguments

    def _sample_batch(self, requests: Sequence[Request], size: int) -> Images:
        """Return the requests' images from one call of the pipeline with ``size`` images."""
        name, count = type(self._pipe).__name__, len(requests)
        arguments = self._batch_arguments(requests, size)
        try:
            with self._calling(requests, size):
                answer = self._pipe(**arguments)
        except Exception as error:
            prompts = sorted({r.prompt_id for r in requests})
            raise SamplerError(
                f"the pipeline raised {type(error).__name__} for prompts {prompts}: {error}"
            ) from error
        try:
            unit = channels_last(getattr(answer, "images", None))
            if len(unit) != size:
                raise ArgumentValueError(f"{len(unit)} images for {size} requests")
            unit, broken = without_nan(unit[:count])
            pixels = to_uint8(unit).to(self._device)
        except (ArgumentTypeError, ArgumentValueError) as error:
            raise SamplerError(f"{name} answered with something other than images: {error}") from error
        flagged = flag_constant(pixels) | broken
        for verdict in ("nsfw_content_detected", "nsfw_detected", "watermark_detected"):
            found = getattr(answer, verdict, None)
            if found is not None:
                flagged = flagged | np.array([bool(f) for f in found[:count]], dtype=np.bool_)
        return Images(pixels, flagged, broken)

    @contextlib.contextmanager
    def _calling(self, requests: Sequence[Request], size: int) -> Iterator[None]:
        """Surround a call of the pipeline for these requests with ``size`` images."""
        with contextlib.ExitStack() as stack:
            for each in (torch.inference_mode(), self._repeatable(), untold_truncation()):
                stack.enter_context(each)
            stack.enter_context(self._conditions.labelled(_padded(requests, size)))
            yield

    @contextlib.contextmanager
    def _repeatable(self) -> Iterator[None]:
        """Set what the caller may have set differently: torch's threads on a CPU, cuDNN's choice of kernels on a GPU."""
        if not self._on_cpu:
            with deterministic_kernels():
                yield
            return
        before = torch.get_num_threads()
        torch.set_num_threads(self.cpu_threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def _device_kind(self) -> str:
        device = self._device
        if device.type == "cuda":
            return f"cuda {torch.cuda.get_device_name(device)}"
        return f"cpu {torch.backends.cpu.get_cpu_capability()}" if device.type == "cpu" else str(device.type)


def _padded(requests: Sequence[Request], size: int) -> list[Request]:
    return [*requests, *[requests[-1]] * (size - len(requests))]


def _described_options(call: Mapping[str, Any]) -> dict[str, str]:
    """Return what a description says of the call's arguments. Raises ArgumentValueError for one without content."""
    described = {}
    for name, value in sorted(call.items()):
        try:
            described[f"call.{name}"] = describe_option(value)
        except NoContentError as error:
            raise ArgumentValueError(
                f"call_options holds {name!r}, which cannot be put into the fingerprint: {error}. Give numbers, texts, "
                "tensors, arrays, pictures or functions"
            ) from None
    return described
