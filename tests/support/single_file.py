"""The weights of a small Stable Diffusion pipeline in one file, named as CompVis's original code names them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTER = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE = (
    (r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
    (r"mid_block\.attentions\.0\.group_norm", lambda m: "mid.attn_1.norm"),
    (r"mid_block\.attentions\.0\.to_([qkv])", lambda m: f"mid.attn_1.{m[1]}"),
    (r"mid_block\.attentions\.0\.to_out\.0", lambda m: "mid.attn_1.proj_out"),
    (r"down_blocks\.(\d)\.resnets", lambda m: f"down.{m[1]}.block"),
    (r"conv_norm_out", lambda m: "norm_out"),
    (r"conv_shortcut", lambda m: "nin_shortcut"),
)


def save_single_file(pipe: Any, path: Path) -> None:
    """Write the weights of a pipeline with one layer a block, and a VAE of one level."""
    tensors: dict[str, torch.Tensor] = {}
    layers = int(pipe.unet.config.layers_per_block)
    for name, tensor in pipe.unet.state_dict().items():
        tensors[f"model.diffusion_model.{_unet_name(name, layers)}"] = tensor
    for name, tensor in pipe.vae.state_dict().items():
        for pattern, place in _VAE:
            name = re.sub(pattern, place, name)
        name = re.sub(r"up_blocks\.0\.resnets", "up.0.block", name)
        tensors[f"first_stage_model.{name}"] = tensor
    for name, tensor in pipe.text_encoder.state_dict().items():
        inner = name if name.startswith("text_model.") else f"text_model.{name}"
        tensors[f"cond_stage_model.transformer.{inner}"] = tensor
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def _unet_name(name: str, layers: int) -> str:
    for ours, theirs in _OUTER.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs, 1)
    found = re.fullmatch(r"(down|mid|up)_block(?:s\.(\d))?\.(\w+)\.(\d)\.(.*)", name)
    assert found is not None, name
    side, level, kind, number, rest = found[1], int(found[2] or 0), found[3], int(found[4]), found[5]
    if kind == "resnets":
        first, _, last = rest.partition(".")
        rest = f"{_RESNET[first]}.{last}"
    part = 0 if kind == "resnets" else 1
    if side == "mid":
        return f"middle_block.{2 * number + part}.{rest}"
    block = level * (layers + 1) + number
    if side == "down":
        if kind == "downsamplers":
            return f"input_blocks.{(level + 1) * (layers + 1)}.0.op.{rest.removeprefix('conv.')}"
        return f"input_blocks.{block + 1}.{part}.{rest}"
    if kind == "upsamplers":  # after the last layer of its block, and after the attention that there may be
        return f"output_blocks.{(level + 1) * (layers + 1) - 1}.{2 if level == 0 else 1}.{rest}"
    return f"output_blocks.{block}.{part}.{rest}"
