"""Training of the three GANs: DCGAN by the hinge loss, WGAN-GP, and a small StyleGAN2 with adaptive augmentation.

Hinge loss: Miyato et al. 2018 (arXiv 1802.05957). Gradient penalty: Gulrajani et al. 2017 (arXiv 1704.00028). Non-saturating
loss with a lazy R1 penalty: Karras et al. 2020 (arXiv 1912.04958). Adaptive augmentation: arXiv 2006.06676.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from memcore.study.models.gan import LATENT, new_dcgan
from memcore.study.models.generator import NetGenerator
from memcore.study.models.stylegan import new_stylegan
from memcore.study.protocols.protocol import Factors, ModelKind
from memcore.study.training.augment import augment
from memcore.study.training.resumable import Resumable

_GRADIENT_PENALTY = 10.0
_R1, _R1_EVERY = 1.0, 8
#: Adaptive augmentation: the mean sign of the critic's answers to training images that is aimed at, the weight of a step in
#: that mean, the images after which the share may go from 0 to 1, and the most that it may be.
_AIM, _SIGN_WEIGHT, _RAMP, _MOST = 0.6, 0.1, 50_000, 0.8


@dataclasses.dataclass(frozen=True)
class _Recipe:
    """Steps of the critic for one of the generator, decays of Adam, and the losses of (training, made) images."""

    critic_steps: int
    betas: tuple[float, float]
    critic: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    generator: Callable[[torch.Tensor], torch.Tensor]


def _hinge(real: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    return F.relu(1 - real).mean() + F.relu(1 + made).mean()


def _distance(real: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    return made.mean() - real.mean()


def _logistic(real: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    return F.softplus(-real).mean() + F.softplus(made).mean()


def _raise(made: torch.Tensor) -> torch.Tensor:
    return -made.mean()


def _not_saturating(made: torch.Tensor) -> torch.Tensor:
    return F.softplus(-made).mean()


_RECIPES: dict[ModelKind, _Recipe] = {
    "dcgan": _Recipe(1, (0.0, 0.9), _hinge, _raise),
    "wgan-gp": _Recipe(3, (0.0, 0.9), _distance, _raise),
    "stylegan": _Recipe(1, (0.0, 0.99), _logistic, _not_saturating),
}


class GanTrainer(Resumable):
    """A GAN in training; a step is one of the generator, after those of the critic.

    The critic sees augmented images if the factors ask for it: always, or for "stylegan" as often as keeps it from telling
    the training images too surely.
    """

    def __init__(
        self, factors: Factors, images: NDArray[np.uint8], seed: Sequence[int], device: str = "cpu"
    ) -> None:
        super().__init__(factors, images, seed, device)
        self._recipe = _RECIPES[factors.model]
        make = new_stylegan if factors.model == "stylegan" else new_dcgan
        generator, critic = (net.to(self.device).train() for net in make(factors, self.shape, seed))
        self._generator, self._critic = generator, critic
        adam = {net: self._adam(net) for net in (generator, critic)}
        self._keep(
            {"generator": generator, "critic": critic},
            copy.deepcopy(generator),
            {"generator": adam[generator], "critic": adam[critic]},
        )
        self.model = NetGenerator(self.average, self.shape, (LATENT,))
        adaptive = factors.model == "stylegan"
        self._numbers = {"share": 0.0 if adaptive else 1.0, "sign": 0.0}

    def _adam(self, net: nn.Module) -> torch.optim.Adam:
        fused = self.device.type in ("cpu", "cuda")
        return torch.optim.Adam(
            net.parameters(), lr=self.factors.learning_rate, betas=self._recipe.betas, fused=fused
        )

    def _step(self) -> float:
        loss = 0.0
        for _ in range(self._recipe.critic_steps):
            loss = self._critic_step()
        self._generator_step()
        self._update_average(self._generator)
        return loss

    def _critic_step(self) -> float:
        real = self._shown(self._draw_images())
        with torch.no_grad():
            made = self._shown(self._make())
        scores = self._critic(torch.cat([real, made]))
        of_real, of_made = scores[: len(real)], scores[len(real) :]
        loss = self._recipe.critic(of_real, of_made)
        if self.factors.model == "wgan-gp":
            loss = loss + _GRADIENT_PENALTY * self._slope_penalty(real, made)
        elif self.factors.model == "stylegan":
            self._adapt(of_real.detach())
            if self.step % _R1_EVERY == 0:
                loss = loss + _R1_EVERY * _R1 / 2 * self._square_slope(real)
        self._descend(self._optimizers["critic"], loss)
        return float(loss.item())

    def _generator_step(self) -> None:
        self._critic.requires_grad_(False)
        loss = self._recipe.generator(self._critic(self._shown(self._make())))
        self._descend(self._optimizers["generator"], loss)
        self._critic.requires_grad_(True)

    def _make(self) -> torch.Tensor:
        images: torch.Tensor = self._generator(self._draw_normal(self.factors.batch, LATENT))
        return images

    def _shown(self, images: torch.Tensor) -> torch.Tensor:
        """Return what the critic sees of images."""
        if not self.factors.augment:
            return images
        return augment(images, self._random, self._numbers["share"])

    def _slope_penalty(self, real: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
        """Return how far the critic's slope between training and made images is from 1."""
        at = torch.rand(len(real), 1, 1, 1, generator=self._random).to(self.device)
        slope = _slope(self._critic, at * real + (1 - at) * made)
        norms: torch.Tensor = torch.linalg.vector_norm(slope, dim=(1, 2, 3))
        return (norms - 1).square().mean()

    def _square_slope(self, real: torch.Tensor) -> torch.Tensor:
        """Return the mean square of the critic's slope at training images."""
        slope = _slope(self._critic, real)
        return slope.square().sum(dim=(1, 2, 3)).mean()

    def _adapt(self, of_real: torch.Tensor) -> None:
        """Augment a larger share of the images while the critic is too sure of the training images, else a smaller one."""
        held = self._numbers
        held["sign"] += _SIGN_WEIGHT * (float(of_real.sign().mean()) - held["sign"])
        change = len(of_real) / _RAMP * (1 if held["sign"] > _AIM else -1)
        held["share"] = min(_MOST, max(0.0, held["share"] + change))

    @staticmethod
    def _descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward([loss])
        optimizer.step()


def _slope(critic: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return the critic's gradient at each image, which can be differentiated again."""
    at = images.detach().requires_grad_(True)
    (found,) = torch.autograd.grad([critic(at).sum()], [at], create_graph=True)
    return found
