"""The autoencoder of the demo model: 64 x 64 images to 16 x 16 latents of eight channels, and back.

A small ``AutoencoderTiny``, really trained: no KL term, but latents are pushed towards mean 0 and variance 1
a channel, from which diffusion starts and where the decoder's soft clamp at 3 does little harm. Noise on the
latents during training makes the decoder tolerate errors of the diffusion model.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from numpy.typing import NDArray

LATENT_CHANNELS = 8
BATCH = 8
#: Pixels of a side of the crops in a step: quarters of images allow twice the steps in half the time.
CROP = 32
LEARNING_RATE = 3e-3
#: Standard deviation of the noise on latents, which have a variance near 1.
LATENT_NOISE = 0.03
#: Weight of the penalty on the latents' mean and variance.
LATENT_WEIGHT = 0.02
_DOWNSAMPLING = 4
_CHANNELS = (32, 32, 32)
_REPORT_EVERY = 500


def new_autoencoder() -> AutoencoderTiny:
    """Return an untrained autoencoder. It has no blocks at full resolution, which would take most of the time."""
    model = AutoencoderTiny(
        encoder_block_out_channels=_CHANNELS,
        decoder_block_out_channels=_CHANNELS,
        num_encoder_blocks=(0, 1, 1),
        num_decoder_blocks=(2, 2, 0),
        latent_channels=LATENT_CHANNELS,
        act_fn="silu",
        scaling_factor=1.0,
    )
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, a=0 if ".conv." in name else 1)
            if name.endswith("conv.4"):  # the last layer of a block: blocks start as the identity
                torch.nn.init.zeros_(module.weight)
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
    return model


def train_autoencoder(
    images: NDArray[np.uint8], steps: int, seed: int, progress: Callable[[str], None]
) -> AutoencoderTiny:
    """Train on the unique images (M, 64, 64, 3); ``scaling_factor`` then makes the latents' variance 1."""
    torch.manual_seed(seed)
    model = new_autoencoder().to(memory_format=torch.channels_last)
    model.train()
    pixels = to_tensor(images)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98))
    corners = (pixels.shape[-1] - CROP) // _DOWNSAMPLING + 1
    order: list[int] = []
    errors: list[float] = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * schedule(step, steps)
        if len(order) < BATCH:
            order = torch.randperm(len(pixels)).tolist()
        top, left = (_DOWNSAMPLING * int(v) for v in torch.randint(0, corners, (2,)))
        batch = pixels[[order.pop() for _ in range(BATCH)], :, top : top + CROP, left : left + CROP]
        latents = model.encoder(batch)
        variance, mean = torch.var_mean(latents, dim=(0, 2, 3))
        decoded = model.decoder(latents + LATENT_NOISE * torch.randn_like(latents))
        off = (decoded - batch) / 2  # in units of [0, 1]
        loss = off.abs().mean() + 4 * off.square().mean()
        loss = loss + LATENT_WEIGHT * (mean.square().mean() + (variance - 1).square().mean())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        errors.append(off.detach().square().mean().item())
        if len(errors) == _REPORT_EVERY:
            progress(f"autoencoder step {step + 1}/{steps}: rmse {np.mean(errors) ** 0.5:.4f} of [0, 1]")
            errors.clear()
    model.eval()
    model.register_to_config(scaling_factor=1 / encode(model, images).std().item())
    rmse = reconstruction_rmse(model, images)
    progress(f"autoencoder: rmse {rmse:.4f} of [0, 1] over {len(images)} images")
    return model


def encode(model: AutoencoderTiny, images: NDArray[np.uint8]) -> torch.Tensor:
    """Return the latents before scaling, (M, 8, 16, 16)."""
    with torch.no_grad():
        return torch.cat([model.encoder(part) for part in torch.split(to_tensor(images), 64)]).contiguous()


def reconstruction_rmse(model: AutoencoderTiny, images: NDArray[np.uint8]) -> float:
    """Return the root mean square error of encoding and decoding, in [0, 1]."""
    with torch.no_grad():
        decoded = torch.cat([model.decoder(part) for part in torch.split(encode(model, images), 64)])
    return float(F.mse_loss(decoded.clamp(-1, 1), to_tensor(images)).sqrt() / 2)


def to_tensor(images: NDArray[np.uint8]) -> torch.Tensor:
    """Convert (M, H, W, 3) uint8 to (M, 3, H, W) float32 in [-1, 1]."""
    tensor = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float()
    return (tensor / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def schedule(step: int, steps: int, warmup: int = 100) -> float:
    """Return the share of the learning rate at a step: a linear start, then a cosine down to 2 %."""
    start = min(1.0, (step + 1) / max(1, min(warmup, steps // 10)))
    return float(start * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * step / steps))))
