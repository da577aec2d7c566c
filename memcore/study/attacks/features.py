"""What can be said of an image without any model: how hard it will be to denoise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from memcore.study.attacks.duplicates import check_images

#: Scales at which differences of neighbouring pixels are measured: the image itself, halved and halved again.
_SCALES = 3
#: A square difference of one grey level: what a logarithm of energies starts from.
_ONE_LEVEL = 1 / 255**2


def image_features(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return (n, features) float64: brightness, contrast, share of black and white, and detail at up to three scales.

    Detail is the logarithm of the mean square difference of neighbouring pixels, after averaging blocks of 1, 2 and 4
    pixels; scales at which a side is shorter than 2 pixels are left out.

    Raises ArgumentTypeError or ArgumentValueError unless ``images`` are uint8 (n, height, width, channels).

    >>> image_features(np.zeros((2, 8, 8, 3), np.uint8)).shape
    (2, 6)
    """
    check_images(images, "images")
    x = images.astype(np.float64) / 255
    columns = [
        x.mean(axis=(1, 2, 3)),
        x.std(axis=(1, 2, 3)),
        ((images == 0) | (images == 255)).mean(axis=(1, 2, 3)),
    ]
    for _ in range(_SCALES):
        if min(x.shape[1:3]) < 2:
            break
        energy = (np.diff(x, axis=1) ** 2).mean(axis=(1, 2, 3)) + (np.diff(x, axis=2) ** 2).mean(
            axis=(1, 2, 3)
        )
        columns.append(np.log(energy + _ONE_LEVEL))
        h, w = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
        x = (x[:, 0:h:2, 0:w:2] + x[:, 1:h:2, 0:w:2] + x[:, 0:h:2, 1:w:2] + x[:, 1:h:2, 1:w:2]) / 4
    return np.stack(columns, axis=1)
