"""PNG: its chunks are read here, since Pillow hides what 16 bits a channel and a late orientation would do."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from memcore.images import other
from memcore.images.reasons import UnreadableImage

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def version() -> str:
    return other.version()


def look(data: bytes) -> tuple[int, int, int, Callable[[NDArray[np.uint8] | None], NDArray[np.uint8]]]:
    """Height, width, orientation, and what decodes: UnreadableImage for what must not be decoded."""
    orientation, ended = 1, False
    header = b""
    for name, content in _chunks(data):
        if name == b"IHDR":
            header = bytes(content)
        elif name == b"acTL" and int.from_bytes(content[:4]) > 1:
            raise UnreadableImage("animated", f"{int.from_bytes(content[:4])} frames")
        elif name == b"eXIf":
            orientation = other.parse_orientation(bytes(content))
        elif name == b"IEND":
            ended = True
    if len(header) != 13:
        raise UnreadableImage("unreadable", "no header")
    width, height, depth = int.from_bytes(header[:4]), int.from_bytes(header[4:8]), header[8]
    if depth > 8:
        raise UnreadableImage("depth", f"{depth} bits a channel")
    if not ended:
        raise UnreadableImage("truncated", "the file ends before its last chunk")
    return height, width, orientation, lambda out: other.look(data)[3](out)


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """(name, content) of each whole chunk."""
    view = memoryview(data)
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        length = int.from_bytes(view[position : position + 4])
        end = position + 12 + length
        if end > len(data):
            return
        name = bytes(view[position + 4 : position + 8])
        yield name, view[position + 8 : end - 4]
        if name == b"IEND":
            return
        position = end
