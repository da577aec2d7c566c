"""Small sets of stored generations in every layout."""

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

from memcore.sampling.seeds import derive_seed
from memcore.sources.by_prompt import StoredPrompts
from memcore.sources.entries import QuarantineEntry
from memcore.types import Request
from tests.support.synthetic import SyntheticSampler

Pixels = NDArray[np.uint8]
NAMES = ["a red fox", "rain", "two boats"]
COUNT = 30


def generations(prompt_id: int, prompt: str, count: int = COUNT) -> tuple[list[int], Pixels]:
    seeds = [derive_seed(0, prompt_id, i) for i in range(count)]
    sampler = SyntheticSampler()
    return seeds, sampler.sample([Request(prompt_id, prompt, s) for s in seeds]).pixels


def encoded(pixels: Pixels, kind: str = "png", **options: Any) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, kind, **options)
    return sink.getvalue()


def add(tar: tarfile.TarFile, name: str, data: bytes, **changes: Any) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for field, value in changes.items():
        setattr(member, field, value)
    tar.addfile(member, io.BytesIO(data))


def read_all(
    stored: StoredPrompts, prompt_id: int
) -> tuple[Pixels, list[int], list[bool], list[QuarantineEntry]]:
    pixels, seeds, constant, broken = [], [], [], []
    for images, own, flags, gone in stored.read(prompt_id):
        assert len(images) == len(own) == len(flags)
        pixels.append(images.copy())
        seeds.extend(own)
        constant.extend(flags.tolist())
        broken.extend(gone)
    return np.concatenate(pixels), seeds, constant, broken


def write_folders(root: Path) -> Path:
    for number, prompt in enumerate(NAMES):
        (root / prompt).mkdir(parents=True)
        for seed, image in zip(*generations(number, prompt), strict=True):
            (root / prompt / f"{seed}.png").write_bytes(encoded(image))
    return root


def write_described(root: Path) -> Path:
    """Write one folder of images as of Hugging Face: metadata.jsonl says the prompt of each."""
    (root / "train").mkdir(parents=True)
    rows = []
    for number, prompt in enumerate(NAMES):
        for seed, image in zip(*generations(number, prompt), strict=True):
            (root / "train" / f"{seed}.png").write_bytes(encoded(image))
            rows.append({"file_name": f"train/{seed}.png", "text": prompt})
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return root


def write_tars(root: Path) -> Path:
    """Write two shards over which the prompts are scattered, with captions in .txt and .json."""
    root.mkdir(parents=True)
    with tarfile.open(root / "0.tar", "w") as one, tarfile.open(root / "1.tar", "w") as two:
        for number, prompt in enumerate(NAMES):
            for n, (seed, image) in enumerate(zip(*generations(number, prompt), strict=True)):
                tar, key = (one, two)[n % 2], f"{number:03d}{n:05d}"
                if n % 3:
                    add(
                        tar,
                        f"{key}.json",
                        json.dumps({"caption": prompt, "seed": seed, "extra": [1]}).encode(),
                    )
                else:
                    key = f"deep/er/{seed}" if n else str(seed)
                    add(tar, f"{key}.txt", f"{prompt}\n".encode())
                add(tar, f"{key}.png", encoded(image))
    return root


def write_parquet(root: Path, *, struct: bool = False) -> Path:
    root.mkdir(parents=True)
    rows = [
        {
            "caption": prompt,
            "seed": seed,
            "image": {"bytes": encoded(image), "path": None} if struct else encoded(image),
        }
        for number, prompt in enumerate(NAMES)
        for seed, image in zip(*generations(number, prompt), strict=True)
    ]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table.slice(0, 40), root / "0.parquet", row_group_size=7)
    pq.write_table(table.slice(40), root / "1.parquet")
    return root


def write_arrays(root: Path) -> Path:
    root.mkdir(parents=True)
    for number, prompt in enumerate(NAMES):
        np.save(root / f"{prompt}.npy", generations(number, prompt)[1])
    return root


def write_array(root: Path) -> Path:
    root.mkdir(parents=True)
    np.save(root / "all.npy", np.stack([generations(n, p)[1] for n, p in enumerate(NAMES)]))
    (root / "all.txt").write_text("\n".join(NAMES))
    return root / "all.npy"


LAYOUTS = {
    "folders": write_folders,
    "metadata.jsonl": write_described,
    "tars": write_tars,
    "parquet": write_parquet,
    "parquet-struct": lambda root: write_parquet(root, struct=True),
    "npy": write_arrays,
    "one-npy": write_array,
}
