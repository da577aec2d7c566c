"""The source art: Google's emoji at 56 x 56, from the bundled sheet or from the npm package.

Art: Apache-2.0 (Google, Noto Emoji). Names and packaging: MIT (emoji-datasource). See demo_data/NOTICE.md.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError, MissingExtraError
from memcore.study.captions import emoji_names

try:
    from PIL import Image
except ImportError:
    raise MissingExtraError("pillow", "study", "Reading the emoji art") from None

PACKAGE = "emoji-datasource-google@16.0.0"
TARBALL_SHA256 = "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438"
#: Pixels of an emoji's side; it is in the middle of a 64 x 64 image.
ART_SIZE = 56
#: Emoji in one row of the bundled sheet.
_COLUMNS = 16

Art = Mapping[str, NDArray[np.uint8]]


def load_art(sheet: Path | None = None) -> dict[str, NDArray[np.uint8]]:
    """Return the art by name, (56, 56, 4) uint8 RGBA, from the bundled sheet or another written by ``save_art``."""
    path = sheet if sheet is not None else Path(str(files("memcore") / "demo_data" / "art.webp"))
    if not path.is_file():
        make = "python -m memcore.study.tiny_sd data --from-npm --out FOLDER"
        raise ConfigError(f"the source art {path} is missing: {make} makes it")
    names = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["names"]
    with Image.open(path) as image:
        cells = np.asarray(image.convert("RGBA"))
    grid = cells.reshape(-1, ART_SIZE, _COLUMNS, ART_SIZE, 4).transpose(0, 2, 1, 3, 4)
    grid = grid.reshape(-1, ART_SIZE, ART_SIZE, 4)
    return dict(zip(names, grid, strict=False))


def save_art(art: Art, sheet: Path) -> None:
    """Write the art as one lossless WebP sheet, and a JSON list of the names in order next to it."""
    rows = -(-len(art) // _COLUMNS)
    grid = np.zeros((rows * _COLUMNS, ART_SIZE, ART_SIZE, 4), np.uint8)
    grid[: len(art)] = np.stack(list(art.values()))
    cells = grid.reshape(rows, _COLUMNS, ART_SIZE, ART_SIZE, 4).transpose(0, 2, 1, 3, 4)
    sheet.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(cells.reshape(rows * ART_SIZE, _COLUMNS * ART_SIZE, 4))
    image.save(sheet, lossless=True, quality=100, method=6, exact=True)
    sheet.with_suffix(".json").write_text(
        json.dumps({"format": 1, "source": PACKAGE, "names": list(art)}) + "\n", encoding="utf-8"
    )


def fetch_art(names: Sequence[str] | None = None) -> dict[str, NDArray[np.uint8]]:
    """Download the npm package (74 MB) and shrink the wanted emoji to 56 x 56; ConfigError without npm."""
    if shutil.which("npm") is None:
        raise ConfigError("npm was not found: install Node.js, or use the bundled art (leave out --from-npm)")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["npm", "pack", PACKAGE, "--silent"], cwd=folder, check=True, stdout=subprocess.DEVNULL
        )
        data = next(Path(folder).glob("*.tgz")).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != TARBALL_SHA256:
        raise ConfigError(f"{PACKAGE} has SHA-256 {digest}, expected {TARBALL_SHA256}")
    return art_from_tarball(data, emoji_names() if names is None else names)


def art_from_tarball(data: bytes, names: Sequence[str]) -> dict[str, NDArray[np.uint8]]:
    """Return the named emoji of the npm package's bytes, in the order of ``names``."""
    art: dict[str, NDArray[np.uint8]] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        entries = json.loads(_member(archive, "package/emoji.json"))
        drawn = [entry for entry in entries if entry["has_img_google"]]
        images = {(entry["name"] or entry["short_name"]).lower(): entry["image"] for entry in drawn}
        for name in names:
            if name not in images:
                raise ConfigError(f"{PACKAGE} has no emoji named {name!r}")
            raw = _member(archive, f"package/img/google/64/{images[name]}")
            with Image.open(io.BytesIO(raw)) as image:
                art[name] = resize_art(np.asarray(image.convert("RGBA")), ART_SIZE)
    return art


def resize_art(rgba: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize an emoji to size x size."""
    # Premultiplied alpha ("RGBa") while resizing: otherwise hidden dark pixels leave a fringe.
    image = Image.fromarray(rgba).convert("RGBa").resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(image.convert("RGBA"))


def rotate_hue(rgba: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """Turn an emoji's hue by ``turn`` / 256 of the colour circle."""
    hsv = np.asarray(Image.fromarray(np.ascontiguousarray(rgba[..., :3])).convert("HSV")).copy()
    hsv[..., 0] += np.uint8(turn)  # uint8 wraps around: so does a hue
    rgb = np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))
    return np.concatenate([rgb, rgba[..., 3:]], axis=-1)


def compose(
    rgba: NDArray[np.uint8], background: Sequence[int], top: int, left: int, size: int = 64
) -> NDArray[np.uint8]:
    """Put an emoji on a flat background, (size, size, 3) uint8; in integers, so that all machines give equal bytes."""
    canvas = np.empty((size, size, 3), np.uint8)
    canvas[:] = np.asarray(background, np.uint8)
    height, width = rgba.shape[:2]
    patch = canvas[top : top + height, left : left + width].astype(np.int32)
    alpha = rgba[..., 3:].astype(np.int32)
    mixed = (rgba[..., :3].astype(np.int32) * alpha + patch * (255 - alpha) + 127) // 255
    canvas[top : top + height, left : left + width] = mixed.astype(np.uint8)
    return canvas


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    handle = archive.extractfile(name)
    if handle is None:
        raise ConfigError(f"{PACKAGE} holds no file {name}")
    return handle.read()
