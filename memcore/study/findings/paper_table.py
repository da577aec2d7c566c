"""The table of the paper that finding (j) is beside: images extracted from GANs and diffusion models of CIFAR-10.

Carlini et al. 2023 (arXiv 2301.13188): a million samples of each pretrained model, 50,000 training images of 32 x 32 in
colour, copies by the adaptive distance. Its Frechet distances are on Inception features: no distance here is comparable.
"""

from __future__ import annotations

from typing import NamedTuple

SAMPLES, IMAGES = 1_000_000, 50_000


class PaperRow(NamedTuple):
    """A model of the paper's table: its Frechet distance, whether our sources agree on it, and the images extracted."""

    name: str
    gan: bool
    frechet: float
    certain: bool
    extracted: int


#: GANs first, then diffusion models, each by their distance, the farthest first.
ROWS: tuple[PaperRow, ...] = (
    PaperRow("WGAN-ALP", True, 13.0, False, 49),
    PaperRow("NDA", True, 12.6, False, 70),
    PaperRow("E2GAN", True, 11.3, False, 95),
    PaperRow("DiffBigGAN", True, 4.6, True, 57),
    PaperRow("StyleGAN-ADA", True, 2.9, True, 150),
    PaperRow("DDPM", False, 3.2, True, 232),
    PaperRow("OpenAI-DDPM", False, 2.9, True, 301),
)
