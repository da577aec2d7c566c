"""What the trainings of a planted model's parts have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

#: Steps whose mean loss is said at once.
_REPORT_EVERY = 250


@dataclasses.dataclass(frozen=True)
class StageRecipe:
    """How one part is trained: ``crop`` 0 trains on whole images, otherwise on windows of as many pixels."""

    steps: int
    batch: int
    channels: tuple[int, ...]
    learning_rate: float
    crop: int = 0
    caption_drop: float = 0.05
    ema: float = 0.995

    def descent(self) -> dict[str, Any]:
        """Return the arguments of the study's ``Descent``."""
        return {
            "steps": self.steps,
            "learning_rate": self.learning_rate,
            "weight_decay": 1e-3,
            "warmup": 0.05,
            "ema": self.ema,
        }


class Losses:
    """Says the mean loss of every 250 steps, and of the last."""

    def __init__(self, name: str, steps: int, say: Callable[[str], None]) -> None:
        self._name, self._steps, self._say = name, steps, say
        self._found: list[float] = []
        self._done = 0

    def add(self, loss: float) -> None:
        """Add a step's loss."""
        self._found.append(loss)
        self._done += 1
        if len(self._found) == _REPORT_EVERY or self._done == self._steps:
            mean = sum(self._found) / len(self._found)
            self._say(f"{self._name} step {self._done}/{self._steps}: loss {mean:.4f}")
            self._found.clear()


def drop_captions(
    index: torch.Tensor, empty: int, recipe: StageRecipe, random: torch.Generator
) -> torch.Tensor:
    """Return which caption each entry of a batch is given: its own, or now and then the empty one, for guidance."""
    dropped = torch.rand(len(index), generator=random) < recipe.caption_drop
    return torch.where(dropped, empty, index)


def fix_variance(net: Any) -> None:
    """Have a UNet of six output channels answer with the smaller of the scheduler's two variances, and keep it so.

    The channels of the variance are no part of the loss. The smaller bound is right for the noise that a step must add.
    """
    with torch.no_grad():
        net.conv_out.weight[3:] = 0
        net.conv_out.bias[3:] = -1
