"""Training of a flow-matching model: at a random place between image and noise, predict the way between them."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from memcore.study.models.flow import TIME_SCALE, FlowGenerator
from memcore.study.models.unet import new_unet
from memcore.study.protocols.protocol import Factors
from memcore.study.training.descent import learning_share
from memcore.study.training.resumable import Resumable

#: Largest norm of a step's gradient; a larger one is scaled down to it.
_CLIP = 1.0


class FlowTrainer(Resumable):
    """A flow-matching model in training, on the UNet, the learning rates and the average of the diffusion models."""

    def __init__(
        self, factors: Factors, images: NDArray[np.uint8], seed: Sequence[int], device: str = "cpu"
    ) -> None:
        super().__init__(factors, images, seed, device)
        net = new_unet(factors, self.shape, 0, seed).to(self.device).train()
        self._net = net
        self._optimizer = torch.optim.AdamW(
            net.parameters(),
            lr=factors.learning_rate,
            weight_decay=factors.weight_decay,
            fused=self.device.type in ("cpu", "cuda"),
        )
        average = copy.deepcopy(net)
        self._keep({"net": net}, average, {"net": self._optimizer})
        self.model = FlowGenerator(average, self.shape, factors.unshuffle)

    def _step(self) -> float:
        factors = self.factors
        for group in self._optimizer.param_groups:
            group["lr"] = factors.learning_rate * learning_share(self.step, factors.steps, factors.warmup)
        clean = F.pixel_unshuffle(self._draw_images(), factors.unshuffle)
        noise = self._draw_normal(*clean.shape)
        times = torch.rand(len(clean), generator=self._random).to(self.device)
        at = times.view(-1, 1, 1, 1)
        out = self._net((1 - at) * clean + at * noise, TIME_SCALE * times, return_dict=False)[0]
        loss = F.mse_loss(out, noise - clean)
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward([loss])
        torch.nn.utils.clip_grad_norm_(list(self._net.parameters()), _CLIP, foreach=True)
        self._optimizer.step()
        self._update_average(self._net)
        return float(loss.item())
