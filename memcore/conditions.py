"""What images are made from besides a prompt and a seed: a class label, a given image, a mask."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ArgumentTypeError, ArgumentValueError

#: The kinds of conditions, in the order in which they are named.
CONDITIONS = ("label", "image", "mask")
#: Labels are below this: models count their classes in 32 bits.
_MOST = 2**31 - 1


@dataclasses.dataclass(frozen=True, eq=False)
class Condition:
    """What an image is made from besides its prompt and its seed: a class label, a given image, and a mask on it.

    ``label`` is a class by its number. ``image`` (H, W, 3) uint8 is what image-to-image and inpainting begin with, and
    ``mask`` (H, W) uint8 says what of it is repainted: 255, and 0 for what is kept. Two conditions are equal if their
    contents are. Raises ArgumentTypeError or ArgumentValueError for anything else.

    >>> Condition(label=3)
    Condition(label=3)
    >>> Condition(label=3) == Condition(label=3), Condition(label=3) == Condition(label=4)
    (True, False)
    """

    label: int | None = None
    image: NDArray[np.uint8] | None = None
    mask: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.label is not None:
            if isinstance(self.label, bool) or not isinstance(self.label, int | np.integer):
                raise ArgumentTypeError(f"label must be an integer, got {type(self.label).__name__}")
            if not 0 <= self.label < _MOST:
                raise ArgumentValueError(f"label must be in [0, 2^31 - 2], got {self.label}")
            object.__setattr__(self, "label", int(self.label))
        for name, sides in (("image", 3), ("mask", 2)):
            pixels = getattr(self, name)
            if pixels is None:
                continue
            if type(pixels) is not np.ndarray or pixels.dtype != np.uint8:
                raise ArgumentTypeError(f"{name} must be a NumPy array of uint8, got {type(pixels).__name__}")
            if pixels.ndim != sides or not pixels.size or pixels.shape[2:] not in ((), (3,)):
                wanted = "(H, W, 3)" if sides == 3 else "(H, W)"
                raise ArgumentValueError(f"{name} must have the shape {wanted}, got {pixels.shape}")
        if self.mask is None:
            return
        if self.image is None or self.mask.shape != self.image.shape[:2]:
            size = "no image" if self.image is None else f"an image of {self.image.shape[:2]}"
            raise ArgumentValueError(
                f"mask must have the size of its image, got {self.mask.shape} for {size}"
            )
        if not ((self.mask == 0) | (self.mask == 255)).all():
            raise ArgumentValueError("mask must hold 0 (kept) and 255 (repainted) alone")
        if not self.mask.any():
            raise ArgumentValueError("mask must hold 255 somewhere: nothing would be repainted")

    def kinds(self) -> tuple[str, ...]:
        """Return the names of what there is: label, image, mask."""
        return tuple(name for name in CONDITIONS if getattr(self, name) is not None)

    def record(self) -> dict[str, int | str]:
        """Return the label, and of image and mask the sha256 of their pixels: what tells this condition from others."""
        found: dict[str, int | str] = {} if self.label is None else {"label": self.label}
        return found | {n: pixels_sha256(getattr(self, n)) for n in self.kinds() if n != "label"}

    def __eq__(self, other: object) -> bool:
        """Return whether both have the same content."""
        return self.record() == other.record() if isinstance(other, Condition) else NotImplemented

    def __hash__(self) -> int:
        """Return a hash of the content."""
        return hash(tuple(self.record().items()))

    def __repr__(self) -> str:
        """Return one line, without the pixels."""
        shown = [] if self.label is None else [f"label={self.label}"]
        shown += [f"{n}={'x'.join(map(str, getattr(self, n).shape))}" for n in self.kinds() if n != "label"]
        return f"Condition({', '.join(shown)})"


def pixels_sha256(pixels: NDArray[np.uint8]) -> str:
    """Return the sha256 of an array's shape and bytes, as hexadecimal digits: a picture's content, whatever its file."""
    digest = hashlib.sha256("x".join(map(str, pixels.shape)).encode() + b":")
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()
