"""Any diffusers text-to-image or unconditional pipeline as a sampler. The only file that imports diffusers.

Source: Carlini et al. 2023, section 4.2: 500 images a prompt with different seeds; docs/sampling.md for what was tried.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np

from memcore import arrays
from memcore.distance import to_uint8
from memcore.errors import ArgumentTypeError, ArgumentValueError, ConfigError, MissingExtraError, SamplerError
from memcore.sampling.protocol import check_images
from memcore.sampling.screens import flag_constant
from memcore.types import Images, Request

try:
    import torch
    from diffusers import DiffusionPipeline
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging
except ImportError as error:
    raise MissingExtraError(
        getattr(error, "name", None) or "diffusers", "audit", "Sampling a diffusers pipeline"
    ) from None

#: On a CPU every call of the pipeline has this many images, whatever batch_size is: kernels choose their order of
#: summation by the shape of the batch, so a constant shape is what keeps images equal bit for bit.
CPU_BATCH = 16
_STEPS = "num_inference_steps"
_GUIDANCE = "guidance_scale"
_IGNORED_CONFIG = (
    "_name_or_path",
    "_diffusers_version",
    "_class_name",
    "transformers_version",
    "_use_default_values",
)


class DiffusersSampler:
    """Samples a diffusers pipeline so that an image depends on nothing but its prompt and its seed.

    Each image has a generator of its own, made anew from its seed on the CPU; a batch holds requests of any prompts, and
    a short one is filled up with repetitions that are dropped. Images are asked for as tensors and stay on the pipeline's
    device, rounded there as diffusers rounds when it saves. Modules in training mode (those built by hand are) are put
    into evaluation mode: dropout would change images from call to call.

    Parameters
    ----------
    pipe
        A loaded ``DiffusionPipeline``, on its device.
    steps
        Denoising steps, for every stage of the pipeline that has such an argument.
    guidance_scale
        Classifier-free guidance; a number where the pipeline takes one, None where it does not. Never a silent default.
    batch_size
        Images a call. On a GPU in float16 images depend on it, so it is part of the fingerprint.
    height, width
        Pixels, where the pipeline takes them; by default its own.
    call_options
        Further arguments of the pipeline's call, for example ``{"negative_prompt": "blurry"}``.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        From the constructor: no pipeline, an argument that it does not take, guidance missing.
    SamplerError
        From ``sample``: the pipeline raised, or its answer is not images in [0, 1].
    """

    def __init__(
        self,
        pipe: Any,
        *,
        steps: int,
        guidance_scale: float | None,
        batch_size: int,
        height: int | None = None,
        width: int | None = None,
        call_options: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(pipe, DiffusionPipeline):
            raise ArgumentTypeError(f"pipe must be a diffusers DiffusionPipeline, got {type(pipe).__name__}")
        self.steps = arrays.check_count(steps, "steps")
        self.batch_size = arrays.check_count(batch_size, "batch_size")
        self._pipe = cast(Any, pipe)
        self._parameters = inspect.signature(type(pipe).__call__).parameters
        self._conditional = "prompt" in self._parameters
        self._call = self._call_arguments(guidance_scale, height, width, dict(call_options or {}))
        self._shape: tuple[int, int, int] | None = None
        self._described: dict[str, str] | None = None
        for component in self._pipe.components.values():
            if isinstance(component, torch.nn.Module) and component.training:
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
        **options: Any,
    ) -> DiffusersSampler:
        """Loads a pipeline from a folder or by its name on the hub; ``options`` are the constructor's.

        Raises ConfigError if it cannot be loaded.
        """
        if dtype not in ("float32", "float16", "bfloat16"):
            raise ArgumentValueError(f"dtype must be float32, float16 or bfloat16, got {dtype!r}")
        chosen = {k: v for k, v in (("revision", revision), ("variant", variant)) if v is not None}
        try:
            with _quiet():
                pipe = DiffusionPipeline.from_pretrained(model, torch_dtype=getattr(torch, dtype), **chosen)
        except (OSError, ValueError, KeyError, AttributeError, ImportError) as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ConfigError(f"model={model!r} cannot be loaded as a diffusers pipeline: {first}") from error
        try:
            pipe = pipe.to(device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"device={device!r} cannot be used: {str(error).splitlines()[0]}") from error
        return cls(pipe, **options)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C): known after the first batch; asked for before, one batch is sampled to see."""
        if self._shape is None:
            self.sample([Request(0, "a picture", 0)])
        assert self._shape is not None
        return self._shape

    @property
    def fingerprint(self) -> str:
        """sha256 over ``describe()``: equal for the same model and settings, wherever it was loaded from."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()

    def describe(self) -> dict[str, str]:
        """All that changes images, readable: weights and configuration of each component, settings, versions, device."""
        if self._described is None:
            self._described = {
                "pipeline": type(self._pipe).__name__,
                **{f"component.{name}": text for name, text in self._components()},
                **{f"call.{name}": str(value) for name, value in sorted(self._call.items())},
                "batch_size": str(self.batch_size),
                "dtype": str(self._pipe.dtype).removeprefix("torch."),
                "device": self._device_kind(),
                **{name: importlib.metadata.version(name) for name in ("torch", "diffusers", "transformers")},
                "memcore": _memcore_version(),
            }
            if self._on_cpu:
                self._described["cpu_batch"] = str(CPU_BATCH)
        return dict(self._described)

    def sample(self, requests: Sequence[Request]) -> Images:
        """(N, H, W, C) uint8 on the pipeline's device, in the order of the requests; safety-checked frames flagged."""
        if not requests:
            raise ArgumentValueError("requests must hold at least one request")
        size = CPU_BATCH if self._on_cpu else self.batch_size
        parts = [self._sample_batch(requests[s : s + size], size) for s in range(0, len(requests), size)]
        pixels = torch.cat([p for p, _ in parts])
        images = Images(pixels, np.concatenate([f for _, f in parts]))
        shape = self._shape or (int(pixels.shape[1]), int(pixels.shape[2]), int(pixels.shape[3]))
        check_images(images, requests, shape)
        self._shape = shape
        return images

    @property
    def _on_cpu(self) -> bool:
        return bool(self._pipe.device.type == "cpu")

    def _sample_batch(self, requests: Sequence[Request], size: int) -> tuple[Any, Any]:
        padded = [*requests, *[requests[-1]] * (size - len(requests))]
        arguments = dict(self._call)
        if self._conditional:
            arguments["prompt"] = [r.prompt for r in padded]
        else:
            arguments["batch_size"] = len(padded)
        arguments["generator"] = [torch.Generator("cpu").manual_seed(r.seed) for r in padded]
        try:
            with torch.inference_mode():
                answer = self._pipe(**arguments)
        except Exception as error:
            prompts = sorted({r.prompt_id for r in requests})
            raise SamplerError(
                f"the pipeline raised {type(error).__name__} for prompts {prompts}: {error}"
            ) from error
        count = len(requests)
        try:
            pixels = to_uint8(self._as_unit_tensor(answer.images)[:count])
        except (ArgumentTypeError, ArgumentValueError) as error:
            raise SamplerError(
                f"{type(self._pipe).__name__} answered with something else than images: {error}"
            ) from error
        flagged = flag_constant(pixels)
        checked = getattr(answer, "nsfw_content_detected", None)
        if checked is not None:
            flagged = flagged | np.array([bool(c) for c in checked[:count]], dtype=np.bool_)
        return pixels, flagged

    def _as_unit_tensor(self, images: Any) -> Any:
        """The pipeline's answer as (N, H, W, C) float in [0, 1] on its device."""
        if isinstance(images, np.ndarray):
            return torch.from_numpy(np.ascontiguousarray(images))
        if not isinstance(images, torch.Tensor) or images.ndim != 4:
            raise ArgumentTypeError(
                f"images must be a tensor (N, C, H, W) or an array (N, H, W, C), got {type(images).__name__}"
            )
        unit = images.float()
        if "deepfloyd_if" in type(self._pipe).__module__:
            unit = (unit / 2 + 0.5).clamp(0, 1)  # IF's tensors are in [-1, 1]; it clamps so before it saves
        return unit.permute(0, 2, 3, 1)

    def _call_arguments(
        self, guidance: float | None, height: int | None, width: int | None, options: dict[str, Any]
    ) -> dict[str, Any]:
        """The arguments of every call, all explicit; raises if the pipeline does not take one."""
        name = type(self._pipe).__name__
        reserved = {
            "prompt",
            "generator",
            "output_type",
            "return_dict",
            "batch_size",
            "num_images_per_prompt",
        }
        for key in options:
            if key in reserved or key not in self._parameters:
                why = "is set by the sampler" if key in reserved else f"is no argument of {name}"
                raise ArgumentValueError(f"call_options holds {key!r}, which {why}")
        steps = self._named(_STEPS)
        if not steps:
            raise ArgumentValueError(
                f"pipe takes no number of steps: {name} is no pipeline that samples images"
            )
        scales = self._named(_GUIDANCE)
        if scales and guidance is None:
            raise ArgumentValueError(
                f"guidance_scale is missing: {name} takes it, and its default changes the images; 1.0 turns it off"
            )
        if guidance is not None and not scales:
            raise ArgumentValueError(
                f"guidance_scale must be None, since {name} does not take it, got {guidance!r}"
            )
        arguments: dict[str, Any] = dict.fromkeys(steps, self.steps)
        arguments |= dict.fromkeys(scales, guidance)
        for key, value in (("height", height), ("width", width)):
            if value is None:
                continue
            if key not in self._parameters:
                raise ArgumentValueError(f"{key} must be None, since {name} does not take it, got {value!r}")
            arguments[key] = arrays.check_count(value, key)
        arguments["output_type"] = "pt" if self._conditional else "np"
        return arguments | options

    def _named(self, name: str) -> list[str]:
        """The call's argument of this name, or, where its stages have their own (unCLIP), all that end with it."""
        return [name] if name in self._parameters else [p for p in self._parameters if p.endswith(f"_{name}")]

    def _components(self) -> list[tuple[str, str]]:
        """(name, class + digest of configuration and weights), so that a copied folder has the same fingerprint."""
        described = []
        for name, component in sorted(self._pipe.components.items()):
            digest = hashlib.sha256()
            digest.update(_config_text(component).encode())
            if isinstance(component, torch.nn.Module):
                for key, tensor in sorted(component.state_dict().items()):
                    raw = tensor.detach().cpu().contiguous()
                    digest.update(f"{key}:{raw.dtype}:{tuple(raw.shape)}".encode())
                    digest.update(raw.flatten().view(torch.uint8).numpy().tobytes() if raw.numel() else b"")
            described.append((name, f"{type(component).__name__} {digest.hexdigest()[:16]}"))
        return described

    def _device_kind(self) -> str:
        device = self._pipe.device
        if device.type == "cuda":
            return f"cuda {torch.cuda.get_device_name(device)}"
        return f"cpu {torch.backends.cpu.get_cpu_capability()}" if device.type == "cpu" else str(device.type)


def _config_text(component: Any) -> str:
    """A component's configuration as stable text, without the names of folders and versions."""
    if component is None or isinstance(component, bool | int | float | str):
        return repr(component)
    config = getattr(component, "config", None)
    if config is not None:
        plain = dict(config) if isinstance(config, Mapping) else config.to_dict()
        return json.dumps(
            {k: v for k, v in plain.items() if k not in _IGNORED_CONFIG}, sort_keys=True, default=str
        )
    if hasattr(component, "get_vocab"):
        vocabulary = sorted(component.get_vocab().items())
        merges = getattr(component, "bpe_ranks", None) or getattr(component, "_merges", None)
        return json.dumps([vocabulary, str(merges), component.model_max_length])
    if hasattr(component, "to_json_string"):
        return str(component.to_json_string())
    return type(component).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Loading says in three progress bars what a run's log need not repeat; errors are still raised."""
    loggers = [diffusers_logging, transformers_logging]
    before = [(logger, logger.get_verbosity()) for logger in loggers]
    for logger in loggers:
        logger.set_verbosity_error()
        logger.disable_progress_bar()
    try:
        yield
    finally:
        for logger, verbosity in before:
            logger.set_verbosity(verbosity)
            logger.enable_progress_bar()


def _memcore_version() -> str:
    import memcore

    return memcore.__version__
