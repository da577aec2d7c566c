"""PNG: chunks are read here, since Pillow hides 16 bits a channel and an orientation that comes late."""

from __future__ import annotations

import importlib.util
import itertools
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.images import pillow
from memcore.images.reasons import UnreadableImage

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB = 2
#: Chunks of the longest file that is read: encoders write some kilobytes of pixels a chunk.
MAX_CHUNKS = 1 << 18
_HEAD = struct.Struct(">I4s")  # of a chunk: the length of its content and its name

#: The fastest decoder that was found, several times as fast as Pillow, for the one kind that most files are. Optional: the
#: pixels are the same, since PNG loses nothing, and a run's fingerprint names it in case damaged files are not.
_fast: Callable[[bytes, tuple[int, int], str], Any] | None = None
# not `except ImportError`: a broken installation must raise
if importlib.util.find_spec("kornia_rs") is not None:
    import kornia_rs

    _fast = kornia_rs.io.decode_image_png_u8


def version() -> str:
    """Return the decoder and its version."""
    return pillow.version() if _fast is None else f"kornia-rs {pillow.installed('kornia-rs')}"


def probe(data: bytes) -> tuple[int, int, int, Callable[[NDArray[np.uint8] | None], NDArray[np.uint8]]]:
    """Return height, width, orientation, and what decodes. Raises UnreadableImage for what must not be decoded."""
    orientation, ended, plain = 1, False, True
    header = b""
    for name, begin, end in _chunks(data):
        if name == b"IDAT":
            continue
        _check_sum(data, name, begin, end)  # a damaged name would hide an orientation or a second frame
        if name == b"IHDR":
            header = data[begin:end]
        elif name == b"acTL" and (frames := int.from_bytes(data[begin : min(end, begin + 4)])) > 1:
            raise UnreadableImage("animated", f"{frames} frames")
        elif name == b"tRNS":
            plain = False
        elif name == b"eXIf":
            orientation = pillow.parse_orientation(data[begin:end])
        elif name == b"IEND":
            ended = True
    if len(header) != 13:
        raise UnreadableImage("unreadable", "no header")
    width, height, depth, colour = (
        int.from_bytes(header[:4]),
        int.from_bytes(header[4:8]),
        header[8],
        header[9],
    )
    if depth > 8:
        raise UnreadableImage("depth", f"{depth} bits a channel")
    if not ended:
        raise UnreadableImage("truncated", "the file ends before its last chunk")
    if _fast is not None and plain and (depth, colour, header[12]) == (8, _RGB, 0):
        decode = _fast
        return height, width, orientation, lambda out: decode(data, (height, width), "rgb")
    for name, begin, end in _chunks(data):  # the fast decoder looks at them itself; Pillow skips some
        if name == b"IDAT":
            _check_sum(data, name, begin, end)
    return height, width, orientation, lambda out: pillow.probe(data)[3](out)


def _check_sum(data: bytes, name: bytes, begin: int, end: int) -> None:
    if zlib.crc32(memoryview(data)[begin - 4 : end]) != int.from_bytes(data[end : end + 4]):
        raise UnreadableImage("unreadable", f"the checksum of {name!r} is wrong")


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, start of the content, its end) of each whole chunk."""
    position, last = len(SIGNATURE), len(data) - 12
    for number in itertools.count():
        if position > last:
            return
        if number == MAX_CHUNKS:
            raise UnreadableImage("too-large", f"more than {MAX_CHUNKS:,} chunks")
        length, name = _HEAD.unpack_from(data, position)
        position += 12 + length
        if position > len(data):
            return
        yield name, position - length - 4, position - 4
        if name == b"IEND":
            return
