"""A colour set of CIFAR's shape, from sources whose licences allow it: emoji of two vendors, and clip art.

``path`` is a folder with what is to be read, each checked by its hash or its package:

- ``emoji-datasource-google-16.0.0.tgz`` (art: Google, Apache-2.0) and ``emoji-datasource-twitter-16.0.0.tgz`` (art: Twitter,
  CC BY 4.0), as ``npm pack`` leaves them; names and packaging are MIT;
- Debian's ``openclipart-png``, public domain by its authors' dedication, below ``openclipart`` or where Debian installs it.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError, MissingExtraError
from memcore.images.decode import MAX_PIXELS
from memcore.study.data.images import ImageSet, make_grey, split
from memcore.study.emoji import TARBALL_SHA256, compose, resize_art
from memcore.study.protocols.protocol import DataSpec
from memcore.system.parsing import parse_json
from memcore.system.places import where

try:
    from PIL import Image
except ImportError:
    raise MissingExtraError("pillow", "study", "Reading the clip art") from None


#: A picture's class, and its pixels (side, side, 4).
Picture: TypeAlias = tuple[str, NDArray[np.uint8]]


class Vendor(NamedTuple):
    """A vendor's emoji in an npm package: its name, the SHA-256 of the package, and the licence of the art."""

    name: str
    sha256: str
    licence: str


VENDORS = (
    Vendor("google", TARBALL_SHA256, "Google Noto Emoji, Apache-2.0"),
    Vendor(
        "twitter",
        "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
        "Twemoji, Twitter, CC BY 4.0",
    ),
)
CLIP_ART = "openclipart"
DEBIAN = Path("/usr/share/openclipart/png")
CLIP_ART_LICENCE = "Open Clip Art Library, public domain"
#: Pixels of a picture's longer side, of every 32 of the image: a margin remains.
_FILLED = 28


def load_clip_art(spec: DataSpec) -> ImageSet:
    """Return every picture on a coloured background of its own. A class is an emoji's category or a folder of clip art.

    Pictures that become equal are kept once; those that cannot be read, have more than 2^26 pixels, or would leave hardly a
    pixel are left out, and the source says how many were used. Raises ConfigError if there is nothing at ``path``, or
    another package.
    """
    folder = Path(spec.path or ".")
    pictures: list[Picture] = []
    sources = []
    for vendor in VENDORS:
        path = folder / f"emoji-datasource-{vendor.name}-16.0.0.tgz"
        if path.is_file():
            used, there = _read_emoji(path, vendor, spec.side)
            pictures += used
            sources.append(_told(vendor.licence, len(used), there))
    clip_art = next((p for p in (folder / CLIP_ART, DEBIAN) if p.is_dir()), None)
    if clip_art is not None:
        used, there = _read_clip_art(clip_art, spec.side)
        pictures += used
        sources.append(_told(CLIP_ART_LICENCE, len(used), there))
    if not pictures:
        raise ConfigError(
            f"path={str(folder)!r} holds no clip art{where(folder)}: npm pack emoji-datasource-google@16.0.0 "
            "emoji-datasource-twitter@16.0.0 makes two archives, apt-get install openclipart-png a folder"
        )
    rng = np.random.default_rng([spec.seed, 4])
    composed = np.stack([_place(rgba, spec.side, rng) for _, rgba in pictures])
    names = sorted({name for name, _ in pictures})
    labels = np.array([names.index(name) for name, _ in pictures], np.int64)
    return split(make_grey(composed) if spec.grey else composed, labels, spec.seed, "; ".join(sources))


def _told(licence: str, used: int, there: int) -> str:
    return f"{licence} ({used:,} of {there:,} pictures)"


def _read_emoji(path: Path, vendor: Vendor, side: int) -> tuple[list[Picture], int]:
    """Return the pictures of a vendor, and how many there are."""
    data = path.read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != vendor.sha256:
        raise ConfigError(f"{path} has SHA-256 {found}, expected {vendor.sha256}")
    seen: set[bytes] = set()
    kept: list[Picture] = []
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        entries: list[dict[str, Any]] = parse_json(_member(archive, "package/emoji.json"))
        own = [
            entry for entry in entries if entry[f"has_img_{vendor.name}"]
        ]  # others are another vendor's art
        for entry in own:
            raw = _member(archive, f"package/img/{vendor.name}/64/{entry['image']}")
            kept += [(str(entry["category"]), rgba) for rgba in _unseen(raw, side, seen)]
    return kept, len(own)


def _read_clip_art(folder: Path, side: int) -> tuple[list[Picture], int]:
    """Return the pictures below a folder, and how many there are."""
    seen: set[bytes] = set()
    paths = sorted(folder.rglob("*.png"))
    kept = [
        (f"clip art: {path.relative_to(folder).parts[0]}", rgba)
        for path in paths
        for rgba in _unseen(path.read_bytes(), side, seen)
    ]
    return kept, len(paths)


def _unseen(raw: bytes, side: int, seen: set[bytes]) -> Iterator[NDArray[np.uint8]]:
    """Yield the picture, shrunk; nothing if it cannot be read, is too large or empty, or was there before."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(raw)) as image:
                if image.width * image.height > MAX_PIXELS:
                    return
                rgba = np.asarray(image.convert("RGBA"))
    except (OSError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return
    height, width = rgba.shape[:2]
    longest = max(height, width)
    if min(height, width) * 4 < longest:  # a line or a banner: hardly a pixel of it would be left
        return
    square = np.zeros((longest, longest, 4), np.uint8)
    top, left = (longest - height) // 2, (longest - width) // 2
    square[top : top + height, left : left + width] = rgba
    small = resize_art(square, max(1, side * _FILLED // 32))
    if small[..., 3].max() < 128:
        return
    key = small.tobytes()
    if key not in seen:
        seen.add(key)
        yield small


def _place(rgba: NDArray[np.uint8], side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    top, left = (int(v) for v in rng.integers(0, side - len(rgba) + 1, size=2))
    return compose(rgba, [int(v) for v in rng.integers(0, 256, size=3)], top, left, side)


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    try:
        handle = archive.extractfile(name)
    except KeyError:
        handle = None
    if handle is None:
        raise ConfigError(f"the archive holds no file {name}")
    return handle.read()
