"""Any Python callable as a sampler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from memcore import arrays
from memcore.errors import ArgumentTypeError, ArgumentValueError, SamplerError
from memcore.images.constant import flag_constant
from memcore.sampling.protocol import check_images
from memcore.types import Images, Request


class CallableSampler:
    """A sampler from ``function(prompts, seeds)``, which returns the images of one batch.

    Parameters
    ----------
    function
        Takes a list of N prompts and a list of N seeds; returns uint8 (N, H, W, C), NumPy or torch, or a list of N
        arrays (H, W, C) or PIL images. Each image must depend on nothing but its prompt and its seed.
    image_shape
        (H, W, C).
    fingerprint
        Names all that changes images: a run that was started with one fingerprint is not resumed with another.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        From the constructor, for impossible arguments.
    SamplerError
        From ``sample``, if the function raises or returns something else. Constant images are flagged.

    >>> import numpy as np
    >>> from memcore.sampling import CallableSampler, Request
    >>> def noise(prompts, seeds):
    ...     return np.stack([np.random.default_rng(s).integers(0, 256, (8, 8, 3), dtype=np.uint8) for s in seeds])
    >>> CallableSampler(noise, (8, 8, 3), "noise-1").sample([Request(0, "a dog", 7)]).pixels.shape
    (1, 8, 8, 3)
    """

    def __init__(
        self,
        function: Callable[[list[str], list[int]], Any],
        image_shape: tuple[int, int, int],
        fingerprint: str,
    ) -> None:
        if not callable(function):
            raise ArgumentTypeError(f"function must be callable, got {type(function).__name__}")
        if not isinstance(image_shape, tuple | list) or len(image_shape) != 3:
            raise ArgumentValueError(f"image_shape must be (height, width, channels), got {image_shape!r}")
        if not isinstance(fingerprint, str) or not fingerprint:
            raise ArgumentValueError(f"fingerprint must be a text that is not empty, got {fingerprint!r}")
        h, w, c = (arrays.check_count(v, "image_shape") for v in image_shape)
        self.image_shape = (h, w, c)
        self.fingerprint = fingerprint
        self._function = function

    def describe(self) -> dict[str, str]:
        """Return what the run's run.toml says of the sampler."""
        return {"kind": "callable", "fingerprint": self.fingerprint}

    def sample(self, requests: Sequence[Request]) -> Images:
        """Return (N, H, W, C) uint8, in the order of the requests."""
        try:
            answer = self._function([r.prompt for r in requests], [r.seed for r in requests])
        except Exception as error:
            raise SamplerError(f"the sampler's function raised {type(error).__name__}: {error}") from error
        if isinstance(answer, list | tuple):
            answer = _stack(answer)
        unflagged = Images(answer, np.zeros(len(requests), dtype=np.bool_))
        check_images(unflagged, requests, self.image_shape)
        return Images(answer, flag_constant(answer))


def _stack(images: Sequence[Any]) -> Any:
    """Return a list of images as one array, or as one tensor on their device if they are tensors."""
    try:
        if images and all(arrays.is_torch(image) for image in images):
            import torch

            return torch.stack(list(images))
        if any(isinstance(image, np.ma.MaskedArray) for image in images):
            raise SamplerError("the sampler's images must not be masked, since the masks would be ignored")
        return np.stack([np.asarray(image) for image in images]) if images else np.empty(0, dtype=np.uint8)
    except (ValueError, TypeError, RuntimeError) as error:
        raise SamplerError(f"the sampler's list of images cannot be stacked: {error}") from error
