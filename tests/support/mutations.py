"""Files of every kind that is read, damaged at random, and what reading each must not do.

As a program (``python -m tests.support.mutations COUNT SEED``) it reads COUNT of them in one process and prints, as JSON,
the slowest, the memory that it grew by, and every mutation that was read wrongly.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
import tarfile
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageOps

from memcore.errors import MemcoreError
from memcore.images import REASONS, UnreadableImage, decode
from memcore.images.pillow import FORMATS
from memcore.images.resize import Resize
from memcore.runs.prompts import read_prompts
from memcore.sources.by_prompt import StoredPrompts
from memcore.sources.captions import read_metadata
from memcore.sources.in_memory import read_training_set
from tests.support.peak import peak_bytes

IMAGES: dict[str, dict[str, Any]] = {
    "png": {},
    "grey.png": {"mode": "L"},
    "palette.png": {"mode": "P"},
    "jpeg": {"quality": 85},
    "progressive.jpeg": {"progressive": True},
    "grey.jpeg": {"mode": "L"},
    "webp": {},
    "lossless.webp": {"lossless": True},
    "bmp": {},
    "gif": {"mode": "P"},
    "tiff": {},
    "lzw.tiff": {"compression": "tiff_lzw"},
}


def image(kind: str, rng: np.random.Generator) -> bytes:
    options = dict(IMAGES[kind])
    mode = options.pop("mode", "RGB")
    sink = io.BytesIO()
    pixels = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(sink, kind.rpartition(".")[2], **options)
    return sink.getvalue()


def containers(rng: np.random.Generator) -> dict[str, bytes]:
    """Return a file of each kind that holds several images, or texts."""
    pictures = [image(kind, rng) for kind in ("png", "jpeg", "webp", "png")]
    array, scattered, packed, tar, table = (io.BytesIO() for _ in range(5))
    pixels = rng.integers(0, 256, (5, 12, 16, 3), dtype=np.uint8)
    np.save(array, pixels)
    np.save(scattered, np.asfortranarray(pixels))
    np.savez_compressed(packed, images=pixels)
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as file:
        for i, data in enumerate(pictures):
            for suffix, content in (
                ("png", data),
                ("json", b'{"caption": "a fox", "seed": 7}'),
                ("txt", b"a fox"),
            ):
                member = tarfile.TarInfo(f"{i}.{suffix}")
                member.size, member.pax_headers = len(content), {"comment": "x"}
                file.addfile(member, io.BytesIO(content))
    pq.write_table(
        pa.table({"image": pictures, "caption": ["a", "b", None, "d"], "seed": [1, 2, 3, 4]}),
        table,
        row_group_size=2,
    )
    lines = b'{"file_name": "a.png", "prompt": "a fox"}\n' * 4
    return {
        "a.npy": array.getvalue(),
        "f.npy": scattered.getvalue(),
        "a.npz": packed.getvalue(),
        "a.tar": tar.getvalue(),
        "a.parquet": table.getvalue(),
        "p.txt": "\ufeffa fox\r\n\nein Häs’chen\n".encode(),
        "p.csv": b'prompt,seed\n"a, b",1\n"c\nd",2\n',
        "p.jsonl": lines,
        "metadata.jsonl": lines,
        "g.tar": gzip.compress(tar.getvalue()),
    }


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """Return data with bits flipped, bytes replaced, removed, put in or cut off."""
    held = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        at = (
            int(rng.integers(0, max(1, len(held))))
            if rng.random() < 0.6
            else int(rng.integers(0, min(200, len(held) or 1)))
        )
        kind = int(rng.integers(0, 6))
        if not held:
            break
        if kind == 0:
            held[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            held[at] = int(rng.choice([0, 255, 127, 128, 32, 57]))
        elif kind == 2:
            del held[at : at + int(rng.integers(1, 9))]
        elif kind == 3:
            held[at:at] = rng.bytes(int(rng.integers(1, 9)))
        elif kind == 4:
            del held[at:]
        else:
            held[at : at + 4] = rng.bytes(4)
    return bytes(held)


def by_pillow(data: bytes) -> np.ndarray[Any, Any]:
    """Return what Pillow decodes; it raises what it raises."""
    with Image.open(io.BytesIO(data), formats=(*FORMATS, "JPEG")) as opened:
        opened.load()
        turned = ImageOps.exif_transpose(opened)
        if turned.mode in ("RGBA", "LA", "PA") or "transparency" in turned.info:
            turned = turned.convert("RGBA")
        return np.asarray(turned.convert("RGB"))


def look_at_image(data: bytes) -> str:
    """Return how an image was read: a reason, "same"; or what is wrong, which begins with "WRONG"."""
    try:
        pixels = decode(data)
    except UnreadableImage as error:
        return error.reason if error.reason in REASONS else f"WRONG: reason {error.reason}"
    try:
        same = np.array_equal(pixels, by_pillow(data))
    except Exception as error:
        return f"WRONG: Pillow refuses it: {type(error).__name__}: {error}"
    return "same" if same else "WRONG: Pillow decodes other pixels"


def look_at_file(name: str, data: bytes, folder: Path, resize: Resize | None) -> str:
    """Return "read" or "refused"; anything else that is raised is passed on."""
    path = folder / name
    path.write_bytes(data)
    try:
        if name == "metadata.jsonl":
            read_metadata(str(path))
        elif name.startswith("p."):
            list(read_prompts(path))
        else:
            read_training_set(path, resize=resize)
            if path.suffix != ".npz":
                stored = StoredPrompts(path, resize=resize)
                for i in range(len(stored.prompts)):
                    for _ in stored.read(i):
                        pass
    except (MemcoreError, UnreadableImage):
        return "refused"
    return "read"


def run(count: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    images = {kind: image(kind, rng) for kind in IMAGES}
    files = containers(rng)
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    slowest = 0.0
    before = peak_bytes()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            of_images = number % 2 == 0
            kinds = sorted(images if of_images else files)
            kind = kinds[number // 2 % len(kinds)]
            data = damage((images if of_images else files)[kind], rng)
            resize = Resize(9, 7) if rng.random() < 0.3 else None
            began = time.monotonic()
            try:
                told = look_at_image(data) if of_images else look_at_file(kind, data, Path(folder), resize)
            except Exception as error:
                told = f"WRONG: {type(error).__name__}: {error}"
            slowest = max(slowest, time.monotonic() - began)
            outcomes[told.partition(":")[0]] += 1
            if told.startswith("WRONG"):
                wrong.append(f"{number} {kind}: {told}")
    grown = peak_bytes() - before
    return {
        "count": count,
        "outcomes": dict(outcomes),
        "wrong": wrong,
        "slowest_s": slowest,
        "grown_bytes": grown,
    }


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2])), indent=1))
