"""Augmentation that a critic sees of training images and of made ones alike, with gradients through it.

Zhao et al. 2020 (arXiv 2006.10738): brightness, saturation, contrast, a shift and a cut-out. Each is applied to a random
``share`` of the images: below 1 it does not leak into what is made (Karras et al. 2020, arXiv 2006.06676).
"""

from __future__ import annotations

import torch

#: Largest shift, and the side of what is cut out, in sides of the image.
_SHIFT, _CUT = 1 / 8, 1 / 2


def augment(images: torch.Tensor, random: torch.Generator, share: float = 1.0) -> torch.Tensor:
    """Return images (n, c, h, w) in [-1, 1], augmented; every draw is of ``random``, on the CPU.

    >>> x = torch.ones(2, 1, 8, 8)
    >>> bool((augment(x, torch.Generator().manual_seed(0), share=0.0) == x).all())
    True
    """
    for change in (_brighten, _saturate, _contrast, _shift, _cut_out):
        if change is _saturate and images.shape[1] == 1:
            continue  # grey
        chosen = torch.rand(len(images), 1, 1, 1, generator=random) < share
        images = torch.where(chosen.to(images.device), change(images, random), images)
    return images


def _draw(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    return torch.rand(len(images), 1, 1, 1, generator=random).to(images.device)


def _brighten(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    return images + _draw(images, random) - 0.5


def _saturate(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    grey = images.mean(dim=1, keepdim=True)
    return (images - grey) * 2 * _draw(images, random) + grey


def _contrast(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - middle) * (_draw(images, random) + 0.5) + middle


def _shift(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Move each image by whole pixels; what comes in is 0, a middle grey."""
    n, _, height, width = images.shape
    most = [int(side * _SHIFT + 0.5) for side in (height, width)]
    down, right = (torch.randint(-m, m + 1, (n, 1, 1), generator=random).to(images.device) for m in most)
    rows = torch.arange(height, device=images.device)[None, :, None] + down
    columns = torch.arange(width, device=images.device)[None, None, :] + right
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    places = (rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)).view(n, 1, -1)
    moved = images.flatten(2).gather(2, places.expand(-1, images.shape[1], -1)).view_as(images)
    return moved * inside[:, None]


def _cut_out(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Set a square of each image to 0; its middle is anywhere in the image."""
    n, _, height, width = images.shape
    side = (int(height * _CUT + 0.5), int(width * _CUT + 0.5))
    mask = []
    for size, own in zip((height, width), side, strict=True):
        first = torch.randint(size + 1 - own % 2, (n, 1), generator=random) - own // 2
        places = torch.arange(size)[None]
        mask.append((places >= first) & (places < first + own))
    cut = mask[0][:, None, :, None] & mask[1][:, None, None, :]
    return images * ~cut.to(images.device)
