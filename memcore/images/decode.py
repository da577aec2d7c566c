"""The one way from an image's bytes to pixels: probe the header, refuse what would mislead, then decode."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from memcore.errors import MissingExtraError
from memcore.images import in_flight, jpeg, pillow, png
from memcore.images.image_file import MAX_BYTES, read_image_file
from memcore.images.reasons import UnreadableImage
from memcore.images.upright import Background, Pixels, flatten, turn

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
#: First bytes of images that are read; a WebP's are told by ``is_image``.
_SIGNATURES = (png.SIGNATURE, jpeg.SIGNATURE, b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
#: Pixels of the largest image that is decoded: 8192 x 8192. A small file can claim far more.
MAX_PIXELS = 1 << 26


def decode(
    data: bytes | memoryview,
    *,
    shape: tuple[int, int, int] | None = None,
    background: Background | None = None,
    out: Pixels | None = None,
    anywhere: bool = False,
) -> Pixels:
    """Return the pixels of one PNG, JPEG, WebP, BMP, GIF or TIFF image, (H, W, 3) uint8.

    Nothing is resized, and nothing is lost silently. Grey and palettes become RGB exactly, and the orientation that a
    camera noted is applied; colour profiles are not. Refused are more than 8 bits a channel (Pillow would saturate or
    cut them), transparent pixels (unless ``background``, an RGB colour of 0 to 255, is declared: then they are
    composited onto it and rounded to nearest), colour spaces without a defined conversion, animations, and sizes over
    ``MAX_PIXELS``, which is seen before anything is decoded. With ``shape`` (H, W, C), other sizes are refused too.
    The image is decoded into ``out`` if that is given, C-contiguous and of ``shape``; its content is lost if it is refused.
    With ``anywhere`` the answer may be memory of the decoder's own instead, which spares a copy.

    Raises UnreadableImage with a reason code; MissingExtraError without pillow or simplejpeg.

    >>> import io, numpy as np
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.fromarray(np.full((2, 3), 7, np.uint8)).save(file, "png")
    >>> decode(file.getvalue())[0, 0].tolist()
    [7, 7, 7]
    """
    if len(data) > MAX_BYTES:
        raise UnreadableImage("too-large", f"{len(data):,} bytes, at most {MAX_BYTES:,} are read")
    data = bytes(data)
    try:
        height, width, orientation, read = _probe(data)
        if height * width > MAX_PIXELS:
            raise UnreadableImage("too-large", f"{height} x {width} pixels, at most {MAX_PIXELS:,} are read")
        if shape is not None:
            turned = (width, height, 3) if orientation > 4 else (height, width, 3)
            if turned != shape:
                raise UnreadableImage("wrong-size", f"{turned} where {shape} is expected")
        with in_flight.of(height * width):
            pixels = turn(flatten(read(out if orientation == 1 else None), background), orientation)
        if out is None or pixels is out or anywhere:
            return pixels
        out[:] = pixels
        return out
    except (UnreadableImage, MissingExtraError):
        raise
    except MemoryError:
        raise UnreadableImage("too-large", "it does not fit into memory") from None
    except Exception as error:  # decoders raise many kinds, SyntaxError and struct.error among them
        reason = "truncated" if _ends_early(error) else "unreadable"
        # Pillow names the buffer by its address, which differs from run to run
        detail = re.sub(r" <_io\.BytesIO object at 0x[0-9a-f]+>", "", str(error))
        raise UnreadableImage(reason, f"{type(error).__name__}: {detail}") from None


def decode_file(
    path: Path, *, shape: tuple[int, int, int] | None = None, background: Background | None = None
) -> Pixels:
    """Decode a file as ``decode`` does; one that cannot be opened or read is UnreadableImage("unreadable") too."""
    return decode(read_image_file(path), shape=shape, background=background)


def decoder_versions() -> dict[str, str]:
    """Return what decodes each format, with versions: for a run's description.

    >>> sorted(decoder_versions())
    ['jpeg', 'png', 'webp, bmp, gif, tiff']
    """
    return {"jpeg": jpeg.version(), "png": png.version(), "webp, bmp, gif, tiff": pillow.version()}


def is_image(head: bytes) -> bool:
    """Tell whether a file that begins so is an image of a format that is read.

    >>> is_image(b"RIFF....WEBP"), is_image(b"BM is short for many a thing")
    (True, False)
    """
    if head.startswith(
        b"BM"
    ):  # four bytes of 0, the offset of the pixels, and the size of one of the known headers
        return head[6:10] == bytes(4) and head[14:18] in {
            bytes([n, 0, 0, 0]) for n in (12, 40, 52, 56, 64, 108, 124)
        }
    return head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def foreign_format(head: bytes) -> str | None:
    """Return how an image of a format that is not read is called, if a file that begins so is one."""
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis", b"heic", b"heix", b"mif1", b"hevc", b"msf1"):
        return "AVIF" if head[8:11] == b"avi" else "HEIF"
    if head[4:8] == b"jP  " or head.startswith(b"\xff\x4f\xff\x51"):
        return "JPEG 2000"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "PNM"
    return "JPEG XL" if head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")) else None


def _probe(data: bytes) -> tuple[int, int, int, Callable[[Pixels | None], Pixels]]:
    """Return height, width, EXIF orientation, and what decodes.

    It decodes to (H, W, 3), into an array if it can, or to (H, W, 4).
    """
    if data.startswith(png.SIGNATURE):
        return png.probe(data)
    if data.startswith(jpeg.SIGNATURE):
        return jpeg.probe(data)
    return pillow.probe(data)


def _ends_early(error: Exception) -> bool:
    text = str(error).lower()
    return any(word in text for word in ("truncated", "premature", "unexpected end", "broken data stream"))
