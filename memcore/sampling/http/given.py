"""Conditions of requests as memcore's protocol carries them: a label as a number, pictures as PNG in base64."""

from __future__ import annotations

import base64
import binascii
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.conditions import Condition
from memcore.images import UnreadableImage, decode
from memcore.images.pillow import pillow


def condition_fields(condition: Condition | None) -> dict[str, Any]:
    """Return what a request's item holds of its condition; nothing without one.

    >>> condition_fields(Condition(label=3))
    {'label': 3}
    """
    if condition is None:
        return {}
    fields: dict[str, Any] = {} if condition.label is None else {"label": condition.label}
    return fields | {name: _png(getattr(condition, name)) for name in condition.kinds() if name != "label"}


def read_condition(label: int | None, image: str | None, mask: str | None) -> Condition | None:
    """Return the condition of an item's fields; None without any.

    Raises ValueError, ArgumentTypeError or ArgumentValueError for what is none.
    """
    if label is None and image is None and mask is None:
        return None
    pixels = None if image is None else _pixels(image, "image")
    covered = None if mask is None else np.ascontiguousarray(_pixels(mask, "mask")[..., 0])
    return Condition(label, pixels, covered)


def _png(pixels: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    pillow().fromarray(np.ascontiguousarray(pixels)).save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


def _pixels(text: str, name: str) -> NDArray[np.uint8]:
    try:
        return decode(base64.b64decode(text, validate=True))
    except (binascii.Error, UnreadableImage) as error:
        raise ValueError(f"{name} is no PNG in base64: {error}") from None
