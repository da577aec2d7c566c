"""The public images that a model may be trained on before it sees the private ones."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.study.data.images import ImageSet
from memcore.study.protocols.protocol import ModelSpec, Protocol


def public_images(
    protocol: Protocol, spec: ModelSpec, data: Mapping[str, ImageSet]
) -> NDArray[np.uint8] | None:
    """Return the images of the data set that ``public`` names; of the model's own set, its last whole block.

    Raises ConfigError if the images have another shape, or if a seed of the protocol draws private images from that block.
    """
    name = spec.factors.public
    if not name:
        return None
    held, own = data[name], data[spec.factors.data]
    if held.shape != own.shape:
        raise ConfigError(f"public={name!r} has images of {held.shape}, the private ones are {own.shape}")
    if name != spec.factors.data:
        return held.images
    block = protocol.data[name].block
    last = len(held.images) // block - 1 if block else 0
    seeds = [seed for group in protocol.groups for seed in group.seeds]
    if last <= max(seeds):
        raise ConfigError(
            f"public={name!r}: its last block of {block:,} images is that of seed {last}, which draws private ones from it: "
            "make block or the seeds smaller, or name another data set"
        )
    order = np.random.default_rng([protocol.data[name].seed, 3]).permutation(len(held.images))
    return held.images[order[last * block : (last + 1) * block]]
