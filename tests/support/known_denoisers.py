"""Diffusion models whose score is known in closed form: a Gaussian, and one that is its training set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TIMESTEPS = 1000
#: The share of the signal's variance that is left at each timestep, of the usual linear schedule.
SIGNAL = np.cumprod(1 - np.linspace(1e-4, 2e-2, TIMESTEPS))


def to_unit(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return pixels in [-1, 1]."""
    return images / 127.5 - 1


def to_pixels(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.rint((np.clip(values, -1, 1) + 1) * 127.5).astype(np.uint8)


class KnownDenoiser:
    """What follows from the best guess of an image: losses, DDIM sampling, inpainting by putting the known pixels back."""

    timesteps = TIMESTEPS

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape

    def denoise(self, noisy: NDArray[np.float64], signal: float) -> NDArray[np.float64]:
        """Return the expected image given a noisy one, both (n, h, w, c) in [-1, 1]."""
        raise NotImplementedError

    def losses(
        self,
        images: NDArray[np.uint8],
        timestep: int,
        noise_seed: int,
        labels: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float32]:
        x = to_unit(images)
        noise = np.random.default_rng(noise_seed).standard_normal(x.shape)
        error = self.predict_noise(_noised(x, noise, SIGNAL[timestep]), SIGNAL[timestep]) - noise
        return np.asarray((error**2).mean(axis=(1, 2, 3)), np.float32)

    def predict_noise(self, noisy: NDArray[np.float64], signal: float) -> NDArray[np.float64]:
        return np.asarray((noisy - np.sqrt(signal) * self.denoise(noisy, signal)) / np.sqrt(1 - signal))

    def sample(
        self, seeds: Sequence[int], steps: int, labels: NDArray[np.int64] | None = None
    ) -> NDArray[np.uint8]:
        nothing = np.zeros((len(seeds), *self.shape), np.uint8)
        return self.inpaint(nothing, np.zeros(self.shape[:2], bool), seeds, steps)

    def inpaint(
        self,
        images: NDArray[np.uint8],
        known: NDArray[np.bool_],
        seeds: Sequence[int],
        steps: int,
        labels: NDArray[np.int64] | None = None,
    ) -> NDArray[np.uint8]:
        truth = to_unit(images)
        noise = np.stack([np.random.default_rng(seed).standard_normal(self.shape) for seed in seeds])
        x = noise.copy()
        times = np.linspace(TIMESTEPS - 1, 0, steps).round().astype(int)
        for t, after in zip(times, [*SIGNAL[times[1:]], 1.0], strict=True):
            x[:, known] = _noised(truth, noise, SIGNAL[t])[:, known]
            predicted = self.predict_noise(x, SIGNAL[t])
            x = _noised(self.denoise(x, SIGNAL[t]), predicted, after)
        made = to_pixels(x)
        made[:, known] = images[:, known]
        return made


class GaussianDenoiser(KnownDenoiser):
    """The perfect model of pixels that are independent and normal, with one mean and deviation, in [-1, 1]."""

    def __init__(self, shape: tuple[int, int, int], mean: float = 0.0, deviation: float = 0.25) -> None:
        super().__init__(shape)
        self.mean, self.variance = mean, deviation**2

    def denoise(self, noisy: NDArray[np.float64], signal: float) -> NDArray[np.float64]:
        gain = np.sqrt(signal) * self.variance / (signal * self.variance + 1 - signal)
        return np.asarray(self.mean + gain * (noisy - np.sqrt(signal) * self.mean))

    def expected_loss(self, images: NDArray[np.uint8], timestep: int) -> NDArray[np.float64]:
        """Return (n,) the loss in expectation over the noise."""
        signal = SIGNAL[timestep]
        total = signal * self.variance + 1 - signal
        of_image = (
            (1 - signal) * signal / total**2 * ((to_unit(images) - self.mean) ** 2).mean(axis=(1, 2, 3))
        )
        return np.asarray(of_image + (signal * self.variance / total) ** 2)


class MemorisingDenoiser(KnownDenoiser):
    """The model that fits its training set perfectly: it knows of no other image."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        super().__init__(images.shape[1:])
        self.training = to_unit(images)

    def denoise(self, noisy: NDArray[np.float64], signal: float) -> NDArray[np.float64]:
        flat, known = noisy.reshape(len(noisy), -1), self.training.reshape(len(self.training), -1)
        far = ((flat[:, None] - np.sqrt(signal) * known[None]) ** 2).sum(axis=2) / (2 * (1 - signal))
        weight = np.exp(far.min(axis=1, keepdims=True) - far)
        weight /= weight.sum(axis=1, keepdims=True)
        return np.asarray((weight @ known).reshape(noisy.shape))


def _noised(x: NDArray[np.float64], noise: NDArray[np.float64], signal: float) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(signal) * x + np.sqrt(1 - signal) * noise)
