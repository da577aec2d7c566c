"""A declared resize of training images of many sizes: recorded in the index, shown in the match, never silent."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError

Fit = Literal["crop", "stretch"]
FITS: tuple[str, ...] = get_args(Fit)
Method = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
METHODS: tuple[str, ...] = get_args(Method)


@dataclasses.dataclass(frozen=True)
class Resize:
    """Resize to ``height`` x ``width`` pixels by one of Pillow's methods.

    ``crop`` first cuts the centre to the target's aspect, as most trainers do; ``stretch`` does not. An image that already
    has the size is not changed.

    >>> Resize(64, 64, "lanczos").apply(np.zeros((100, 200, 3), np.uint8)).shape
    (64, 64, 3)
    """

    height: int
    width: int
    method: str = "lanczos"
    fit: Fit = "crop"

    def __post_init__(self) -> None:
        """Raise ConfigError for a setting that has no meaning."""
        if self.height < 1 or self.width < 1:
            raise ConfigError(f"resize must be at least 1x1 pixels, got {self.height}x{self.width}")
        if self.method not in METHODS:
            raise ConfigError(f"resize-method must be one of {', '.join(METHODS)}, got {self.method!r}")
        if self.fit not in FITS:
            raise ConfigError(f"resize-fit must be 'crop' or 'stretch', got {self.fit!r}")

    @classmethod
    def parse(cls, size: str | None, method: str, fit: str) -> Resize | None:
        """Return the resize to a size as people write it, HxW; None without one.

        >>> Resize.parse("512x256", "lanczos", "crop")
        Resize(height=512, width=256, method='lanczos', fit='crop')
        """
        if not size:
            return None
        try:
            height, width = (int(v) for v in size.lower().split("x"))
        except ValueError:
            raise ConfigError(f"resize must look like 512x512 (height x width), got {size!r}") from None
        return cls(height, width, method, fit)  # type: ignore[arg-type]  # checked when it is made

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as ``index.json`` holds them."""
        return dataclasses.asdict(self)

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize an image, (H, W, C) uint8 to (height, width, C) uint8."""
        h, w = image.shape[:2]
        if (h, w) == (self.height, self.width):
            return image
        if image.shape[2] not in (1, 3):
            raise ConfigError(f"resize takes grey or RGB images, got {image.shape[2]} channels")
        from PIL import Image

        if self.fit == "crop":
            # the largest rectangle of the target's aspect, in the middle, in whole pixels
            ch, cw = h, max(1, h * self.width // self.height)
            if cw > w:
                ch, cw = max(1, w * self.height // self.width), w
            top, left = (h - ch) // 2, (w - cw) // 2
            image = image[top : top + ch, left : left + cw]
        method = Image.Resampling[self.method.upper()]
        pixels = image[..., 0] if image.shape[2] == 1 else image
        resized = np.asarray(
            Image.fromarray(np.ascontiguousarray(pixels)).resize((self.width, self.height), method)
        )
        return resized[..., None] if resized.ndim == 2 else resized


def describe_resize(settings: Mapping[str, Any]) -> str:
    """Return the settings of a resize, as they are recorded, in words.

    >>> describe_resize(Resize(64, 32).as_dict())
    '64x32 (lanczos, crop)'
    """
    return f"{settings['height']}x{settings['width']} ({settings['method']}, {settings['fit']})"
