"""JPEG through libjpeg-turbo, whose accurate transform and smooth upsampling are what Pillow uses as well."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.errors import MissingExtraError
from memcore.images.pillow import parse_orientation
from memcore.images.reasons import UnreadableImage

SIGNATURE = b"\xff\xd8"
#: A progressive image has some ten scans; thousands of empty ones are an attack on the reader's time.
MAX_SCANS = 500
#: Segments before the first scan: tables, and what a camera notes.
MAX_SEGMENTS = 1 << 16
_NO_FILLER = re.compile(b"[^\xff]")
#: Pixels times scans of a progressive image, each of which goes over all pixels: 16 scans of the largest image.
MAX_SCANNED = 1 << 30
_START_OF_SCAN, _APP1, _END = 0xDA, 0xE1, b"\xff\xd9"
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
#: The last header that was read to the end, and what it said: images of one program share it, byte for byte.
_last: tuple[bytes, tuple[int, int, int]] = b"", (0, 0, 1)
_BARE = {0x01, *range(0xD0, 0xD9)}


def version() -> str:
    """Return the decoder and its version."""
    return f"simplejpeg {getattr(_simplejpeg(), '__version__', '')}, accurate DCT".replace("  ", " ")


def probe(data: bytes) -> tuple[int, int, int, Callable[[NDArray[np.uint8] | None], NDArray[np.uint8]]]:
    """Return height, width, orientation, and what decodes. Raises UnreadableImage for what must not be decoded."""
    global _last
    library = _simplejpeg()
    header, known = _last
    if header and data.startswith(header):
        return *known, lambda out: _pixels(library, data, out)
    orientation, frame, several, whole = 1, None, False, 0
    for marker, segment, end in _segments(data):
        if marker == _APP1 and segment.startswith(b"Exif\0"):
            orientation = parse_orientation(segment)
        elif marker in _FRAMES:
            frame, several = segment, marker in _PROGRESSIVE
        elif marker == _START_OF_SCAN and frame is not None:
            whole = end if end <= len(data) else 0
            several = several or segment[:1] != frame[5:6]  # a scan of some components: others must follow
    if frame is None or len(frame) < 6:
        raise UnreadableImage("truncated" if len(data) < 1024 else "unreadable", "no frame header was found")
    bits, components = frame[0], frame[5]
    height, width = int.from_bytes(frame[1:3]), int.from_bytes(frame[3:5])
    if bits != 8:
        raise UnreadableImage("depth", f"{bits} bits a channel")
    if components not in (1, 3):
        raise UnreadableImage(
            "colour", f"{components} components (CMYK or YCCK): convert the image to RGB first"
        )
    if not height or not width:
        raise UnreadableImage("unreadable", f"{height} x {width} pixels")
    if several and data.count(b"\xff\xda") > MAX_SCANS:
        raise UnreadableImage("too-large", f"more than {MAX_SCANS} scans")
    if several and (scans := data.count(b"\xff\xda")) * height * width > MAX_SCANNED:
        raise UnreadableImage("too-large", f"{scans} scans of {height} x {width} pixels")
    if whole and not several:
        _last = data[:whole], (height, width, orientation)
    return height, width, orientation, lambda out: _pixels(library, data, out)


def _pixels(library: Any, data: bytes, out: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Decode strictly: where data are missing, Pillow would fill the rest of the image with grey and say nothing."""
    try:
        pixels: NDArray[np.uint8] = library.decode_jpeg(data, "RGB", buffer=out, strict=True)
    except ValueError as error:
        ends = _END in data[-64:]  # a camera may pad its files
        raise UnreadableImage("unreadable" if ends else "truncated", str(error)) from None
    return pixels if out is None else out


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield (marker, content, end) of the segments up to the header of the first scan."""
    position = 2
    for number in itertools.count():
        if position + 4 > len(data) or data[position] != 0xFF:
            return
        if number == MAX_SEGMENTS:
            raise UnreadableImage("too-large", f"more than {MAX_SEGMENTS:,} segments before the first scan")
        marker = data[position + 1]
        if marker == 0xFF:
            found = _NO_FILLER.search(data, position)
            position = len(data) if found is None else found.start() - 1
            continue
        if marker in _BARE:
            position += 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4])
        yield marker, data[position + 4 : position + 2 + length], position + 2 + length
        if marker == _START_OF_SCAN:
            return
        position += 2 + max(length, 2)


def _simplejpeg() -> Any:
    try:
        import simplejpeg
    except ImportError:
        raise MissingExtraError("simplejpeg", "audit", "Reading JPEG images") from None
    return simplejpeg
