"""What every training of a generator saves: networks, optimisers, numbers and the state of its random draws."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from memcore.errors import RunError
from memcore.study.models.generator import Generator, to_tensor
from memcore.study.protocols.protocol import Factors
from memcore.study.training.trainer import factors_digest, read_metadata, weights_digest
from memcore.system.parsing import parse_json

#: Weight of a step in the smoothed loss.
_SMOOTHING = 0.02
#: Entry of a state besides its tensors.
_LOOSE = "loose"


class Resumable:
    """A generator in training. ``step`` counts the steps that are done.

    A subclass makes its networks and optimisers, calls ``_keep`` and writes ``_step``. ``average`` is the network whose
    weights are recorded and sampled from.

    Parameters
    ----------
    factors
        Everything about the model and its training.
    images
        The training set with its copies, (rows, h, w, c) uint8.
    seed
        Of the weights, the order of the images and the noise.
    device
        Where it is trained. Only one thread of a CPU gives the same bytes again.
    """

    model: Generator

    def __init__(
        self, factors: Factors, images: NDArray[np.uint8], seed: Sequence[int], device: str = "cpu"
    ) -> None:
        self.factors = factors
        self.step = 0
        self.loss = math.nan
        #: (step, smoothed loss, digest of the averaged weights) of each checkpoint that was marked.
        self.history: list[tuple[int, float, str]] = []
        self.device = torch.device(device)
        self.shape = (int(images.shape[1]), int(images.shape[2]), int(images.shape[3]))
        self._images = to_tensor(images)
        state = np.random.SeedSequence([*seed, 9]).generate_state(1, np.uint64)[0]
        self._random = torch.Generator().manual_seed(int(state) >> 1)
        self._nets: dict[str, nn.Module] = {}
        self._optimizers: dict[str, torch.optim.Optimizer] = {}
        #: What else a training remembers, by name.
        self._numbers: dict[str, float] = {}

    def _keep(
        self,
        nets: Mapping[str, nn.Module],
        average: nn.Module,
        optimizers: Mapping[str, torch.optim.Optimizer],
    ) -> None:
        self.average = average.eval().requires_grad_(False)
        self._nets = {**nets, "average": average}
        self._optimizers = dict(optimizers)

    @property
    def parameters(self) -> int:
        """Return how many numbers the model has, without what only its training needs."""
        return sum(parameter.numel() for parameter in self.average.parameters())

    def run(self, steps: int) -> None:
        """Train ``steps`` steps more."""
        for _ in range(steps):
            loss = self._step()
            self.step += 1
            self.loss = loss if math.isnan(self.loss) else (1 - _SMOOTHING) * self.loss + _SMOOTHING * loss

    def _step(self) -> float:
        """Do one step, and return its loss."""
        raise NotImplementedError

    def _draw_images(self) -> torch.Tensor:
        """Return a batch of training images in [-1, 1], mirrored at random if the factors ask for it."""
        batch, random = self.factors.batch, self._random
        images = self._images[torch.randint(len(self._images), (batch,), generator=random)]
        if self.factors.flips:
            mirror = torch.rand(batch, 1, 1, 1, generator=random) < 0.5
            images = torch.where(mirror, images.flip(3), images)
        return images.to(self.device)

    def _draw_normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=self._random).to(self.device)

    def _update_average(self, net: nn.Module) -> None:
        """Move the average towards a network by the factor ``ema``, faster in the first steps; counts are copied."""
        kept = min(self.factors.ema, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            new = net.state_dict()
            for name, held in self.average.state_dict().items():
                if held.is_floating_point():
                    held.lerp_(new[name], 1 - kept)
                else:
                    held.copy_(new[name])

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
            f"net.{kind}.{name}": tensor.contiguous().cpu()
            for kind, net in self._nets.items()
            for name, tensor in net.state_dict().items()
        }
        for kind, optimizer in self._optimizers.items():
            for i, parameter in enumerate(_parameters(optimizer)):
                for name, value in optimizer.state[parameter].items():
                    tensors[f"optimizer.{kind}.{i}.{name}"] = torch.as_tensor(value).contiguous().cpu()
        tensors["random"] = self._random.get_state()
        loose = {
            "step": self.step,
            "loss": self.loss.hex(),
            "history": [(step, loss.hex(), digest) for step, loss, digest in self.history],
            "numbers": {name: float(value).hex() for name, value in self._numbers.items()},
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
        for kind, net in self._nets.items():
            net.load_state_dict(_under(f"net.{kind}.", tensors))
        for kind, optimizer in self._optimizers.items():
            for i, parameter in enumerate(_parameters(optimizer)):
                found = _under(f"optimizer.{kind}.{i}.", tensors)
                optimizer.state[parameter] = {
                    name: tensor.to(self.device) if name != "step" or self.device.type == "cuda" else tensor
                    for name, tensor in found.items()
                }
        self._random.set_state(tensors["random"])
        self.step, self.loss = int(loose["step"]), float.fromhex(loose["loss"])
        self.history = [(step, float.fromhex(loss), digest) for step, loss, digest in loose["history"]]
        self._numbers = {name: float.fromhex(value) for name, value in loose["numbers"].items()}


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
