"""Sources of generations: the protocol, diffusers pipelines, hosted models, any callable; and what to ask them for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memcore.images.constant import flag_constant
from memcore.sampling.batches import Batches, interleave
from memcore.sampling.boundary import Boundary, Outcome, find_boundary, outcome
from memcore.sampling.budget import Budget, Decision, Fixed, Sequential
from memcore.sampling.callables import CallableSampler
from memcore.sampling.protocol import Sampler, check_images
from memcore.sampling.screen import FirstStep, FirstStepSampler
from memcore.sampling.seeds import derive_seed, derive_seeds
from memcore.types import Condition, Images, Request, StopReason

if TYPE_CHECKING:
    from memcore.sampling.diffusers import DiffusersSampler
    from memcore.sampling.http import HttpSampler

__all__ = [
    "Batches",
    "Boundary",
    "Budget",
    "CallableSampler",
    "Condition",
    "Decision",
    "DiffusersSampler",
    "FirstStep",
    "FirstStepSampler",
    "Fixed",
    "HttpSampler",
    "Images",
    "Outcome",
    "Request",
    "Sampler",
    "Sequential",
    "StopReason",
    "check_images",
    "derive_seed",
    "derive_seeds",
    "find_boundary",
    "flag_constant",
    "interleave",
    "outcome",
]


def __getattr__(name: str) -> Any:
    """Import a sampler when it is first named: DiffusersSampler imports torch and diffusers, HttpSampler httpx."""
    if name == "DiffusersSampler":
        from memcore.sampling.diffusers import DiffusersSampler

        return DiffusersSampler
    if name == "HttpSampler":
        from memcore.sampling.http import HttpSampler

        return HttpSampler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
