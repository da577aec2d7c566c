"""Training of the autoregressive model: first the vector-quantised autoencoder, then the transformer over its tokens."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from memcore.study.models.autoregressive import CODE, as_generator, new_autoregressive
from memcore.study.protocols.protocol import Factors
from memcore.study.training.descent import learning_share
from memcore.study.training.resumable import Resumable

#: Share of the steps that the autoencoder gets.
_FIRST = 0.4
#: Weight of the term that keeps what is encoded near the codebook.
_COMMITMENT = 0.25
#: Steps between two looks at the codebook: entries that no image used since the last become entries that images need.
_REVIVE = 50
_CLIP = 1.0


class AutoregressiveTrainer(Resumable):
    """A vector-quantised autoencoder in training, then a transformer; until the latter learns, samples are random tokens."""

    def __init__(
        self, factors: Factors, images: NDArray[np.uint8], seed: Sequence[int], device: str = "cpu"
    ) -> None:
        super().__init__(factors, images, seed, device)
        self._net = new_autoregressive(factors, self.shape, seed).to(self.device).train()
        self._parts = {"quantiser": self._net.quantiser, "model": self._net.model}
        optimizers = {
            name: torch.optim.AdamW(
                part.parameters(),
                lr=factors.learning_rate,
                weight_decay=factors.weight_decay,
                fused=self.device.type in ("cpu", "cuda"),
            )
            for name, part in self._parts.items()
        }
        self._first = max(1, round(_FIRST * factors.steps))
        average = copy.deepcopy(self._net)
        self._keep({"net": self._net}, average, optimizers)
        self.model = as_generator(average, self.shape)

    def _step(self) -> float:
        first = self.step < self._first
        name = "quantiser" if first else "model"
        begun = self.step - (0 if first else self._first)
        planned = self._first if first else max(1, self.factors.steps - self._first)
        optimizer = self._optimizers[name]
        for group in optimizer.param_groups:
            share = learning_share(begun, planned, self.factors.warmup)
            group["lr"] = self.factors.learning_rate * share
        loss = self._reconstruct() if first else self._predict()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward([loss])
        torch.nn.utils.clip_grad_norm_(list(self._parts[name].parameters()), _CLIP, foreach=True)
        optimizer.step()
        if self.step + 1 == self._first:
            # The tokens that the transformer learns are those of the last weights: their average is another code.
            self.average.load_state_dict(self._net.state_dict())
        else:
            self._update_average(self._net)
        return float(loss.item())

    def _reconstruct(self) -> torch.Tensor:
        quantiser = self._net.quantiser
        images = self._draw_images()
        encoded = quantiser.encode(images)
        tokens = quantiser.tokens(encoded)
        with torch.no_grad():
            quantiser.used += torch.bincount(tokens.flatten(), minlength=len(quantiser.used))
            if self.step % _REVIVE == _REVIVE - 1:
                self._revive(encoded)
        nearest = quantiser.quantise(tokens)
        straight = encoded + (nearest - encoded).detach()  # the gradient passes as if nothing was quantised
        return (
            F.mse_loss(quantiser.decode(straight), images)
            + F.mse_loss(nearest, encoded.detach())
            + _COMMITMENT * F.mse_loss(encoded, nearest.detach())
        )

    def _revive(self, encoded: torch.Tensor) -> None:
        """Replace entries that nothing used by what this batch holds."""
        quantiser = self._net.quantiser
        flat = encoded.permute(0, 2, 3, 1).reshape(-1, CODE)
        taken = torch.randint(len(flat), (len(quantiser.used),), generator=self._random).to(self.device)
        idle = quantiser.used == 0
        quantiser.codebook.weight[idle] = flat[taken][idle]
        quantiser.used.zero_()

    def _predict(self) -> torch.Tensor:
        with torch.no_grad():
            quantiser = self._net.quantiser
            tokens = quantiser.tokens(quantiser.encode(self._draw_images())).flatten(1)
        logits = self._net.model(self._net.model.shift(tokens))
        return F.cross_entropy(logits.flatten(0, 1), tokens.flatten())
