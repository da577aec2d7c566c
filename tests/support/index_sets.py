"""Small training sets in every format, and an index of natural images."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from memcore.index import Index, build_index, open_source
from memcore.index.pairs import cut_tiles
from memcore.storage.digests import seal

Images = NDArray[np.uint8]


def pictures(n: int, side: int = 12, seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def png(pixels: Images, **options: Any) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "png", **options)
    return sink.getvalue()


def add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def write_tar(path: Path, images: Images, first: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for i, pixels in enumerate(images, first):
            if i % 3 == 0:
                add_member(tar, f"{i:05d}.txt", f"caption {i}".encode())
            add_member(tar, f"{i:05d}.png", png(pixels))
            if i % 3 == 1:
                add_member(tar, f"{i:05d}.json", json.dumps({"caption": f"caption {i}"}).encode())
            if i % 3 == 2:
                add_member(tar, f"{i:05d}.txt", f"caption {i}".encode())
    return path


def write_parquet(path: Path, images: Images, first: int = 0, struct: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data: list[Any] = [png(p) for p in images]
    if struct:
        data = [{"bytes": d, "path": None} for d in data]
    captions = [f"caption {i}" for i in range(first, first + len(images))]
    pq.write_table(
        pa.table({"image": data, "caption": captions, "id": range(len(images))}), path, row_group_size=7
    )
    return path


def make_index(folder: Path, images: Images, **options: int) -> Index:
    np.save(folder / "train.npy", images)
    build_index(folder / "index", open_source(folder / "train.npy"), **options)  # type: ignore[arg-type]
    return Index.open(folder / "index")


def write_meta(folder: Path, meta: dict[str, Any]) -> None:
    """Write the index.json of an index as if memcore had written it."""
    (folder / "index.json").write_text(json.dumps(seal(meta)))


def natural(rng: np.random.Generator, n: int, side: int, channels: int = 3) -> Images:
    """Return smooth shapes with detail, some flat, some repeated with noise: near and far pairs of every kind."""
    coarse = rng.integers(0, 256, (n, 3, 3, channels))
    images = coarse.repeat(-(-side // 3), 1).repeat(-(-side // 3), 2)[:, :side, :side]
    images = images + rng.integers(-25, 26, images.shape) * (rng.random((n, 1, 1, 1)) < 0.6)
    copies = rng.integers(0, n, n // 3)
    images[: len(copies)] = images[copies] + rng.integers(-30, 31, (len(copies), side, side, channels))
    return np.clip(images, 0, 255).astype(np.uint8)


def tile_ssd(a: Images, b: Images, cut: tuple[int, int] = (1, 1)) -> NDArray[np.int64]:
    """Return the ssd of the largest tile, (len(a), len(b)) int64."""
    x, y = (cut_tiles(v, cut).astype(np.int64) for v in (a, b))
    return np.stack([((row[None] - y) ** 2).sum(-1).max(-1) for row in x])
