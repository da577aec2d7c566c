"""Where a pipeline's weights are: a folder or a name on the hub, a single file, and an adapter that is fused into them."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memcore.errors import ConfigError, MissingExtraError

#: What the weights of a whole pipeline in one file end with. Other formats are unpickled, which runs code of their maker.
SINGLE_FILE = ".safetensors"
#: Classes of components whose pipelines diffusers has put among the deprecated ones, and the folders that they were in.
_MOVED = {"UnCLIPTextProjModel": "unclip", "PaellaVQModel": "wuerstchen"}
#: The name that ``load_lora_weights`` gives the only adapter.
_ADAPTER = "fused"


def is_single_file(model: str) -> bool:
    """Tell whether a model is one file. Raises ConfigError for one that is not safetensors.

    >>> is_single_file("owner/name")
    False
    """
    path = Path(model)
    if not path.is_file():
        return False
    if path.suffix != SINGLE_FILE:
        raise ConfigError(
            f"model={model} is a file: give the folder of a diffusers pipeline, its name on the hub, or one {SINGLE_FILE} "
            "file of a whole pipeline; other formats are not read, since they can run code"
        )
    return True


def infer_model_config(model: str) -> str:
    """Return the hub's name of the pipeline that a single file has the weights of, by the names of its tensors.

    diffusers knows these, and takes Stable Diffusion 1 for whatever it does not know.
    """
    from diffusers.loaders.single_file_utils import fetch_diffusers_config, load_single_file_checkpoint

    return str(fetch_diffusers_config(load_single_file_checkpoint(model))["pretrained_model_name_or_path"])


@contextlib.contextmanager
def moved_classes() -> Iterator[None]:
    """Let diffusers find the classes of a saved unCLIP or Stable Cascade pipeline while it is loaded.

    Published weights name their old place, and diffusers writes another; in its newest releases neither leads to them.
    """
    library: Any = importlib.import_module("diffusers")
    put: list[tuple[Any, str]] = []
    for name, folder in _MOVED.items():
        try:
            module = importlib.import_module(f"diffusers.pipelines.deprecated.{folder}")
            found = getattr(module, name)
        except (ImportError, AttributeError):  # a release that has it elsewhere
            continue
        for owner, key, value in ((library.pipelines, folder, module), (library, name, found)):
            if not hasattr(owner, key):
                setattr(owner, key, value)
                put.append((owner, key))
    try:
        yield
    finally:
        for owner, key in put:
            delattr(owner, key)


def fuse_adapter(pipe: Any, adapter: str) -> None:
    """Add a LoRA adapter, at scale 1, to the weights of a pipeline, which is then like any other: the digest sees it.

    ``adapter`` is a folder or a file of it. Raises ConfigError if it is none, or none for this pipeline, and
    MissingExtraError without peft.
    """
    name = type(pipe).__name__
    path = Path(adapter)
    if not path.exists():
        raise ConfigError(
            f"adapter={adapter} does not exist: give a folder with pytorch_lora_weights{SINGLE_FILE}, or such a file"
        )
    if not hasattr(pipe, "load_lora_weights"):
        raise ConfigError(f"adapter must be left out: {name} takes no LoRA adapters")
    if importlib.util.find_spec("peft") is None:
        raise MissingExtraError("peft", "adapter", "A LoRA adapter")
    file = {"weight_name": path.name} if path.is_file() else {}
    folder = path.parent if path.is_file() else path
    before = _digests(pipe)
    try:
        pipe.load_lora_weights(str(folder), adapter_name=_ADAPTER, use_safetensors=True, **file)
        pipe.fuse_lora(adapter_names=[_ADAPTER])
        pipe.unload_lora_weights()
        for (
            component
        ) in pipe.components.values():  # the scale that it was fused at, which nothing reads any more
            if hasattr(component, "__dict__"):
                vars(component).pop("lora_scale", None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ConfigError(f"adapter={adapter} cannot be fused into {name}: {first_line(error)}") from error
    if _digests(pipe) == before:
        raise ConfigError(
            f"adapter={adapter} changes no weight of {name}: its tensors are those of another model, or all zero"
        )


def _digests(pipe: Any) -> dict[str, str]:
    """Return the digest of each component, to see whether any changed."""
    from memcore.sampling.diffusers.digest import component_digest

    return {name: component_digest(c, name) for name, c in pipe.components.items()}


def first_line(error: Exception) -> str:
    """Return the first line of an error, or its kind where it says nothing."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
