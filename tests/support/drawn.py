"""Names and pictures that the hand-written runs are made of, and their distances."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Pixels = NDArray[np.uint8]
NOUNS = [
    "lighthouse",
    "lantern",
    "harbour",
    "comet",
    "orchid",
    "lynx",
    "teacup",
    "anvil",
    "meadow",
    "glacier",
    "violin",
    "beacon",
    "pagoda",
    "fern",
    "kite",
    "canyon",
    "otter",
    "prism",
    "cello",
    "dune",
    "acorn",
    "heron",
    "satellite",
    "mosaic",
    "quill",
    "tram",
    "walnut",
    "zephyr",
    "atoll",
    "bonfire",
]


def picture(number: int, side: int = 64) -> Pixels:
    """Draw a coloured composition, different for each number."""
    rng = np.random.default_rng(number)
    scale = 4 * side
    ramp = np.linspace(0, 1, scale)[:, None, None]
    top, bottom = rng.integers(40, 230, 3), rng.integers(40, 230, 3)
    ground = np.broadcast_to(top * (1 - ramp) + bottom * ramp, (scale, scale, 3)).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(ground))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(2, 5))):
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        x, y = rng.uniform(0.25, 0.75, 2) * scale
        r = float(rng.uniform(0.12, 0.3)) * scale
        shape = int(rng.integers(0, 4))
        if shape == 0:
            draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        elif shape == 1:
            draw.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=int(r / 3))
        else:
            draw.regular_polygon((x, y, r), 3 + 2 * (shape - 2), int(rng.integers(0, 90)), fill=colour)
    return np.asarray(image.resize((side, side), Image.Resampling.LANCZOS))


def near_copies(of: Pixels, count: int, strength: float, seed: int) -> list[Pixels]:
    """Draw ``count`` pictures near ``of``: smooth and fine noise of about ``strength`` in all."""
    rng = np.random.default_rng(seed)
    side = of.shape[0]
    coarse = rng.normal(0, 1, (count, 8, 8, 3)).repeat(side // 8, axis=1).repeat(side // 8, axis=2)
    noise = 0.6 * coarse + 0.8 * rng.normal(0, 1, (count, side, side, 3))
    return list(np.clip(of + 255 * strength * noise, 0, 255).astype(np.uint8))


def l2(a: Pixels, b: Pixels, grid: int) -> float:
    """Return the largest root-mean-square difference of two tiles, in [0, 1]."""
    side = a.shape[0] // grid
    square = (a.astype(float) - b.astype(float)).reshape(grid, side, grid, side, -1) ** 2
    return math.sqrt(float(square.mean(axis=(1, 3, 4)).max())) / 255
