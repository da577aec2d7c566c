"""The arguments of each call of a diffusers pipeline: all explicit, and checked against what the pipeline takes.

Nothing here imports diffusers: a pipeline is its class and the parameters of its call.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from memcore import arrays
from memcore.errors import ArgumentTypeError, ArgumentValueError

#: Of a pipeline's ``__call__``, by name.
Parameters: TypeAlias = Mapping[str, inspect.Parameter]
#: Pipelines whose output_type="pt" is not what they save: shifted to [-1, 1], or past the safety checker (IF).
_ASK_NUMPY = {"deepfloyd_if", "kandinsky", "kandinsky2_2", "kandinsky3"}
#: One argument a stage. Other scales that end so (skip_layer_guidance_scale) are something else.
STEPS = re.compile(r"((prior|decoder|super_res)_)?num_inference_steps")
GUIDANCE = re.compile(r"((prior|decoder|super_res)_)?guidance_scale")
TEXTS = re.compile(r"(negative_)?prompt(_\d+)?")
#: What decides an image instead of its prompt or its seed, and would be the same for all of them.
INSTEAD = re.compile(r"(\w+_)?(latents|noise)|(?!negative_)(\w+_)?prompt_(embeds|attention_mask)(_\d+)?")
#: The arguments that a request's condition fills, by its kind.
CONDITION_ARGUMENTS = {"label": "class_labels", "image": "image", "mask": "mask_image"}
SET_HERE = {"prompt", "generator", "output_type", "return_dict", "batch_size", "num_images_per_prompt"}


def call_parameters(pipeline: type[Any]) -> Parameters:
    """Return the parameters of a pipeline's call, by name."""
    return dict(inspect.signature(pipeline.__call__).parameters)


def taken_conditions(parameters: Parameters) -> tuple[str, ...]:
    """Return which conditions a pipeline's call takes: of label, image and mask."""
    return tuple(kind for kind, name in CONDITION_ARGUMENTS.items() if name in parameters)


def needed_conditions(parameters: Parameters) -> tuple[str, ...]:
    """Return the conditions without which a pipeline makes no image.

    Many declare the image of image-to-image as optional and raise without it: ``strength`` and a mask tell them.
    """
    begins_with_image = "strength" in parameters or "mask_image" in parameters
    return tuple(
        kind
        for kind in taken_conditions(parameters)
        if _required(parameters[CONDITION_ARGUMENTS[kind]]) or (kind != "label" and begins_with_image)
    )


def call_arguments(
    pipeline: type[Any],
    steps_each: int,
    guidance_scale: float | None,
    height: int | None = None,
    width: int | None = None,
    negative_prompt: str | None = None,
    call_options: Mapping[str, Any] | None = None,
    strength: float | None = None,
) -> dict[str, Any]:
    """Return the arguments of every call; raise if the pipeline's class does not take one or needs another."""
    name, parameters = pipeline.__name__, call_parameters(pipeline)
    guidance, options = check_guidance(guidance_scale), dict(call_options or {})
    for key in options:
        if INSTEAD.fullmatch(key) and key in parameters:
            raise ArgumentValueError(
                f"call_options holds {key!r}, which would take the place of "
                f"{'the prompts' if 'prompt' in key else 'the noise of the seeds'}: every image would be made from it. "
                "Leave it out"
            )
        if key in CONDITION_ARGUMENTS.values() and key in parameters:
            raise ArgumentValueError(
                f"call_options holds {key!r}, which each prompt has for itself: give it as a condition of the prompts (a "
                "column of their list; Request.condition), so that images are compared with what they were made from"
            )
        if key in SET_HERE or key not in parameters:
            why = "is set by the sampler" if key in SET_HERE else f"is no argument of {name}"
            raise ArgumentValueError(f"call_options holds {key!r}, which {why}")
    steps, scales = stages(parameters, STEPS), stages(parameters, GUIDANCE)
    if not steps:
        raise ArgumentValueError(f"pipe takes no number of steps: {name} is no pipeline that samples images")
    if scales and guidance is None:
        raise ArgumentValueError(
            f"guidance_scale is missing: {name} takes it, and its default changes the images; 1.0 turns it off"
        )
    given: dict[str, Any] = {"height": height, "width": width, "negative_prompt": negative_prompt}
    if not scales:
        given["guidance_scale"] = guidance
    needs = needed_conditions(parameters)
    sized = {"height", "width"} if "image" in needs else set()  # those of the given images
    if "image" in needs and (height is None or width is None):
        raise ArgumentValueError(
            f"height and width are missing: {name} begins with an image that is given; say its size in pixels"
        )
    for key, value in given.items():
        if value is not None and key not in parameters and key not in sized:
            raise ArgumentValueError(f"{key} must be None, since {name} does not take it, got {value!r}")
    arguments: dict[str, Any] = dict.fromkeys(steps, steps_each) | dict.fromkeys(scales, guidance)
    arguments |= {
        k: arrays.check_count(given[k], k)
        for k in ("height", "width")
        if given[k] is not None and k in parameters
    }
    if strength is not None or ("strength" in parameters and "image" in needs and "strength" not in options):
        arguments["strength"] = _check_strength(strength, name, parameters, steps_each)
    if negative_prompt is not None:
        arguments["negative_prompt"] = negative_prompt
    if "clean_caption" in parameters:
        arguments["clean_caption"] = False  # True, the default, needs packages that are here or not
    of_numpy = any(_ASK_NUMPY & set(c.__module__.split(".")) for c in pipeline.__mro__)
    arguments["output_type"] = "np" if of_numpy else "pt"
    arguments |= options
    known = {"self", "prompt", "generator", *CONDITION_ARGUMENTS.values(), *arguments}
    needed = [n for n in parameters if n not in known and _required(parameters[n])]
    if needed or ("batch_size" not in parameters and "prompt" not in parameters and not needs):
        what = ", ".join(needed) or "no prompt"
        raise ArgumentValueError(
            f"pipe is no pipeline that makes images of prompts, labels or given images: {name} asks for {what}; "
            "CallableSampler wraps it"
        )
    return arguments


def _check_strength(strength: float | None, name: str, parameters: Parameters, steps: int) -> float:
    """Return a strength that leaves at least one step."""
    if strength is None:
        raise ArgumentValueError(
            f"strength is missing: {name} takes it, and its default changes the images; 1.0 begins with noise alone"
        )
    if "strength" not in parameters:
        raise ArgumentValueError(f"strength must be None, since {name} does not take it, got {strength!r}")
    if isinstance(strength, bool) or not isinstance(strength, int | float):
        raise ArgumentTypeError(f"strength must be a number in (0, 1], got {type(strength).__name__}")
    if not 0 < strength <= 1:
        raise ArgumentValueError(f"strength must be a number in (0, 1], got {strength!r}")
    if int(steps * strength) < 1:
        raise ArgumentValueError(
            f"strength={strength!r} of steps={steps} leaves no step: the given image would come back unchanged"
        )
    return float(strength)


def _required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind not in (
        parameter.VAR_KEYWORD,
        parameter.VAR_POSITIONAL,
    )


def stages(parameters: Parameters, pattern: re.Pattern[str]) -> list[str]:
    """Return the call's arguments of this kind, one a stage of the pipeline."""
    return [p for p in parameters if pattern.fullmatch(p)]


def check_guidance(value: Any) -> float | None:
    """Return a guidance scale that is a finite number or None; raise ArgumentTypeError or ArgumentValueError otherwise."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ArgumentTypeError(f"guidance_scale must be a number or None, got {type(value).__name__}")
    if value is not None and not np.isfinite(value):
        raise ArgumentValueError(f"guidance_scale must be finite, got {value}")
    return value
