"""Generated images as they come (arrays, tensors, pictures, lists of these), as pixels, and back as they came."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from memcore.distance import to_uint8
from memcore.errors import ArgumentTypeError, ArgumentValueError, MemcoreError
from memcore.images import UnreadableImage
from memcore.images.pillow import rgb
from memcore.images.resize import Resize
from memcore.images.upright import Background, flatten
from memcore.interop import as_array, is_torch

#: The reason of what holds no picture: NaN, infinity, None, a damaged file.
BROKEN = "broken"

#: The pixels (H, W, C) uint8 of an image as the index would hold it, or why it cannot be compared.
Read: TypeAlias = "NDArray[np.uint8] | UnreadableImage"


@dataclasses.dataclass(frozen=True)
class Rule:
    """How a generated image is made comparable: as the training images were when they were indexed."""

    shape: tuple[int, int, int]
    resize: Resize | None
    background: Background | None

    def apply(self, pixels: NDArray[np.uint8]) -> Read:
        """Return the pixels of the index's shape, or why there are none."""
        try:
            if 0 in pixels.shape:
                return UnreadableImage(BROKEN, f"{pixels.shape}, an image without pixels")
            if pixels.shape[2] == 4 and self.shape[2] == 3:
                pixels = flatten(pixels, self.background)
            if self.resize is not None and pixels.shape[2] == self.shape[2]:
                pixels = self.resize.apply(pixels)
        except UnreadableImage as error:
            return error
        if pixels.shape != self.shape:
            hint = "" if self.resize else "; an index with a resize compares other sizes too"
            return UnreadableImage(
                "wrong-size", f"{pixels.shape} where the index has images of {self.shape}{hint}"
            )
        return pixels


class Pictures:
    """Images in the form in which they were given: one image, a batch in one array or tensor, or a list of images.

    Raises ArgumentTypeError for what holds no images, ArgumentValueError for floats outside [0, 1].
    """

    def __init__(self, given: Any) -> None:
        self.given = given
        self._listed = isinstance(given, list | tuple)
        self._batch = not self._listed and _dimensions(given) == 4
        if not self._listed and not _is_image(given):
            raise ArgumentTypeError(
                "images must be an array (N, H, W, C) or (H, W, C), a tensor with channels first, a PIL image, a list of "
                f"these, or what a pipeline returns, got {type(given).__name__}"
            )
        self.items: list[Any] = list(given) if self._listed or self._batch else [given]

    def read(self, rule: Rule) -> list[Read]:
        """Return each image's pixels as the index would hold them, or why it cannot be compared."""
        if self._batch:
            return [_or_broken(rule, pixels) for pixels in _pixels(self.given)]
        return [_read_one(item, rule, i) for i, item in enumerate(self.items)]

    def without(self, withheld: Sequence[bool]) -> Any:
        """Return the images with None in place of those that are withheld: as a list, or the one image or None."""
        left = [None if gone else item for item, gone in zip(self.items, withheld, strict=True)]
        if self._batch or self._listed:
            return tuple(left) if isinstance(self.given, tuple) else left
        return left[0]

    def replaced(self, withheld: Sequence[bool], make: Callable[[int, Any], Any]) -> Any:
        """Return the images with ``make(i, image)`` in place of those that are withheld, in the form that was given."""
        if not any(withheld):
            return self.given
        new = {i: make(i, self.items[i]) for i, gone in enumerate(withheld) if gone}
        if self._batch:
            whole = self.given.clone() if is_torch(self.given) else np.array(self.given)
            for i, image in new.items():
                whole[i] = image
            return whole
        left = [new.get(i, item) for i, item in enumerate(self.items)]
        if not self._listed:
            return left[0]
        return tuple(left) if isinstance(self.given, tuple) else left


def blank(image: Any) -> Any:
    """Return a black image of the same kind and size; None for None."""
    if image is None:
        return None
    if is_torch(image):
        return image.new_zeros(image.shape)
    if (size := _pil_size(image)) is not None:
        import PIL.Image

        return PIL.Image.new(image.mode, size)
    return np.zeros_like(np.asarray(image))


def same_form(image: Any, like: Any) -> bool:
    """Tell whether a replacement can take an image's place: of its kind, shape and dtype, or a picture of its size."""
    if like is None or image is None:
        return image is None
    if (size := _pil_size(like)) is not None:
        return bool(_pil_size(image) == size)
    if is_torch(like) != is_torch(image) or not hasattr(image, "shape"):
        return False
    return bool(tuple(image.shape) == tuple(like.shape) and image.dtype == like.dtype)


def _read_one(item: Any, rule: Rule, number: int) -> Read:
    if item is None:
        return UnreadableImage(BROKEN, "None, where an image is expected")
    if _pil_size(item) is not None:
        return _read_picture(item, rule)
    if not _is_image(item) or _dimensions(item) != 3:
        raise ArgumentTypeError(
            f"images[{number}] must be an array (H, W, C), a tensor (C, H, W), a PIL image or None, got "
            f"{type(item).__name__} {tuple(getattr(item, 'shape', ()))}"
        )
    return _or_broken(rule, _pixels(item[None])[0])


def _read_picture(image: Any, rule: Rule) -> Read:
    try:
        if image.mode == "L" and rule.shape[2] == 1:
            return rule.apply(np.asarray(image)[..., None])
        return rule.apply(rgb(image))
    except UnreadableImage as error:
        return error
    except (
        OSError,
        SyntaxError,
        ValueError,
    ) as error:  # PIL decodes late, and raises these for a damaged file
        return UnreadableImage(BROKEN, f"a picture that cannot be decoded: {error}")


def _or_broken(rule: Rule, pixels: NDArray[np.uint8] | None) -> Read:
    return UnreadableImage(BROKEN, "NaN or infinity") if pixels is None else rule.apply(pixels)


def _pixels(batch: Any) -> list[NDArray[np.uint8] | None]:
    """Return the images of a batch as (H, W, C) uint8, channels last; None for one that holds NaN or infinity."""
    try:
        array = as_array(batch, "images")[0]
        if is_torch(batch):
            array = batch.detach().permute(
                0, 2, 3, 1
            )  # as_array may give it as NumPy, and bfloat16 as its bits
            if not array.is_floating_point():
                return _split(to_uint8(array))
            finite = array.isfinite().flatten(1).all(1)
            whole = to_uint8(array.masked_fill(~finite[:, None, None, None], 0))
            return _split(whole, finite.cpu().numpy())
        if array.dtype.kind != "f":
            return _split(to_uint8(array))
        finite = np.isfinite(array).all(axis=(1, 2, 3))
        return _split(to_uint8(np.where(finite[:, None, None, None], array, 0)), finite)
    except MemcoreError as error:
        if isinstance(error, ArgumentTypeError | ArgumentValueError):
            raise
        raise ArgumentValueError(str(error)) from None


def _split(images: Any, finite: NDArray[np.bool_] | None = None) -> list[NDArray[np.uint8] | None]:
    whole = images.cpu().numpy() if is_torch(images) else images
    known = np.ones(len(whole), np.bool_) if finite is None else finite
    return [image if is_finite else None for image, is_finite in zip(whole, known.tolist(), strict=True)]


def _dimensions(x: Any) -> int:
    return len(getattr(x, "shape", ()))


def _is_image(x: Any) -> bool:
    return x is None or _pil_size(x) is not None or _dimensions(x) in (3, 4)


def _pil_size(x: Any) -> Any:
    """Return the size of a PIL image; None for anything else. Pillow is not imported for it."""
    return x.size if hasattr(x, "mode") and hasattr(x, "convert") and hasattr(x, "getbands") else None
