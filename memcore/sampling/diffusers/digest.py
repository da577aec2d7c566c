"""What a pipeline's fingerprint says of one component: its class, and a digest of its configuration and weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch

from memcore.errors import ArgumentValueError
from memcore.sampling.diffusers.content import Contents, hash_tensor

#: Where a model was loaded from and by which version it was saved: true of the file, not of the images.
_IGNORED_CONFIG = (
    "_name_or_path",
    "_diffusers_version",
    "_class_name",
    "transformers_version",
    "_use_default_values",
)
#: Switches that stand outside the configuration and change images.
_SWITCHES = ("use_slicing", "use_tiling")


def component_digest(component: Any, name: str) -> str:
    """Return ``Class sha256[:16]`` over configuration and every weight, whole and not sampled; folder names are not in it.

    Two models that differ in one bit of one weight have two digests. It is taken once a sampler: 1 to 2 GB a second and
    core, so some seconds for Stable Diffusion.
    """
    digest = hashlib.sha256()
    digest.update(_config_text(component).encode())
    if isinstance(component, torch.nn.Module):
        switches = {s: getattr(component, s) for s in _SWITCHES if hasattr(component, s)}
        attention = sorted({type(p).__name__ for p in getattr(component, "attn_processors", {}).values()})
        digest.update(json.dumps([switches, attention], sort_keys=True, default=str).encode())
        for key, tensor in sorted(component.state_dict().items()):
            _hash_tensor(digest, f"{name}.{key}", key, tensor)
    return f"{type(component).__name__} {digest.hexdigest()[:16]}"


def _hash_tensor(digest: Any, where: str, key: str, tensor: Any) -> None:
    if not isinstance(tensor, torch.Tensor):
        digest.update(f"{key}:{tensor!r}".encode())
        return
    if tensor.device.type == "meta":
        raise ArgumentValueError(
            f"pipe holds no values for {where}: its weights are offloaded; enable_model_cpu_offload() keeps them"
        )
    digest.update(f"{key}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
    hash_tensor(digest, tensor)


def _config_text(component: Any) -> str:
    """Return a component's configuration as stable text, without the names of folders and versions."""
    if component is None or isinstance(component, bool | int | float | str):
        return repr(component)
    config = getattr(component, "config", None)
    if config is not None:
        plain = dict(config) if isinstance(config, Mapping) else config.to_dict()
        return json.dumps(
            {k: v for k, v in plain.items() if k not in _IGNORED_CONFIG}, sort_keys=True, default=str
        )
    if hasattr(component, "get_vocab"):
        vocabulary = sorted(component.get_vocab().items())
        merges = getattr(component, "bpe_ranks", None) or getattr(component, "_merges", None)
        return json.dumps([vocabulary, str(merges), component.model_max_length])
    if hasattr(component, "to_json_string"):
        return str(component.to_json_string())
    return type(component).__name__


def describe_option(value: Any) -> str:
    """Return an argument of the pipeline's call as text: numbers and texts as they are, all else by its content.

    Raises NoContentError for an object that has no content to compare.
    """
    if _is_plain(value):
        return str(value)
    text = Contents().text(value)
    return f"{type(value).__name__} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_plain(k) and _is_plain(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
