"""A diffusers pipeline from a folder or the hub, with errors that say what to change."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import diffusers
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from memcore.errors import ArgumentValueError, ConfigError
from memcore.system.places import where


def load_pipeline(
    model: str,
    *,
    dtype: str,
    device: str,
    revision: str | None = None,
    variant: str | None = None,
    scheduler: str | None = None,
) -> Any:
    """Return the pipeline on its device, as ``DiffusersSampler.load`` describes. Raises ConfigError."""
    if dtype not in ("float32", "float16", "bfloat16"):
        raise ArgumentValueError(f"dtype must be float32, float16 or bfloat16, got {dtype!r}")
    chosen: dict[str, Any] = {
        k: v for k, v in (("revision", revision), ("variant", variant)) if v is not None
    }
    try:
        with _quiet():
            chosen[_dtype_argument()] = getattr(torch, dtype)
            pipe = DiffusionPipeline.from_pretrained(model, **chosen)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        hint = _variant_hint(model, variant) if Path(model).exists() else where(model)
        raise ConfigError(
            f"model={model!r} cannot be loaded as a diffusers pipeline: {first}{hint}"
        ) from error
    if scheduler is not None:
        kind = getattr(diffusers, scheduler, None)
        if not inspect.isclass(kind) or not hasattr(kind, "set_timesteps"):
            raise ConfigError(f"scheduler={scheduler!r} is no scheduler class of diffusers")
        if "scheduler" not in pipe.components:
            raise ConfigError(f"scheduler must be None, since {type(pipe).__name__} has no single one")
        pipe.scheduler = cast(Any, kind).from_config(pipe.scheduler.config)
    try:
        pipe = pipe.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device={device!r} cannot be used: {str(error).splitlines()[0]}") from error
    return pipe


def _variant_hint(model: str, variant: str | None) -> str:
    """Return which variants a folder's files are of, for whoever named another one or none."""
    files = Path(model).glob("*/*.safetensors") if Path(model).is_dir() else ()
    names = {file.name.removesuffix(".safetensors").partition(".")[2].partition("-0")[0] for file in files}
    if not names or "" in names or variant in names:
        return ""
    return f". The folder has files of the variant {', '.join(sorted(names))}: give variant (--variant)"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the three progress bars of loading, which a run's log need not repeat; errors are still raised."""
    loggers = [diffusers_logging, transformers_logging]
    before = [logger.get_verbosity() for logger in loggers]
    for logger in loggers:
        logger.set_verbosity_error()
        logger.disable_progress_bar()
    try:
        yield
    finally:
        for logger, verbosity in zip(loggers, before, strict=True):
            logger.set_verbosity(verbosity)
            logger.enable_progress_bar()


def _dtype_argument() -> str:
    """Return the argument's name in this release: newer ones warn of ``torch_dtype``, older ones ignore ``dtype``."""
    return "dtype" if hasattr(diffusers.pipelines.pipeline_utils, "_resolve_dtype") else "torch_dtype"
