"""Small images made from the bundled emoji: nothing is downloaded, and the same bytes come out on every machine.

Each image is one emoji, in a hue and at a place of its own, on a coloured background.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.study.data.images import ImageSet, make_grey, shrink, split
from memcore.study.emoji import compose, load_art, rotate_hue
from memcore.study.protocols.protocol import DataSpec

SOURCE = "memcore's bundled emoji (Google Noto Emoji, Apache-2.0), composed"
#: Images of the set, of which a share is the reference.
IMAGES = 5000
CLASSES = 10
#: Pixels that an image is composed at before it is shrunk, which an emoji of 56 does not fill.
_CANVAS = 64


def load_bundled(spec: DataSpec, images: int = IMAGES) -> ImageSet:
    """Return ``images`` images; a class is a tenth of the emoji, neighbours in the bundled list."""
    if _CANVAS % spec.side:
        raise ConfigError(f"side of the bundled images must divide {_CANVAS}, got {spec.side}")
    art = list(load_art().values())
    rng = np.random.default_rng([spec.seed, 2])
    chosen = rng.integers(len(art), size=images)
    made = np.empty((images, _CANVAS, _CANVAS, 3), np.uint8)
    for i, emoji in enumerate(chosen):
        made[i] = _compose(art[emoji], rng)
    small = shrink(made, spec.side, "the bundled images")
    labels = (chosen * CLASSES // len(art)).astype(np.int64)
    return split(make_grey(small) if spec.grey else small, labels, spec.seed, SOURCE)


def _compose(emoji: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    room = _CANVAS - len(emoji)
    top, left = (int(v) for v in rng.integers(0, room + 1, size=2))
    background = [int(v) for v in rng.integers(0, 256, size=3)]
    turned = rotate_hue(emoji, int(rng.integers(256)))
    if rng.integers(2):
        turned = np.ascontiguousarray(turned[:, ::-1])
    return compose(turned, background, top, left, _CANVAS)
