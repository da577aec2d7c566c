"""Embed a run's images as data URIs, within a limit of bytes for the whole page."""

from __future__ import annotations

import base64
import dataclasses
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memcore.errors import MissingExtraError
from memcore.images import UnreadableImage, decode
from memcore.runs.shown import read_png_file
from memcore.storage.digests import FileDigest

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
        """Return whether the picture is enlarged with hard edges."""
        return max(self.width, self.height) <= PIXEL_ART_SIDE


class Album:
    """Embed pictures until ``limit_bytes`` of text are used up; ``refused`` counts those that did not fit.

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

    def picture(self, path: Path, side: int, expected: FileDigest | None = None) -> Picture | None:
        """Embed the image in ``path``, at most ``side`` pixels a side. None if it is missing, no image or does not fit.

        Raises DamagedFileError if it is not the file with the digest ``expected``.
        """
        try:
            data = read_png_file(path, expected)
        except UnreadableImage:
            return None
        return self.embed(data, side)

    def embed(self, data: bytes, side: int) -> Picture | None:
        """Embed an image from the bytes of its file, at most ``side`` pixels a side. None if it is no image or does not fit."""
        try:
            pixels = decode(data)
        except UnreadableImage:
            return None
        height, width = pixels.shape[:2]
        grey = bool((pixels == pixels[..., :1]).all())
        image = self._pil.fromarray(pixels[..., 0] if grey else pixels)
        if max(width, height) > side:
            image.thumbnail((side, side), self._pil.Resampling.LANCZOS)
        image.info.clear()  # no comments, colour profiles or camera data of the original
        uri = _data_uri("png", _encode(image, "png"))
        if max(width, height) > PIXEL_ART_SIDE:
            for quality in _QUALITIES:
                if len(uri) <= self._share:
                    break
                lossy = _data_uri("jpeg", _encode(image, "jpeg", quality=quality, subsampling=0))
                uri = min(uri, lossy, key=len)
        if self.bytes + len(uri) > self._limit:
            self.refused += 1
            return None
        self.bytes += len(uri)
        self.count += 1
        return Picture(uri, width, height)


class Pictures:
    """All albums of a page."""

    def __init__(self) -> None:
        self._albums: list[Album] = []

    def open_album(self, limit_bytes: int, expected: int) -> Album:
        """Open an album of this page."""
        self._albums.append(Album(limit_bytes, expected))
        return self._albums[-1]

    @property
    def count(self) -> int:
        """Return how many pictures the page embeds."""
        return sum(album.count for album in self._albums)

    @property
    def refused(self) -> int:
        """Return how many pictures did not fit."""
        return sum(album.refused for album in self._albums)


def _encode(image: Image, kind: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
