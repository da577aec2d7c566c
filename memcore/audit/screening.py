"""The optional first pass of a shard: prompts are scored by one denoising step, and low scores are not sampled."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from memcore.errors import ConfigError, SamplerError
from memcore.runs.config import Config
from memcore.sampling.diffusers.first_step import SCORES, FirstStep, FirstStepSampler
from memcore.sampling.protocol import Sampler
from memcore.sampling.seeds import derive_seed
from memcore.types import Request


@dataclasses.dataclass(frozen=True)
class Screened:
    """A prompt's scores, means over ``screen_seeds`` seeds, and whether it is left out of sampling."""

    scores: Mapping[str, float]
    out: bool


def screen_prompts(config: Config, prompts: Mapping[int, str], sampler: Sampler) -> dict[int, Screened]:
    """Scores of each prompt; none at all where no screen is configured. The seeds are those of its first images.

    A prompt whose screen fails has no entry: it is sampled, and fails there with its reason if it must.
    Raises ConfigError for a sampler that cannot be screened.
    """
    if config.screen == "none":
        return {}
    if not isinstance(sampler, FirstStepSampler):
        raise ConfigError(
            f"screen={config.screen!r} needs a sampler with a method first_step (DiffusersSampler has it), got "
            f"{type(sampler).__name__}; use screen='none'"
        )
    screened: dict[int, Screened] = {}
    together = max(1, config.batch_size // config.screen_seeds)
    ids = list(prompts)
    for start in range(0, len(ids), together):
        group = ids[start : start + together]
        for part in _scored(config, group, prompts, sampler):
            screened.update(part)
    return screened


def _scored(
    config: Config, ids: list[int], prompts: Mapping[int, str], sampler: FirstStepSampler
) -> list[dict[int, Screened]]:
    requests = [
        Request(i, prompts[i], derive_seed(config.seed, i, index))
        for i in ids
        for index in range(config.screen_seeds)
    ]
    try:
        seen = sampler.first_step(requests, guidance_scale=config.screen_guidance)
    except SamplerError:
        if len(ids) == 1:
            return []
        return [part for i in ids for part in _scored(config, [i], prompts, sampler)]
    return [{i: _judged(config, seen, n * config.screen_seeds)} for n, i in enumerate(ids)]


def _judged(config: Config, seen: FirstStep, first: int) -> Screened:
    window = slice(first, first + config.screen_seeds)
    scores = {name: float(np.mean(getattr(seen, name)[window])) for name in SCORES}
    deciding = scores[config.screen]
    # a score that is no number decides nothing: its prompt is sampled
    return Screened(scores, out=bool(deciding < config.screen_threshold))
