"""Sources of generations: the protocol, diffusers pipelines, and any Python callable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memcore.sampling.callables import CallableSampler
from memcore.sampling.protocol import Sampler, check_images
from memcore.sampling.screens import flag_constant
from memcore.sampling.seeds import derive_seed
from memcore.types import Images, Request

if TYPE_CHECKING:
    from memcore.sampling.diffusers import DiffusersSampler

__all__ = [
    "CallableSampler",
    "DiffusersSampler",
    "Images",
    "Request",
    "Sampler",
    "check_images",
    "derive_seed",
    "flag_constant",
]


def __getattr__(name: str) -> Any:
    """DiffusersSampler is loaded when it is first named: it imports torch and diffusers."""
    if name == "DiffusersSampler":
        from memcore.sampling.diffusers import DiffusersSampler

        return DiffusersSampler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
