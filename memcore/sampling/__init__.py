"""Sources of generations: the protocol, diffusers pipelines, any Python callable; and which images to ask them for."""

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
from memcore.types import Images, Request, StopReason

if TYPE_CHECKING:
    from memcore.sampling.diffusers import DiffusersSampler

__all__ = [
    "Batches",
    "Boundary",
    "Budget",
    "CallableSampler",
    "Decision",
    "DiffusersSampler",
    "FirstStep",
    "FirstStepSampler",
    "Fixed",
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
    """Import DiffusersSampler when it is first named: it imports torch and diffusers."""
    if name == "DiffusersSampler":
        from memcore.sampling.diffusers import DiffusersSampler

        return DiffusersSampler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
