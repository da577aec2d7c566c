"""Decode the bytes of one stored image: each trap has a reason code, and nothing is resized or cast silently."""

from memcore.images.decode import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    decode,
    decode_file,
    decoder_versions,
    foreign_format,
    is_image,
)
from memcore.images.image_file import MAX_BYTES
from memcore.images.reasons import REASONS, UnreadableImage
from memcore.images.upright import Background

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
