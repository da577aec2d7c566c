"""An already trained unconditional model of diffusers, from its folder, as a ``Denoiser``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DModel

from memcore.errors import ConfigError
from memcore.study.models.unet import UNetDenoiser
from memcore.system.parsing import parse_json
from memcore.system.places import where

_PREDICTIONS = ("epsilon", "v_prediction", "sample")


def load_folder(folder: Path, device: str = "cpu") -> UNetDenoiser:
    """Return the model that ``DDPMPipeline`` or ``DDIMPipeline`` saved in a folder: its ``unet`` and its ``scheduler``.

    Only safetensors are read. Raises ConfigError if the folder holds something else.
    """
    settings = _read_config(folder / "scheduler" / "scheduler_config.json")
    prediction = settings.get("prediction_type", "epsilon")
    if prediction not in _PREDICTIONS:
        raise ConfigError(f"{folder} predicts {prediction!r}: known are {', '.join(_PREDICTIONS)}")
    kind = _read_config(folder / "unet" / "config.json").get("_class_name")
    if kind != "UNet2DModel":
        raise ConfigError(f"{folder}/unet is a {kind}: a study attacks unconditional models (UNet2DModel)")
    net = UNet2DModel.from_pretrained(str(folder / "unet"), use_safetensors=True, local_files_only=True)
    size, channels = net.config.sample_size, net.config.in_channels
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    if channels not in (1, 3):
        raise ConfigError(f"{folder} makes images of {channels} channels: a study knows grey and RGB")
    alphas = DDPMScheduler.from_config(settings).alphas_cumprod.float()
    return UNetDenoiser(net.to(torch.device(device)), (height, width, channels), alphas, prediction)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path} does not exist{where(path)}: give a folder that an unconditional diffusers pipeline was saved in"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path} must be a JSON object")
    return found
