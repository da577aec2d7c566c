"""Screens: scores from a prompt's first denoising step, and which prompts are left out of sampling by one.

A new screen is an entry of ``SCREENS``, with a field of its name in ``FirstStep``. The findings' columns, the choices of
``screen`` in a configuration and the report follow from it.

Sources: Webster 2023, *A Reproducible Extraction of Training Images from Diffusion Models* (one-step);
Wen, Liu, Chen, Lyu 2024, *Detecting, Explaining, and Mitigating Memorization in Diffusion Models* (noise magnitude).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError, SamplerError, TransientError
from memcore.sampling.batches import FindCondition
from memcore.sampling.protocol import Sampler
from memcore.sampling.seeds import derive_seeds, sampler_seed_bits
from memcore.sampling.transient import patiently
from memcore.types import Request


@dataclasses.dataclass(frozen=True)
class FirstStepTensors:
    """What a sampler shows in its first denoising step of N images: torch tensors, (N, ...) each.

    ``answers`` are the denoiser's with and without the prompt, in either order; ``before`` and ``after`` are the latents
    around the step with guidance.
    """

    answers: tuple[Any, Any]
    before: Any
    after: Any


@dataclasses.dataclass(frozen=True)
class Screen:
    """A score: its name, which is that of its column, for people, what it is, and how it is taken from the tensors, (N,)."""

    name: str
    label: str
    meaning: str
    measure: Callable[[FirstStepTensors], Any]


def _noise_magnitude(seen: FirstStepTensors) -> Any:
    first, second = seen.answers
    return (first.double() - second.double()).flatten(1).square().sum(1).sqrt()


def _one_step(seen: FirstStepTensors) -> Any:
    return (seen.after.double() - seen.before.double()).flatten(1).square().mean(1)


#: All screens; each score is >= 0, and larger the more a prompt decides what is drawn.
SCREENS = (
    Screen(
        "noise_magnitude",
        "noise magnitude",
        "the l2 norm of the denoiser's answer with the prompt minus that without it",
        _noise_magnitude,
    ),
    Screen(
        "one_step",
        "one-step",
        "the mean squared difference of the latents before and after the step with guidance",
        _one_step,
    ),
)
#: Their names.
SCORES = tuple(screen.name for screen in SCREENS)


@dataclasses.dataclass(frozen=True, eq=False)
class FirstStep:
    """The scores of N images, by the names of ``SCREENS``: each is (N,) float64, >= 0.

    A screen that came later than a sampler has the default None there.
    """

    noise_magnitude: NDArray[np.float64]
    one_step: NDArray[np.float64]

    def __repr__(self) -> str:
        """Return one line, without the scores."""
        return f"FirstStep(images={len(self.noise_magnitude)})"


@runtime_checkable
class FirstStepSampler(Protocol):
    """A sampler that can stop after the first step; what a screen needs."""

    def first_step(self, requests: Sequence[Request], *, guidance_scale: float) -> FirstStep:
        """Return scores of the images that the requests name, in their order."""
        ...


@dataclasses.dataclass(frozen=True)
class Screened:
    """A prompt's scores, means over its seeds, and whether it is left out of sampling."""

    scores: Mapping[str, float]
    out: bool


def measure(seen: FirstStepTensors) -> FirstStep:
    """Return all scores of the first step."""
    return FirstStep(**{screen.name: screen.measure(seen).cpu().numpy() for screen in SCREENS})


def first_images(seen: FirstStep, count: int) -> FirstStep:
    """Return the scores of the first ``count`` images: the others filled up a batch."""
    return FirstStep(**{name: getattr(seen, name)[:count] for name in SCORES})


def join(parts: Sequence[FirstStep]) -> FirstStep:
    """Return the scores of several batches as one."""
    return FirstStep(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in SCORES})


def screen_prompts(
    prompts: Mapping[int, str],
    sampler: Sampler,
    *,
    score: str,
    threshold: float,
    seeds: int,
    guidance_scale: float,
    batch_size: int,
    run_seed: int,
    conditions: FindCondition | None = None,
) -> dict[int, Screened]:
    """Score each prompt by one denoising step of its first ``seeds`` images; a ``score`` below ``threshold`` leaves it out.

    A prompt whose screen fails has no entry: it is sampled, and fails there with its reason if it must.
    Raises ConfigError for a sampler that cannot be screened.
    """
    if not isinstance(sampler, FirstStepSampler):
        raise ConfigError(
            f"screen={score!r} needs a sampler with a method first_step (DiffusersSampler has it), got "
            f"{type(sampler).__name__}; use screen='none'"
        )

    screened: dict[int, Screened] = {}
    bits = sampler_seed_bits(sampler)

    def judge(ids: Sequence[int]) -> None:
        requests = [
            Request(i, prompts[i], seed, conditions(i) if conditions is not None else None)
            for i in ids
            for seed in derive_seeds(run_seed, i, seeds, bits=bits).tolist()
        ]
        try:
            seen = patiently(lambda: sampler.first_step(requests, guidance_scale=guidance_scale))
        except TransientError:
            raise
        except SamplerError:
            if len(ids) > 1:
                for i in ids:
                    judge([i])
            return
        for n, i in enumerate(ids):
            scores = _means(seen, slice(n * seeds, (n + 1) * seeds))
            # A score that is no number decides nothing: its prompt is sampled.
            screened[i] = Screened(scores, out=bool(scores.get(score, np.nan) < threshold))

    together = max(1, batch_size // seeds)
    ids = list(prompts)
    for start in range(0, len(ids), together):
        judge(ids[start : start + together])
    return screened


def _means(seen: FirstStep, images: slice) -> dict[str, float]:
    """Return the mean of each score over a prompt's images; a sampler may lack a score that came later than it."""
    columns = {name: getattr(seen, name) for name in SCORES}
    return {name: float(np.mean(column[images])) for name, column in columns.items() if column is not None}
