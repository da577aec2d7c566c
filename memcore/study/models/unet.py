"""A small UNet of diffusers as a ``Denoiser``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DModel
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.study.models.denoiser import Labels
from memcore.study.models.noise import draw_noise
from memcore.study.protocols.protocol import Factors, Prediction, Schedule

#: Images in one pass of the model, always: the last batch is padded, since other batch sizes round differently.
BATCH = 64
#: Channels in a group of a normalisation.
_GROUP = 4
_BETAS = {"linear": "linear", "cosine": "squaredcos_cap_v2"}


def new_unet(factors: Factors, shape: tuple[int, int, int], classes: int, seed: Sequence[int]) -> UNet2DModel:
    """Return an untrained UNet for images of ``shape``, its weights drawn from ``seed``.

    Its first level has ``width`` channels, and each of the ``depth`` levels twice as many as the one before. It works on
    ``pixel_unshuffle(unshuffle)`` of the images: a quarter of the pixels with four times the channels costs a quarter of the
    time. ``classes`` is 0 for a model without classes.
    """
    height, width, channels = shape
    check_shape(factors, shape)
    levels = [factors.width * 2**i for i in range(factors.depth)]
    down, up = ["DownBlock2D"] * factors.depth, ["UpBlock2D"] * factors.depth
    if factors.attention:
        down[-1], up[0] = "AttnDownBlock2D", "AttnUpBlock2D"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence(list(seed)).generate_state(1, np.uint64)[0]) >> 1)
        net = UNet2DModel(
            sample_size=(height // factors.unshuffle, width // factors.unshuffle),
            in_channels=channels * factors.unshuffle**2,
            out_channels=channels * factors.unshuffle**2,
            block_out_channels=tuple(levels),
            layers_per_block=factors.layers,
            down_block_types=tuple(down),
            up_block_types=tuple(up),
            norm_num_groups=max(1, factors.width // _GROUP),
            add_attention=factors.attention,
            attention_head_dim=max(1, levels[-1] // 2),
            num_class_embeds=classes or None,
        )
    return net


def check_shape(factors: Factors, shape: tuple[int, int, int]) -> None:
    """Raise ConfigError if a model of these factors cannot work on images of ``shape``."""
    step = factors.unshuffle * 2 ** (factors.depth - 1)
    if shape[0] % step or shape[1] % step:
        raise ConfigError(
            f"images of {shape[0]} x {shape[1]} must be divisible by unshuffle x 2^(depth - 1) = {step}: "
            "make depth or unshuffle smaller"
        )


def noise_schedule(schedule: Schedule, timesteps: int) -> torch.Tensor:
    """Return the cumulative products of 1 - beta, (timesteps,) float32."""
    scheduler = DDPMScheduler(num_train_timesteps=timesteps, beta_schedule=_BETAS[schedule])
    return scheduler.alphas_cumprod.float()


class UNetDenoiser:
    """A UNet, its noise schedule and what it predicts.

    Everything is computed in batches of 64, so that a result depends on its own image and seed alone, on one machine. The
    number of threads is the caller's.
    """

    def __init__(
        self,
        net: UNet2DModel,
        shape: tuple[int, int, int],
        alphas: torch.Tensor,
        prediction: Prediction = "epsilon",
        unshuffle: int = 1,
    ) -> None:
        self.net = net.eval()
        self.shape = shape
        self.timesteps = len(alphas)
        self.prediction = prediction
        self.unshuffle = unshuffle
        self.device = next(net.parameters()).device
        self._alphas = alphas.to(self.device)
        self._inner = (shape[2] * unshuffle**2, shape[0] // unshuffle, shape[1] // unshuffle)

    def losses(
        self, images: NDArray[np.uint8], timestep: int, noise_seed: int, labels: Labels = None
    ) -> NDArray[np.float32]:
        """Return (n,) mean squared errors of the predicted noise, as ``Denoiser`` says."""
        self._check_images(images)
        if not 0 <= timestep < self.timesteps:
            raise ConfigError(f"timestep must be from 0 to {self.timesteps - 1}, got {timestep}")
        found = np.empty(len(images), np.float32)
        alpha = self._alphas[timestep]
        with self._inference():
            for part, own in _batches(len(images)):
                clean = self.to_model(images[part])
                noise = self._noise([(noise_seed, int(i)) for i in part])
                noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
                error = self._predict(noisy, timestep, _take(labels, part))[1] - noise
                found[own] = error.square().mean(dim=(1, 2, 3)).cpu().numpy()[: own.stop - own.start]
        return found

    def sample(self, seeds: Sequence[int], steps: int, labels: Labels = None) -> NDArray[np.uint8]:
        """Return one image for each seed, as ``Denoiser`` says."""
        made = np.empty((len(seeds), *self.shape), np.uint8)
        with self._inference():
            for part, own in _batches(len(seeds)):
                noise = self._noise([(int(seeds[i]), 0) for i in part])
                filled = self.to_images(self._denoise(noise, steps, _take(labels, part)))
                made[own] = filled[: own.stop - own.start]
        return made

    def inpaint(
        self,
        images: NDArray[np.uint8],
        known: NDArray[np.bool_],
        seeds: Sequence[int],
        steps: int,
        labels: Labels = None,
    ) -> NDArray[np.uint8]:
        """Return each image with what is not known filled in, as ``Denoiser`` says.

        At each step the known pixels are replaced by the image's own at that level of noise.
        """
        self._check_images(images)
        if known.shape != self.shape[:2]:
            raise ConfigError(f"known must have shape {self.shape[:2]}, got {known.shape}")
        mask = np.broadcast_to(known[..., None], self.shape)
        kept = F.pixel_unshuffle(
            torch.from_numpy(mask.transpose(2, 0, 1).copy()).float()[None], self.unshuffle
        )
        made = np.empty_like(images)
        with self._inference():
            for part, own in _batches(len(images)):
                clean = self.to_model(images[part])
                noise = self._noise([(int(seeds[i]), 0) for i in part])
                filled = self._denoise(
                    noise, steps, _take(labels, part), (clean, kept.to(self.device).bool())
                )
                made[own] = self.to_images(filled)[: own.stop - own.start]
        return np.where(mask, images, made)

    def to_model(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """Convert (n, h, w, c) uint8 to what the net sees, in [-1, 1]."""
        pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        return F.pixel_unshuffle(pixels.to(self.device).float() / 127.5 - 1, self.unshuffle)

    def to_images(self, tensor: torch.Tensor) -> NDArray[np.uint8]:
        """Convert what the net sees to (n, h, w, c) uint8, rounded to the nearest level."""
        pixels = F.pixel_shuffle(tensor, self.unshuffle).clamp(-1, 1)
        levels = torch.round((pixels + 1) * 127.5).to(torch.uint8).cpu().numpy()
        return np.ascontiguousarray(levels.transpose(0, 2, 3, 1))

    def _denoise(
        self,
        x: torch.Tensor,
        steps: int,
        labels: Labels,
        kept: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Return ``x`` after ``steps`` steps of DDIM, without added noise; ``kept`` is (image, mask of what is known)."""
        if not 1 <= steps <= self.timesteps:
            raise ConfigError(f"steps must be from 1 to {self.timesteps}, got {steps}")
        times = torch.linspace(self.timesteps - 1, 0, steps).round().long().tolist()
        start = x
        for i, t in enumerate(times):
            alpha = self._alphas[t]
            if kept is not None:
                x = torch.where(kept[1], alpha.sqrt() * kept[0] + (1 - alpha).sqrt() * start, x)
            clean = self._predict(x, t, labels)[0].clamp(-1, 1)
            if i + 1 == len(times):
                return clean
            noise = (x - alpha.sqrt() * clean) / (1 - alpha).sqrt()
            following = self._alphas[times[i + 1]]
            x = following.sqrt() * clean + (1 - following).sqrt() * noise
        return x

    def _predict(self, x: torch.Tensor, t: int, labels: Labels) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the clean image and the noise that the net sees in ``x``, whatever it predicts."""
        classes = None
        if self.net.config.num_class_embeds:
            if labels is None:
                raise ConfigError("labels must be given: the model has classes")
            classes = torch.from_numpy(np.ascontiguousarray(labels, np.int64)).to(self.device)
        times = torch.full((BATCH,), t, device=self.device)
        out = self.net(x, times, class_labels=classes, return_dict=False)[0]
        return split_prediction(x, out, self._alphas[t], self.prediction)

    def _noise(self, keys: Sequence[tuple[int, int]]) -> torch.Tensor:
        return draw_noise(keys, self._inner).to(self.device)

    @contextlib.contextmanager
    def _inference(self) -> Iterator[None]:
        training = self.net.training
        self.net.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.net.train(training)

    def _check_images(self, images: NDArray[np.uint8]) -> None:
        if images.dtype != np.uint8 or images.shape[1:] != self.shape:
            raise ConfigError(f"images must be uint8 (n, *{self.shape}), got {images.dtype} {images.shape}")


def split_prediction(
    x: torch.Tensor, out: torch.Tensor, alpha: torch.Tensor, prediction: Prediction
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the clean image and the noise in ``x``, from what a net of that kind predicts at ``alpha``."""
    a, b = alpha.sqrt(), (1 - alpha).sqrt()
    if prediction == "epsilon":
        return (x - b * out) / a, out
    if prediction == "sample":
        return out, (x - a * out) / b
    return a * x - b * out, b * x + a * out


def _batches(n: int) -> Iterator[tuple[NDArray[np.int64], slice]]:
    """Yield the indices of each batch, and the slice that is its own: the last batch repeats its first index."""
    for start in range(0, n, BATCH):
        stop = min(n, start + BATCH)
        part = np.full(BATCH, start, np.int64)
        part[: stop - start] = np.arange(start, stop)
        yield part, slice(start, stop)


def _take(labels: Labels, part: NDArray[np.int64]) -> Labels:
    return None if labels is None else labels[part]
