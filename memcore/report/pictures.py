"""A run's images as data URIs, small enough for one page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

#: Pictures up to this many pixels a side are embedded as they are; larger ones as thumbnails.
LARGEST_SIDE = 192


class Album:
    """Embeds pictures until ``limit_bytes`` are used up; after that ``uri`` answers None and the page says so."""

    def __init__(self, limit_bytes: int) -> None:
        self.left = limit_bytes
        self.refused = 0

    def uri(self, path: Path) -> str | None:
        if not path.exists():
            return None
        kind, data = _small(path)
        text = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        if len(text) > self.left:
            self.refused += 1
            return None
        self.left -= len(text)
        return text


def _small(path: Path) -> tuple[str, bytes]:
    from PIL import Image

    data = path.read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        if max(image.size) <= LARGEST_SIDE:
            return "png", data
        image.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
        sink = io.BytesIO()
        image.convert("RGB").save(sink, "jpeg", quality=88)
        return "jpeg", sink.getvalue()
