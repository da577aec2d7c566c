"""Make what a worker takes its generations from: a pipeline, a named Python sampler, or stored images."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from memcore.engine.task import Identity
from memcore.errors import ConfigError
from memcore.runs.config import Config
from memcore.sampling.named import errors_named, find_public_options
from memcore.sampling.named import load_sampler as load_sampler
from memcore.sampling.protocol import Sampler, check_sampler, sampler_conditions
from memcore.sampling.seeds import sampler_seed_bits
from memcore.sources.by_prompt import StoredPrompts
from memcore.system.credentials import holds_hidden, parse_options, public_options, redact
from memcore.system.places import where

Source: TypeAlias = Sampler | StoredPrompts
#: What the hub takes for a name: an owner and a model, or a model alone.
_HUB_NAME = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*")


def make_source(config: Config, threads: int | None = None) -> Source:
    """Make the source that the configuration names. Raises ConfigError if there is no such source."""
    if config.source == "stored":
        return stored_prompts(config, threads)
    if config.source == "custom":
        return load_sampler(config.sampler, parse_options(config.sampler_options))
    from memcore.sampling.diffusers import DiffusersSampler

    sampler: Any = DiffusersSampler.load(
        config.model,
        dtype=config.dtype,
        device=config.device,
        variant=config.variant,
        revision=config.revision,
        scheduler=config.scheduler,
        model_config=config.model_config,
        adapter=config.adapter,
        steps=config.steps,
        guidance_scale=config.guidance_scale,
        batch_size=config.batch_size,
        height=config.height or None,
        width=config.width or None,
        strength=config.strength,
    )
    made: Sampler = sampler
    return made


def check_model(model: str) -> None:
    """Refuse a model that is not there before anything is loaded. A name on the hub is only known there.

    Raises ConfigError.
    """
    path = Path(model)
    if path.is_dir():
        if not (path / "model_index.json").is_file():
            raise ConfigError(
                f"model={model} cannot be loaded as a diffusers pipeline: it has no model_index.json"
            )
    elif path.is_file():
        if path.suffix != ".safetensors":
            raise ConfigError(
                f"model={model} is a file: give the folder of a diffusers pipeline, its name on the hub, or one "
                ".safetensors file"
            )
    elif not _HUB_NAME.fullmatch(model):
        raise ConfigError(
            f"model={model} does not exist{where(model)}: give the folder of a diffusers pipeline, or its name on the hub "
            "(owner/name)"
        )


def stored_prompts(config: Config, threads: int | None = None) -> StoredPrompts:
    """Return what a configuration with ``source = "stored"`` reads; ``threads`` decode."""
    return StoredPrompts(
        Path(config.images),
        background=config.background_colour(),
        resize=config.resized(),
        threads=threads or 1,
    )


def describe_source(source: Source, config: Config | None = None) -> Identity:
    """Return the source's fingerprint and description, without secrets: both are written into the run's folder.

    Of the options that ``config`` makes a sampler with, both have the values of those that it declares public; of the
    others the description has the names.
    """
    own = not isinstance(source, StoredPrompts)
    with errors_named("the sampler cannot say what it is") if own else contextlib.nullcontext():
        check_sampler(source)
        described: Callable[[], Mapping[str, Any]] = getattr(source, "describe", dict)
        about = {str(k): redact(str(v)) for k, v in dict(described()).items()}
        bits = sampler_seed_bits(source) if hasattr(source, "seed_bits") else None
    if own and "mask" in sampler_conditions(source)[0]:  # what a match must know of given images
        about["masks_hide"] = "yes" if getattr(source, "masks_hide", False) is True else "no"
    if holds_hidden(source.fingerprint):
        raise ConfigError(
            "the sampler's fingerprint holds the value of an option that the sampler does not declare public, and the "
            "fingerprint is recorded in the run's folder: name the option in public_options of its class or function, or, "
            "if it is a secret, leave it out of the fingerprint"
        )
    fingerprint = redact(source.fingerprint)
    if bits is not None:  # other bits are other seeds, and so other images
        about["seed_bits"] = str(bits)
        fingerprint = f"{fingerprint} seed_bits={about['seed_bits']}"
    if config is not None and (options := parse_options(config.sampler_options)):
        public = public_options(options, find_public_options(config.sampler))
        for name in options:
            about[f"option {name}"] = json.dumps(public[name]) if name in public else "not recorded"
        if public:
            fingerprint = f"{fingerprint} options={json.dumps(public, sort_keys=True)}"
    return Identity(fingerprint, about)
