"""The readers of stored images: each image is what Pillow decodes, or is refused with a code; nothing else is raised.

JPEG is compared with Pillow's own decoder, which is libjpeg-turbo with the accurate transform and smooth upsampling too.

An input is a line that names the file, and its content: "a.tar\\n...". Anything else is one image.
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fuzz import image_files
from fuzz.damage import damage
from fuzz.said import run_command
from fuzz.target import Wrong, corpus
from memcore.errors import MemcoreError
from memcore.images import REASONS, UnreadableImage, decode
from memcore.images.pillow import FORMATS
from memcore.images.resize import Resize
from memcore.runs.prompts import read_prompts
from memcore.sources.by_prompt import StoredPrompts
from memcore.sources.captions import read_metadata
from memcore.sources.in_memory import read_training_set

_IMAGE = "image"


class Images:
    """Damaged and odd files of every kind that is read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        rng = np.random.default_rng(0)
        self._images = {kind: image_files.image(kind, rng) for kind in image_files.IMAGES}
        self._files = image_files.containers(rng)
        self._stored = corpus("images")

    def make(self, rng: np.random.Generator) -> bytes:
        if self._stored and rng.random() < 0.1:
            line, _, data = self._stored[int(rng.integers(0, len(self._stored)))].partition(b"\n")
            return line + b"\n" + damage(data, rng)
        if rng.random() < 0.5:
            kind = list(self._images)[int(rng.integers(0, len(self._images)))]
            data = self._images[kind]
            if kind.endswith("png") and rng.random() < 0.5:
                for _ in range(int(rng.integers(1, 4))):
                    data = image_files.change_png(data, rng)
            else:
                data = damage(data, rng)
            return f"{_IMAGE}\n".encode() + data
        name = list(self._files)[int(rng.integers(0, len(self._files)))]
        return f"{name}{' resized' if rng.random() < 0.3 else ''}\n".encode() + self._change(name, rng)

    def _change(self, name: str, rng: np.random.Generator) -> bytes:
        data = self._files[name]
        structured = rng.random() < 0.5
        if structured and name == "a.tar":
            return image_files.change_tar(data, rng)
        if structured and name.endswith(".npy"):
            return image_files.change_npy(data, rng)
        if structured and name == "a.parquet":
            kinds = [self._images[kind] for kind in ("png", "alpha.png", "jpeg", "frames.gif")]
            return image_files.odd_table(kinds, rng)
        return damage(data, rng)

    def check(self, data: bytes) -> str:
        line, _, content = data.partition(b"\n")
        name, _, how = line.decode("latin-1").partition(" ")
        if name not in self._files:
            return check_image(content if name == _IMAGE else data)
        return self._check_file(name, content, Resize(9, 7) if how == "resized" else None)

    def _check_file(self, name: str, data: bytes, resize: Resize | None) -> str:
        path = self._folder / name
        path.write_bytes(data)
        try:
            if name.startswith("metadata."):
                read_metadata(str(path))
            elif name.startswith("p."):
                list(read_prompts(path))
            else:
                check_source(path, resize, self._folder, name)
        except (MemcoreError, UnreadableImage) as error:
            return "refused" if str(error) else "refused without a word"
        finally:
            path.unlink(missing_ok=True)
        return "read"


def check_source(path: Path, resize: Resize | None, folder: Path, name: str) -> None:
    """Read a file as a training set, as generations by prompt, and by the command that makes an index of it."""
    try:
        found = read_training_set(path, resize=resize)
        unknown = {entry["reason"] for entry in found.left_out} - set(REASONS)
        if unknown:
            raise Wrong(f"reasons that are none: {sorted(unknown)}")
        if path.suffix != ".npz":
            stored = StoredPrompts(path, resize=resize)
            for i in range(len(stored.prompts)):
                for pixels, seeds, constant, broken in stored.read(i):
                    if not len(pixels) == len(seeds) == len(constant):
                        raise Wrong(f"{len(pixels)} images with {len(seeds)} seeds and {len(constant)} marks")
                    if unknown := {entry["reason"] for entry in broken} - set(REASONS):
                        raise Wrong(f"reasons that are none: {sorted(unknown)}")
    finally:
        index = folder / "index"
        more = () if resize is None else ("--resize", "9x7")
        try:
            run_command("index", str(index), "--source", str(path), "--quiet", "--threads", "1", *more)
        finally:
            shutil.rmtree(index, ignore_errors=True)


def by_pillow(data: bytes) -> NDArray[Any]:
    """Return what Pillow decodes; it raises what it raises."""
    with Image.open(io.BytesIO(data), formats=(*FORMATS, "JPEG")) as opened:
        opened.load()
        try:
            turned = ImageOps.exif_transpose(opened)
        except Exception:  # a damaged orientation is none, as in every viewer
            turned = opened
        if turned.mode in ("RGBA", "LA", "PA") or "transparency" in turned.info:
            turned = turned.convert("RGBA")
        return np.asarray(turned.convert("RGB"))


def check_image(data: bytes) -> str:
    """Decode one image; return "equal", or the reason of its refusal."""
    try:
        pixels = decode(data)
    except UnreadableImage as error:
        if error.reason not in REASONS or not str(error):
            raise Wrong(f"reason {error.reason!r}, detail {str(error)!r}") from error
        return error.reason
    how = "equal"
    try:
        wanted = by_pillow(data)
    except Exception as error:
        if (bare := image_files.bare_png(data)) is None:
            raise Wrong(f"Pillow refuses it: {type(error).__name__}: {error}") from error
        wanted, how = by_pillow(bare), "equal without what Pillow refuses"
    if not np.array_equal(pixels, wanted):
        raise Wrong(f"Pillow decodes other pixels, {wanted.shape} and {pixels.shape}")
    return how
