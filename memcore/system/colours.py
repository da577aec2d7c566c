"""The one way in which a colour is written, for flags and configurations."""

from __future__ import annotations

import re
from typing import TypeAlias

Colour: TypeAlias = tuple[int, int, int]


def parse_colour(text: str) -> Colour:
    """Return red, green and blue of ``#rrggbb`` or of three numbers with commas. Raises ValueError.

    >>> parse_colour("#ff8000"), parse_colour("255, 128, 0")
    ((255, 128, 0), (255, 128, 0))
    """
    if re.fullmatch("#[0-9a-fA-F]{6}", text):
        red, green, blue = bytes.fromhex(text[1:])
    elif re.fullmatch(r"\s*[0-9]{1,3}\s*(,\s*[0-9]{1,3}\s*){2}", text):
        red, green, blue = (int(number) for number in text.split(","))
    else:
        red = green = blue = 256
    if max(red, green, blue) > 255:
        raise ValueError(f"background must look like #ffffff or 255,255,255, got {text!r}")
    return red, green, blue
