"""A run's images as data URIs, within a limit of bytes for the whole page."""

from __future__ import annotations

import base64
import dataclasses
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memcore.errors import MissingExtraError

if TYPE_CHECKING:
    from PIL.Image import Image

#: Pictures up to this many pixels a side are enlarged with hard edges; larger ones are smoothed.
PIXEL_ART_SIDE = 32
_QUALITIES = (90, 80, 65)


@dataclasses.dataclass(frozen=True)
class Picture:
    """One embedded image; ``width`` and ``height`` are those of the original."""

    uri: str
    width: int
    height: int

    @property
    def pixelated(self) -> bool:
        return max(self.width, self.height) <= PIXEL_ART_SIDE


class Album:
    """Embeds pictures until ``limit_bytes`` of text are used up; ``refused`` counts those that found no room.

    ``expected`` pictures share the limit evenly: one that is lossless within its share stays lossless, others become
    JPEG of falling quality, so that many large pictures cost sharpness and not the last findings their pictures.
    """

    def __init__(self, limit_bytes: int, expected: int) -> None:
        try:
            import PIL.Image
        except ImportError:
            raise MissingExtraError("pillow", "report", "The report") from None
        self._pil = PIL.Image
        self._limit = limit_bytes
        self._share = limit_bytes // max(1, expected)
        self.bytes = 0
        self.count = 0
        self.refused = 0

    def picture(self, path: Path, side: int) -> Picture | None:
        """The image in ``path``, at most ``side`` pixels wide and high; None if it is missing, damaged or has no room."""
        try:
            with self._pil.open(path) as opened:
                width, height = opened.size
                image = opened.convert("L" if opened.mode == "L" else "RGB")
        except (OSError, ValueError, SyntaxError, self._pil.DecompressionBombError):
            return None
        if max(width, height) > side:
            image.thumbnail((side, side), self._pil.Resampling.LANCZOS)
        image.info.clear()  # no comments, colour profiles or camera data of the original
        uri = _uri("png", _encoded(image, "png"))
        if max(width, height) > PIXEL_ART_SIDE:
            for quality in _QUALITIES:
                if len(uri) <= self._share:
                    break
                lossy = _uri("jpeg", _encoded(image, "jpeg", quality=quality, subsampling=0))
                uri = min(uri, lossy, key=len)
        if self.bytes + len(uri) > self._limit:
            self.refused += 1
            return None
        self.bytes += len(uri)
        self.count += 1
        return Picture(uri, width, height)


def _encoded(image: Image, kind: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
