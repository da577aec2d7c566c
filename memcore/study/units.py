"""How much work a model is, in units of one pass of a batch of 64 images through the net: what progress counts."""

from __future__ import annotations

import dataclasses
import math

from memcore.study.models.autoregressive import token_side
from memcore.study.models.unet import BATCH
from memcore.study.protocols.protocol import Factors, ModelSpec, Protocol

#: Passes that a training step of as many images costs: forward, and backward twice.
STEP = 3


@dataclasses.dataclass(frozen=True)
class Units:
    """Passes of a model's parts. ``sampling`` is that of one checkpoint."""

    training: int
    sampling: int
    checkpoints: int
    losses: int
    inpainting: int

    @property
    def attacks(self) -> int:
        """Return the passes of all attacks."""
        return self.sampling * self.checkpoints + self.losses + self.inpainting

    @property
    def total(self) -> int:
        """Return the passes of the whole model."""
        return self.training + self.attacks


def count_units(protocol: Protocol, spec: ModelSpec) -> Units:
    """Return the passes that a model takes."""
    factors = spec.factors
    members = factors.n if factors.half < 0 else factors.n // 2
    sampled = {"extraction", "quality", "samples", "filter"} & set(spec.attacks)
    sampling = losses = inpainting = 0
    if sampled:
        side = protocol.data[factors.data].side
        passes = passes_of_sampling(factors, protocol.extraction.steps, side)
        sampling = _batches(samples_needed(protocol, spec)) * passes
    if "canaries" in spec.attacks:
        sampling += _batches(protocol.canaries.candidates) * protocol.canaries.draws
    if "membership" in spec.attacks:
        measured = protocol.membership
        images = members * (3 if factors.half <= 0 else 2)
        losses = _batches(images) * len(measured.timesteps) * measured.draws * (2 if measured.flips else 1)
    if "inpainting" in spec.attacks:
        attacked = protocol.inpainting
        images = 2 * min(attacked.images, members)
        inpainting = images * _batches(attacked.tries) * (attacked.steps + 1)
    passes = factors.public_steps + (factors.steps - factors.public_steps) * (
        factors.dp_draws if factors.dp_epsilon else 1
    )
    trained = not (factors.folder or factors.generator)
    training = STEP * passes * max(1, math.ceil(factors.batch / BATCH)) if trained else 0
    return Units(training, sampling, len(spec.checkpoints), losses, inpainting)


def passes_of_sampling(factors: Factors, steps: int, side: int) -> int:
    """Return the passes that a batch of samples takes: one of a GAN, one a token of an autoregressive model.

    >>> passes_of_sampling(Factors(), 20, 16), passes_of_sampling(Factors(model="dcgan"), 20, 16)
    (20, 1)
    """
    if factors.folder or factors.model in ("diffusion", "flow"):
        return 1 if factors.generator else steps
    return token_side(side) ** 2 if factors.model == "autoregressive" else 1


def samples_needed(protocol: Protocol, spec: ModelSpec) -> int:
    """Return how many samples are drawn at each checkpoint."""
    needed = {
        "extraction": protocol.extraction.samples,
        "quality": protocol.quality.samples,
        "filter": max(protocol.extraction.samples, protocol.quality.samples),
        "samples": protocol.extraction.keep,
    }
    return max((needed[attack] for attack in spec.attacks if attack in needed), default=0)


def _batches(images: int) -> int:
    return math.ceil(images / BATCH)
