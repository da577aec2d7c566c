"""The conditions of an audit's prompts: read before a model is loaded, and compared with what the sampler takes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from memcore.conditions import Condition
from memcore.errors import ConfigError
from memcore.runs.config import Config
from memcore.runs.prompts import Entry, Prompts, read_prompts
from memcore.sampling.protocol import sampler_conditions
from memcore.sources.conditioned import ConditionedPrompts, check_conditions

#: In the names of pipelines that begin with a given image.
_WITH_IMAGE = re.compile("img2img|paint", re.IGNORECASE)
#: The one prompt of a model that takes none.
UNCONDITIONAL = "unconditional"


def read_prompt_list(config: Config) -> Iterable[Entry]:
    """Return the prompts that a configuration names; of a model without prompts, one that stands for all of its images.

    Raises ConfigError where a model needs prompts and none are named, or conditions that none are named for.
    """
    names = config.condition_names()
    needs = _needed(config)
    if needs is not None and (lacking := [kind for kind in needs if kind != "label" and kind not in names]):
        raise ConfigError(
            f"model={config.model} begins with a given {lacking[0]}: name the column of the list of prompts that has its "
            f'file, as conditions = "{",".join(check_conditions([*names, *lacking]))}"'
        )
    if config.prompts:
        path = Path(config.prompts)
        return ConditionedPrompts(path, names) if names else read_prompts(path)
    if names:
        raise ConfigError(
            f"conditions names {', '.join(names)}, but there is no list of prompts that has them"
        )
    if _is_unconditional(config):
        return [UNCONDITIONAL]
    what = "prompts is missing: a text file with one prompt a line, or a table with a column prompt"
    if needs and "label" in needs:
        what = "prompts is missing: a text file with the number of a class a line, or a table with a column label"
    raise ConfigError(what)


def with_image_size(config: Config, prompts: Iterable[Entry]) -> Config:
    """Return the configuration with the size of the given images as height and width.

    Raises ConfigError if it says another one.
    """
    size = _image_size(prompts)
    if size is None:
        return config
    for name, pixels in zip(("height", "width"), size, strict=True):
        if getattr(config, name) not in (0, pixels):
            raise ConfigError(
                f"{name} is that of the given images, which have {size[0]}x{size[1]} pixels (height x width), got "
                f"{getattr(config, name)}"
            )
    return dataclasses.replace(config, height=size[0], width=size[1])


def check_taken(sampler: Any, given: Sequence[str]) -> None:
    """Raise ConfigError unless the sampler takes the conditions of a run's prompts, and has all that it needs."""
    takes, needs = sampler_conditions(sampler)
    name = type(sampler).__name__
    for kind in given:
        if kind not in takes:
            why = (
                getattr(sampler, "no_conditions", "") or f"it takes {' and '.join(takes) or 'prompts alone'}"
            )
            raise ConfigError(
                f"the prompts have a condition {kind!r}, on which images of this sampler ({name}) would not depend: {why}"
            )
    for kind in needs:
        if kind not in given and kind != "label":  # which may be the prompt itself
            raise ConfigError(
                f"this sampler ({name}) makes images from a given {kind}, and the prompts have none: name it in conditions"
            )


def first_condition(prompts: Iterable[Entry]) -> Condition | None:
    """Return the condition of a list's first prompt; nothing is read of an iterator, which is gone through once."""
    first = prompts[0] if isinstance(prompts, Sequence) and len(prompts) else None
    return first[1] if isinstance(first, tuple) and isinstance(first[1], Condition) else None


def _image_size(prompts: Iterable[Entry]) -> tuple[int, int] | None:
    if isinstance(prompts, ConditionedPrompts):
        return prompts.image_size()
    condition = None if isinstance(prompts, Prompts) else first_condition(prompts)
    if condition is None or condition.image is None:
        return None
    return int(condition.image.shape[0]), int(condition.image.shape[1])


def _class(config: Config) -> Any:
    """Return the class of a model in a folder of this machine, if it matters here; None where it does not.

    Finding out imports diffusers, which takes seconds: it is left to the workers where the class's name says that the
    model needs no image, and there are prompts.
    """
    index = Path(config.model) / "model_index.json"
    if config.source != "diffusers" or not index.is_file():
        return None
    if config.prompts and not _WITH_IMAGE.search(index.read_text("utf-8", "replace")):
        return None
    from memcore.sampling.diffusers.loading import find_class

    return find_class(config.model, config.revision)


def _needed(config: Config) -> tuple[str, ...] | None:
    """Return the conditions that a model's class needs; None where it is not known before it is loaded."""
    kind = _class(config)
    if kind is None:
        return None
    from memcore.sampling.diffusers.call import call_parameters, needed_conditions

    return needed_conditions(call_parameters(kind))


def _is_unconditional(config: Config) -> bool:
    kind = _class(config)
    if kind is None:
        return False
    from memcore.sampling.diffusers.call import call_parameters, taken_conditions

    parameters = call_parameters(kind)
    return "prompt" not in parameters and "batch_size" in parameters and not taken_conditions(parameters)
