"""Why a stored image is not used. Quarantine files hold these codes; docs/formats.md lists them."""

from __future__ import annotations

#: Reason code -> what it means, as the report shows it.
REASONS = {
    "unreadable": "damaged, or no image of a format that is read",
    "truncated": "the file ends before the image does",
    "wrong-size": "another size than the run's",
    "depth": "more than 8 bits a channel",
    "alpha": "transparent pixels and no declared background",
    "colour": "a colour space whose conversion is not defined, such as CMYK",
    "animated": "more than one frame or page",
    "dtype": "an array that does not hold uint8",
    "path": "a name in an archive that leads out of it, or no plain file",
    "too-large": "more pixels or bytes than an image may have",
    "changed": "a file that was changed while it was read",
    "no-image": "a sample, row or file without an image",
    "empty": "an empty folder",
    "system": "what a system puts beside files: ._NAME, __MACOSX, .DS_Store, Thumbs.db, desktop.ini",
    "other": "a file or member that is no image",
    "format": "an image of a format that is not read, such as AVIF or HEIF",
    "text": "a text that belongs to no image, or that is not used here",
    "caption": "a text beside an image, or a caption, that cannot be read",
    "archive": "the rest of a damaged archive or table, from there on",
}


class UnreadableImage(Exception):
    """A stored image that is not used; ``reason`` is one of ``REASONS``, the text says what was found."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(detail)
