"""A diffusers pipeline from a folder or the hub, with errors that say what to change."""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import diffusers
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from memcore.errors import ArgumentValueError, ConfigError
from memcore.sampling.diffusers.places import (
    first_line,
    fuse_adapter,
    infer_model_config,
    is_single_file,
    moved_classes,
)
from memcore.system.places import where


def check_place(dtype: str, device: str) -> None:
    """Refuse numbers and devices that torch does not have here. Raises ArgumentValueError, ConfigError."""
    if dtype not in ("float32", "float16", "bfloat16"):
        raise ArgumentValueError(f"dtype must be float32, float16 or bfloat16, got {dtype!r}")
    try:
        place = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"device={device!r} cannot be used: {str(error).splitlines()[0]}") from None
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"device={device!r} cannot be used: torch finds no CUDA device here; use device='cpu'"
        )
    if place.type == "cuda" and place.index is not None and place.index >= torch.cuda.device_count():
        raise ConfigError(
            f"device={device!r} cannot be used: there are {torch.cuda.device_count()} CUDA devices"
        )


def find_class(model: str, revision: str | None = None, model_config: str | None = None) -> type[Any] | None:
    """Return the class of a model's pipeline from its model_index.json; None where that names none of diffusers.

    That of a single file is ``model_config``'s, which is inferred where it is not given. Raises ConfigError where there is
    no model: its weights need not be loaded to find out.
    """
    named = {} if revision is None else {"revision": revision}
    try:
        with quiet_libraries():
            if is_single_file(model):
                about = DiffusionPipeline.load_config(model_config or infer_model_config(model))
            elif model_config is not None:
                raise ConfigError(
                    f"model_config is of a model in one file, but model={model} is none: leave it out"
                )
            else:
                about = DiffusionPipeline.load_config(model, **named)
    except (OSError, ValueError) as error:
        raise ConfigError(
            _unloadable(model, error) + (_config_hint(model) if Path(model).exists() else where(model))
        ) from error
    name = about.get("_class_name") if isinstance(about, dict) else None
    found = getattr(diffusers, name, None) if isinstance(name, str) else None
    return found if inspect.isclass(found) and issubclass(found, DiffusionPipeline) else None


def _unloadable(model: str, error: Exception) -> str:
    return f"model={model!r} cannot be loaded as a diffusers pipeline: {first_line(error)}"


def _config_hint(model: str) -> str:
    """Return what a single file needs besides itself; nothing for a folder."""
    if not Path(model).is_file():
        return ""
    return (
        ". A single file holds weights alone: give the folder or the hub's name of a pipeline of its kind as model_config "
        "(--model-config)"
    )


def load_pipeline(
    model: str,
    *,
    dtype: str,
    device: str,
    revision: str | None = None,
    variant: str | None = None,
    scheduler: str | None = None,
    model_config: str | None = None,
    adapter: str | None = None,
) -> Any:
    """Return the pipeline on its device, as ``DiffusersSampler.load`` describes. Raises ConfigError."""
    chosen: dict[str, Any] = {
        k: v for k, v in (("revision", revision), ("variant", variant)) if v is not None
    }
    try:
        with quiet_libraries():
            chosen[_dtype_argument()] = getattr(torch, dtype)
            if is_single_file(model):
                pipe = _from_single_file(model, model_config, chosen)
            else:
                with moved_classes():
                    pipe = DiffusionPipeline.from_pretrained(model, **chosen)
    except ConfigError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError) as error:
        hint = _config_hint(model) or _variant_hint(model, variant) if Path(model).exists() else where(model)
        raise ConfigError(_unloadable(model, error) + hint) from error
    if adapter is not None:
        with quiet_libraries():
            fuse_adapter(pipe, adapter)
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


def _from_single_file(model: str, model_config: str | None, chosen: dict[str, Any]) -> Any:
    """Return the pipeline whose weights are one file; the rest is taken from ``model_config``."""
    named = [name for name in ("variant", "revision") if name in chosen]
    if named:
        raise ConfigError(f"{named[0]} must be left out: model={model} is one file")
    kind = find_class(model, model_config=model_config)
    if kind is None or not hasattr(kind, "from_single_file"):
        what = kind.__name__ if kind is not None else "the pipeline of model_config"
        raise ConfigError(f"model={model!r} cannot be loaded: {what} is not read from one file")
    return kind.from_single_file(model, config=model_config or infer_model_config(model), **chosen)


def _variant_hint(model: str, variant: str | None) -> str:
    """Return which variants a folder's files are of, for whoever named another one or none."""
    files = Path(model).glob("*/*.safetensors") if Path(model).is_dir() else ()
    names = {file.name.removesuffix(".safetensors").partition(".")[2].partition("-0")[0] for file in files}
    if not names or "" in names or variant in names:
        return ""
    return f". The folder has files of the variant {', '.join(sorted(names))}: give variant (--variant)"


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence what libraries say while they load and build components: a run's log need not repeat it. Errors are raised."""
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


class _NotTruncated(logging.Filter):
    """Let all pass but the warning that a prompt is cut, which pipelines repeat with each batch, and with its whole text."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is another one."""
        text = str(record.msg)
        return not (
            "input was truncated" in text or text.startswith("Token indices sequence length is longer")
        )


_NOT_TRUNCATED = _NotTruncated()


@contextlib.contextmanager
def untold_truncation() -> Iterator[None]:
    """Silence the warnings of all pipelines that a prompt is cut: ``check_prompt`` says it once, and the run records it."""
    known = list(
        logging.root.manager.loggerDict.items()
    )  # a pipeline may call others, each with a logger of its own
    loggers = [
        logger
        for name, logger in known
        if isinstance(logger, logging.Logger) and name.startswith(("diffusers.", "transformers."))
    ]
    for logger in loggers:
        logger.addFilter(_NOT_TRUNCATED)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_NOT_TRUNCATED)
