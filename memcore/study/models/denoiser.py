"""What an attack may ask of a diffusion model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

#: The classes of images, (n,) integers; None for a model without classes.
Labels: TypeAlias = "NDArray[np.int64] | None"


@runtime_checkable
class Denoiser(Protocol):
    """A diffusion model of small images. All images are uint8, (n, height, width, channels)."""

    #: Height, width and channels of its images.
    shape: tuple[int, int, int]
    #: Length of its noise schedule; timesteps are 0 to ``timesteps - 1``.
    timesteps: int

    def losses(
        self, images: NDArray[np.uint8], timestep: int, noise_seed: int, labels: Labels = None
    ) -> NDArray[np.float32]:
        """Return (n,) mean squared errors of the model's prediction of the noise in each image at one timestep.

        The i-th image gets the i-th noise of ``noise_seed``, whichever model is asked, so that losses of two models differ
        by the models alone.
        """
        ...

    def sample(self, seeds: Sequence[int], steps: int, labels: Labels = None) -> NDArray[np.uint8]:
        """Return one image for each seed, made in ``steps`` DDIM steps; the i-th depends on ``seeds[i]`` alone.

        Two models asked for the same seed start from the same noise.
        """
        ...

    def inpaint(
        self,
        images: NDArray[np.uint8],
        known: NDArray[np.bool_],
        seeds: Sequence[int],
        steps: int,
        labels: Labels = None,
    ) -> NDArray[np.uint8]:
        """Return each image with what is not ``known``, a bool (height, width), filled in by the model.

        Pixels that are known are returned as they are. The i-th image depends on ``images[i]`` and ``seeds[i]`` alone.
        """
        ...
