"""Decode the bytes of one stored image. Every trap has a reason code; nothing is resized or cast silently."""

from memcore.images.decode import (
    IMAGE_SUFFIXES,
    MAX_BYTES,
    MAX_PIXELS,
    Background,
    decode,
    decode_file,
    decoder_versions,
    foreign_format,
    is_image,
)
from memcore.images.reasons import REASONS, UnreadableImage

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_BYTES",
    "MAX_PIXELS",
    "REASONS",
    "Background",
    "UnreadableImage",
    "decode",
    "decode_file",
    "decoder_versions",
    "foreign_format",
    "is_image",
]
