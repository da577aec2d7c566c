"""Any diffusers pipeline as a sampler, and what its first denoising step says of a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memcore.sampling.diffusers.sampler import DiffusersSampler

__all__ = ["DiffusersSampler"]


def __getattr__(name: str) -> Any:
    """Import DiffusersSampler when it is first named: ``memcore.sampling`` itself must not wait for diffusers."""
    if name == "DiffusersSampler":
        from memcore.sampling.diffusers.sampler import DiffusersSampler

        return DiffusersSampler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
