"""Steps of the study's training: AdamW under a warm-up and a cosine, clipped gradients, and an average of the weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Container
from typing import Generic, TypeVar

import torch

#: Largest norm of a step's gradient; a larger one is scaled down to it.
_CLIP = 1.0
#: Share of the learning rate that the schedule begins and ends with.
_START, _END = 1 / 25, 1e-4 / 25

Net = TypeVar("Net", bound=torch.nn.Module)


class Descent(Generic[Net]):
    """A net in training and the moving average of its weights, which is what is used afterwards.

    Parameters
    ----------
    net
        What is trained, on its device.
    steps
        How many steps there will be: the learning rate falls to nearly 0 with the last.
    learning_rate, weight_decay
        Of AdamW; the rate is the highest of the schedule.
    warmup
        Share of the steps in which the rate rises.
    ema
        Share of the average that a step keeps; less in the first steps.
    first
        Steps of an earlier part of the training, which had a schedule of its own.
    average
        The moving average of that part, which goes on; otherwise it begins with the net's weights.
    trained
        Names of the parameters that move; None for all.
    """

    def __init__(
        self,
        net: Net,
        *,
        steps: int,
        learning_rate: float,
        weight_decay: float,
        warmup: float,
        ema: float,
        first: int = 0,
        average: Net | None = None,
        trained: Container[str] | None = None,
    ) -> None:
        self.net: Net = net.train()
        self.average: Net = copy.deepcopy(net).eval().requires_grad_(False) if average is None else average
        averages = dict(self.average.named_parameters())
        moving = {
            name: parameter
            for name, parameter in net.named_parameters()
            if trained is None or name in trained
        }
        self.parameters: list[torch.Tensor] = list(moving.values())
        self.averages: list[torch.Tensor] = [averages[name] for name in moving]
        self._first, self._steps = first, steps
        self._rate, self._warmup, self._ema = learning_rate, warmup, ema
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=learning_rate,
            weight_decay=weight_decay,
            fused=self.parameters[0].device.type in ("cpu", "cuda"),
        )

    def take(self, loss: torch.Tensor, step: int) -> float:
        """Take one step, of which ``step`` were taken before, down a loss; return the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward([loss])
        torch.nn.utils.clip_grad_norm_(self.parameters, _CLIP, foreach=True)
        self.follow(step)
        return loss.item()

    def follow(self, step: int) -> None:
        """Take one step, of which ``step`` were taken before, by the gradients that the parameters have."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate * learning_share(step - self._first, self._steps, self._warmup)
        self.optimizer.step()
        kept = min(self._ema, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, self.parameters, 1 - kept)


def learning_share(step: int, steps: int, warmup: float) -> float:
    """Return the share of the learning rate at a step: half a cosine up over the ``warmup``, and one down after it.

    >>> [round(learning_share(step, 100, 0.05), 2) for step in (0, 4, 52, 99)]
    [0.04, 1.0, 0.49, 0.0]
    """
    top = warmup * steps - 1
    if step <= top:
        return _cosine(_START, 1.0, step / top if top > 0 else 1.0)
    return _cosine(1.0, _END, (step - top) / max(1e-9, steps - 1 - top))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * min(1.0, share)))
