"""Training of one model: deterministic on one thread, and resumed from any saved state as if nothing had happened."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from numpy.typing import NDArray
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from memcore.errors import RunError
from memcore.study.models.unet import UNetDenoiser, new_unet, noise_schedule
from memcore.study.protocols.protocol import Factors, describe_factors
from memcore.study.training.descent import Descent
from memcore.study.training.draws import Ambient, draw_times
from memcore.system.parsing import parse_json

#: Weight of a step in the smoothed loss.
_SMOOTHING = 0.02
#: Entries of a state besides the tensors of the nets and the optimizer.
_LOOSE = "loose"


class Batch(NamedTuple):
    """Noisy images, their timesteps and classes, what is to be predicted, and what the prediction is multiplied with."""

    noisy: torch.Tensor
    times: torch.Tensor
    classes: torch.Tensor | None
    target: torch.Tensor
    scale: torch.Tensor | None = None


class Trainer:
    """A model in training. ``step`` counts the steps that are done.

    Parameters
    ----------
    factors
        Everything about the model and its training.
    images
        The training set with its copies, (rows, h, w, c) uint8.
    labels
        (rows,) classes, or None.
    classes
        How many classes there are; 0 without ``labels``.
    seed
        Of the weights, the order of the images and the noise.
    device
        Where it is trained. Only one thread of a CPU gives the same bytes again.
    """

    def __init__(
        self,
        factors: Factors,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64] | None,
        classes: int,
        seed: Sequence[int],
        device: str = "cpu",
    ) -> None:
        self.factors = factors
        self.step = 0
        self.loss = math.nan
        #: (step, smoothed loss, digest of the averaged weights) of each checkpoint that was marked.
        self.history: list[tuple[int, float, str]] = []
        shape = (int(images.shape[1]), int(images.shape[2]), int(images.shape[3]))
        self.device = torch.device(device)
        net = new_unet(factors, shape, classes, seed).to(self.device)
        self._descent = Descent(
            net,
            steps=factors.steps,
            learning_rate=factors.learning_rate,
            weight_decay=factors.weight_decay,
            warmup=factors.warmup,
            ema=factors.ema,
        )
        self.net: UNet2DModel = self._descent.net
        self.average: UNet2DModel = self._descent.average
        self._alphas = noise_schedule(factors.schedule, factors.timesteps)
        self._scales = (self._alphas.sqrt().view(-1, 1, 1, 1), (1 - self._alphas).sqrt().view(-1, 1, 1, 1))
        self.model = UNetDenoiser(self.average, shape, self._alphas, factors.prediction, factors.unshuffle)
        pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        self._images = pixels.float() / 127.5 - 1
        self._unshuffled = F.pixel_unshuffle(self._images, factors.unshuffle)
        self._mirrored = F.pixel_unshuffle(self._images.flip(3), factors.unshuffle) if factors.flips else None
        self._labels = None if labels is None else torch.from_numpy(labels)
        self._ambient = (
            Ambient(self._unshuffled, self._alphas, factors.ambient, seed) if factors.ambient else None
        )
        state = np.random.SeedSequence([*seed, 9]).generate_state(1, np.uint64)[0]
        self._random = torch.Generator().manual_seed(int(state) >> 1)

    @property
    def parameters(self) -> int:
        """Return how many numbers the model has."""
        return sum(parameter.numel() for parameter in self.net.parameters())

    def run(self, steps: int) -> None:
        """Train ``steps`` steps more."""
        for _ in range(steps):
            self._step()

    def _step(self) -> None:
        batch = self._batch()
        out = self.net(batch.noisy, batch.times, class_labels=batch.classes, return_dict=False)[0]
        loss = F.mse_loss(out if batch.scale is None else batch.scale * out, batch.target)
        self._finish_step(self._descent.take(loss, self.step))

    def _finish_step(self, value: float) -> None:
        """Count a step, and take its loss into the average."""
        self.step += 1
        self.loss = value if math.isnan(self.loss) else (1 - _SMOOTHING) * self.loss + _SMOOTHING * value

    def _batch(self) -> Batch:
        """Draw a batch of images, and its noise."""
        return self._noised(
            torch.randint(len(self._unshuffled), (self.factors.batch,), generator=self._random)
        )

    def _noised(self, chosen: torch.Tensor) -> Batch:
        """Draw timesteps and noise for rows of the training set."""
        count, random = len(chosen), self._random
        clean = self._unshuffled[chosen]
        if self._mirrored is not None:
            mirror = torch.rand(count, 1, 1, 1, generator=random) < 0.5
            clean = torch.where(mirror, self._mirrored[chosen], clean)
        times = draw_times(count, self.factors.timesteps, self.factors.u_shape, random)
        noise = torch.randn(clean.shape, generator=random)
        a, b = (scale[times] for scale in self._scales)
        noisy = a * clean + b * noise
        target = {"epsilon": noise, "sample": clean}.get(self.factors.prediction)
        if target is None:
            target = a * noise - b * clean
        classes = None if self._labels is None else self._labels[chosen]
        scale = None
        if self._ambient is not None:
            noisy, scale = self._ambient.noised(chosen, times, noise, noisy)
        device = self.device
        if device.type == "cpu":
            return Batch(noisy, times, classes, target, scale)
        classes = None if classes is None else classes.to(device)
        scale = None if scale is None else scale.to(device)
        return Batch(noisy.to(device), times.to(device), classes, target.to(device), scale)

    def mark(self) -> bytes:
        """Note this step as a checkpoint, and return its averaged weights."""
        weights = self.weights()
        self.history.append((self.step, self.loss, weights_digest(weights)))
        return weights

    def weights(self) -> bytes:
        """Return the averaged weights as safetensors."""
        tensors = {name: t.contiguous().cpu() for name, t in self.average.state_dict().items()}
        data: bytes = save_tensors(tensors)
        return data

    def load_weights(self, data: bytes) -> None:
        """Replace the averaged weights, so that ``model`` is that of an earlier step."""
        self.average.load_state_dict(load_tensors(data))

    def state(self) -> bytes:
        """Return everything that training depends on, as safetensors: nothing is unpickled when it is read."""
        tensors = {
            f"{kind}.{name}": tensor.contiguous().cpu()
            for kind, net in (("net", self.net), ("average", self.average))
            for name, tensor in net.state_dict().items()
        }
        for i, parameter in enumerate(self._descent.parameters):
            for name, value in self._descent.optimizer.state[parameter].items():
                tensors[f"optimizer.{i}.{name}"] = torch.as_tensor(value).contiguous().cpu()
        tensors["random"] = self._random.get_state()
        loose = {
            "step": self.step,
            "loss": self.loss.hex(),
            "history": [(step, loss.hex(), digest) for step, loss, digest in self.history],
            "factors": factors_digest(self.factors),
        }
        data: bytes = save_tensors(tensors, metadata={_LOOSE: json.dumps(loose)})
        return data

    def load_state(self, data: bytes) -> None:
        """Resume from what ``state`` returned.

        Raises RunError if it is damaged, or of a model with other factors.
        """
        try:
            loose = parse_json(read_metadata(data)[_LOOSE])
            tensors = load_tensors(data)
        except Exception as error:  # safetensors has no common type of its errors
            raise RunError(f"the state of a training is damaged: {error}") from None
        if loose["factors"] != factors_digest(self.factors):
            raise RunError("the state is that of a training with other factors")
        for kind, net in (("net", self.net), ("average", self.average)):
            prefix = f"{kind}."
            net.load_state_dict(
                {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
            )
        for i, parameter in enumerate(self._descent.parameters):
            prefix = f"optimizer.{i}."
            found = {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
            self._descent.optimizer.state[parameter] = {
                name: tensor.to(self.device) if name != "step" or self.device.type == "cuda" else tensor
                for name, tensor in found.items()
            }
        self._random.set_state(tensors["random"])
        self.step, self.loss = int(loose["step"]), float.fromhex(loose["loss"])
        self.history = [(step, float.fromhex(loss), digest) for step, loss, digest in loose["history"]]


def read_step(data: bytes) -> int:
    """Return how many steps are done in a state. Raises RunError if it is damaged."""
    try:
        return int(parse_json(read_metadata(data)[_LOOSE])["step"])
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"the state of a training is damaged: {error}") from None


def spans(step: int, end: int, stops: Sequence[int], interval: int) -> Iterator[int]:
    """Yield the steps to which a training goes in turn: every stop, and every multiple of the interval.

    >>> list(spans(3, 10, [7], 4))
    [4, 7, 8, 10]
    """
    marks = {stop for stop in stops if step < stop <= end} | {end}
    marks |= set(range((step // interval + 1) * interval, end + 1, interval))
    yield from sorted(mark for mark in marks if mark > step)


def weights_digest(weights: bytes) -> str:
    """Return the sha256 of weights, tensor for tensor in the order of their names."""
    found = hashlib.sha256()
    for name, tensor in sorted(load_tensors(weights).items()):
        found.update(f"{name}{tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def factors_digest(factors: Factors) -> str:
    """Return the sha256 of what decides a training."""
    payload = json.dumps(describe_factors(factors), sort_keys=True)
    return hashlib.sha256(payload.encode()).hexdigest()


def read_metadata(data: bytes) -> dict[str, Any]:
    """Return the metadata of safetensors, which its readers of bytes do not tell."""
    length = int.from_bytes(data[:8], "little")
    found: dict[str, Any] = parse_json(data[8 : 8 + length])["__metadata__"]
    return found
