"""What a worker takes its generations from: a pipeline, a named Python sampler, or stored images. Made once a worker."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from memcore.runs.config import Config
from memcore.sampling.named import load_sampler as load_sampler
from memcore.sampling.protocol import Sampler
from memcore.sources.stored import StoredPrompts, stored_prompts
from memcore.system.credentials import parse_options, redact

Source: TypeAlias = Sampler | StoredPrompts


@dataclasses.dataclass(frozen=True)
class Identity:
    """What tells one source from another: a run is only gone on with by a source of the same fingerprint."""

    fingerprint: str
    describe: Mapping[str, str]


def make_source(config: Config, threads: int | None = None) -> Source:
    """The source that the configuration names. ConfigError if there is none such."""
    if config.source == "stored":
        return stored_prompts(config, threads)
    if config.source == "custom":
        return load_sampler(config.sampler, parse_options(config.sampler_options))
    from memcore.sampling.diffusers import DiffusersSampler

    sampler: Any = DiffusersSampler.load(
        config.model,
        dtype=config.dtype,
        device=config.device,
        steps=config.steps,
        guidance_scale=config.guidance_scale,
        batch_size=config.batch_size,
        height=config.height or None,
        width=config.width or None,
    )
    made: Sampler = sampler
    return made


def identity_of(source: Source) -> Identity:
    """The source's fingerprint and description, without secrets: both are written into the run's folder."""
    described: Callable[[], Mapping[str, Any]] = getattr(source, "describe", dict)
    return Identity(
        redact(source.fingerprint), {str(k): redact(str(v)) for k, v in dict(described()).items()}
    )
