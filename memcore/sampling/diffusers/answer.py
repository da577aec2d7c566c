"""What a pipeline answers with, as images: channels last, and without NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from memcore.errors import ArgumentTypeError


def without_nan(images: Any) -> tuple[Any, NDArray[np.bool_]]:
    """Return the images with black in place of those that hold NaN or infinity, and which these are.

    In float16 a decoder overflows for single seeds: that costs the image, not its prompt.
    """
    if not images.is_floating_point():
        return images, np.zeros(len(images), dtype=np.bool_)
    finite = torch.isfinite(images).flatten(1).all(1)
    broken = np.asarray((~finite).cpu())
    return (torch.where(finite[:, None, None, None], images, 0) if broken.any() else images), broken


def channels_last(images: Any) -> Any:
    """Return a pipeline's answer as a tensor (N, H, W, C), not cast; tensors come with channels first, arrays last."""
    if isinstance(images, list) and images:
        images = np.stack([np.asarray(image) for image in images])
    if isinstance(images, np.ndarray) and images.ndim == 4:
        return torch.from_numpy(np.ascontiguousarray(images))
    if not isinstance(images, torch.Tensor) or images.ndim != 4:
        raise ArgumentTypeError(
            f"images must be a tensor (N, C, H, W) or an array (N, H, W, C), got {type(images).__name__}"
        )
    return images.permute(0, 2, 3, 1)
