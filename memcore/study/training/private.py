"""Training in two parts: on public images first, then on the private ones, by DP-SGD where an epsilon is asked for."""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np
import torch
from diffusers import UNet2DModel
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.study.protocols.protocol import Factors
from memcore.study.training.accountant import noise_for
from memcore.study.training.descent import Descent
from memcore.study.training.per_sample import CHUNK, clipped_sum, sample_gradients, small_part
from memcore.study.training.trainer import Trainer, read_step


def new_trainer(
    factors: Factors,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64] | None,
    classes: int,
    seed: Sequence[int],
    device: str = "cpu",
    public: NDArray[np.uint8] | None = None,
) -> Trainer:
    """Return the trainer that the factors ask for; ``public`` are the images of its first steps."""
    if not (factors.public_steps or factors.dp_epsilon or factors.trainable != "all"):
        return Trainer(factors, images, labels, classes, seed, device)
    return PrivateTrainer(factors, images, seed, device, public)


class PrivateTrainer(Trainer):
    """A model whose first ``public_steps`` see public images alone. Its private steps move ``trainable`` parameters.

    Each private step of DP-SGD takes every row of the training set by a chance of its own, ``batch`` / rows; the gradient of
    a row is the mean over ``dp_draws`` noises and timesteps, clipped to ``dp_clip``. The sum gets Gaussian noise and is
    divided by ``batch``, whatever number was taken. So the weights have the guarantee of
    ``accountant.spent_epsilon`` for each row.

    The noise comes from a seeded generator, so that a study can be repeated: it is no secret, and a model that is given away
    would need another one. The number of rows and the recorded loss are not covered by the guarantee.
    """

    def __init__(
        self,
        factors: Factors,
        images: NDArray[np.uint8],
        seed: Sequence[int],
        device: str = "cpu",
        public: NDArray[np.uint8] | None = None,
    ) -> None:
        super().__init__(factors, images, None, 0, seed, device)
        self.private_steps = factors.steps - factors.public_steps
        self.rate = factors.batch / len(images)
        self.noise = 0.0
        if factors.dp_epsilon:
            if self.rate > 1:
                raise ConfigError(
                    f"batch must be at most the {len(images):,} training rows, got {factors.batch}"
                )
            self.noise = noise_for(factors.dp_epsilon, factors.dp_delta, self.rate, self.private_steps)
        self._trained: dict[str, torch.nn.Parameter] = {}
        self._private = (self._unshuffled, self._mirrored, self._ambient)
        if factors.public_steps:
            if public is None:
                raise ConfigError(f"public={factors.public!r} has no images")
            self._descent = self._part(0, factors.public_steps, None)
            other = Trainer(factors, public, None, 0, seed, device)
            self._unshuffled, self._mirrored = other._unshuffled, other._mirrored
            self._ambient = None

    def _step(self) -> None:
        factors = self.factors
        if self.step < factors.public_steps:
            super()._step()
            return
        if not self._trained:
            self._begin_private()
        if not factors.dp_epsilon:
            super()._step()
            return
        taken = torch.rand(len(self._unshuffled), generator=self._random) < self.rate
        sums, loss = self._clipped(taken.nonzero().flatten())
        for name, parameter in self._trained.items():
            drawn = torch.randn(parameter.shape, generator=self._random).to(self.device)
            parameter.grad = (sums[name] + self.noise * factors.dp_clip * drawn) / factors.batch
        self._descent.follow(self.step)
        self._finish_step(self.loss if loss is None else loss)

    def _part(self, first: int, steps: int, trained: Container[str] | None) -> Descent[UNet2DModel]:
        """Return a descent with a schedule of its own, whose average is the training's."""
        factors = self.factors
        return Descent(
            self.net,
            steps=steps,
            learning_rate=factors.learning_rate,
            weight_decay=factors.weight_decay,
            warmup=factors.warmup,
            ema=factors.ema,
            first=first,
            average=self.average,
            trained=trained,
        )

    def _begin_private(self) -> None:
        """Go on from the average of the public steps, with the private images and the parameters that move."""
        self.net.load_state_dict(self.average.state_dict())
        self._trained = (
            dict(self.net.named_parameters()) if self.factors.trainable == "all" else small_part(self.net)
        )
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(name in self._trained)
        self._descent = self._part(self.factors.public_steps, self.private_steps, self._trained)
        self._unshuffled, self._mirrored, self._ambient = self._private

    def _clipped(self, taken: torch.Tensor) -> tuple[dict[str, torch.Tensor], float | None]:
        """Return the sum of the clipped gradients of the rows, and their mean loss; None of no row."""
        sums = {name: torch.zeros_like(parameter) for name, parameter in self._trained.items()}
        total, draws = 0.0, self.factors.dp_draws
        for rows in torch.split(taken, CHUNK) if len(taken) else ():
            drawn = self._noised(rows.repeat_interleave(draws))
            noisy, times, target, scale = (
                None if tensor is None else tensor.view(len(rows), draws, *tensor.shape[1:])
                for tensor in (drawn.noisy, drawn.times, drawn.target, drawn.scale)
            )
            assert noisy is not None
            assert times is not None
            assert target is not None
            gradients, losses = sample_gradients(self.net, self._trained, noisy, times, target, scale)
            for name, summed in clipped_sum(gradients, self.factors.dp_clip).items():
                sums[name] += summed
            total += float(losses.sum())
        return sums, total / len(taken) if len(taken) else None

    def load_state(self, data: bytes) -> None:
        """Resume from what ``state`` returned, in the part of the training that it is of."""
        if read_step(data) > self.factors.public_steps and not self._trained:
            self._begin_private()
        super().load_state(data)
