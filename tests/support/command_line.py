"""The command line as a person uses it, and what its files say in the formats that docs/formats.md describes.

It needs nothing of memcore but the command line, so that a test of it can be run on any version.
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from memcore.cli import main

SIDE = 16
Word: TypeAlias = str | Path | int | float


class Said(NamedTuple):
    """What a command answered: its exit code, and what it wrote to each stream."""

    code: int
    out: str
    err: str


def memcore(*words: Word) -> Said:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([os.fspath(w) if isinstance(w, Path) else str(w) for w in words])
    return Said(code, out.getvalue(), err.getvalue())


def noise(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def near(image: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Return an image that is nearly the same."""
    change = np.random.default_rng(seed).integers(-3, 4, image.shape)
    return np.clip(image.astype(int) + change, 0, 255).astype(np.uint8)


def encoded(image: NDArray[np.uint8], kind: str = "png") -> bytes:
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, kind)
    return sink.getvalue()


def png(seed: int = 0) -> bytes:
    return encoded(noise(1, seed)[0])


def write_tar(path: Path, members: list[tuple[Any, ...]], form: int = tarfile.PAX_FORMAT) -> Path:
    """Write (name, data) and (name, data, changed fields of the header)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form, errors="surrogateescape") as tar:
        for name, data, *changes in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            for field, value in (changes[0] if changes else {}).items():
                setattr(member, field, value)
            tar.addfile(member, io.BytesIO(data))
    return path


def write_copies(folder: Path, image: NDArray[np.uint8], count: int = 12) -> Path:
    """Write a folder of generations with one prompt, "a fox", whose images are all nearly ``image``."""
    (folder / "a fox").mkdir(parents=True)
    for i in range(count):
        (folder / "a fox" / f"{i}.png").write_bytes(encoded(near(image, i)))
    return folder


class Indexed(NamedTuple):
    """What an index holds: (name, caption) of its images, and reasons by the names of what was left out."""

    said: Said
    images: list[tuple[str, str | None]]
    left_out: dict[str, str]

    @property
    def captions(self) -> list[str | None]:
        return [caption for _, caption in self.images]


def index(folder: Path, source: Path, *more: Word) -> Indexed:
    """Index a source; the exit code is in ``said``."""
    said = memcore("index", folder, "--source", source, "--quiet", *more)
    images: list[tuple[str, str | None]] = []
    for file in sorted(folder.rglob("text.parquet")):
        images += [(row["name"], row.get("caption")) for row in pq.read_table(file).to_pylist()]
    left_out: dict[str, str] = {}
    for file in sorted(folder.rglob("quarantine.parquet")):
        left_out |= {row["source"]: row["reason"] for row in pq.read_table(file).to_pylist()}
    return Indexed(said, images, left_out)


class Filtered(NamedTuple):
    """What a run holds: its rows by prompt, and reasons by the names of what was left out."""

    said: Said
    rows: dict[str, dict[str, Any]]
    left_out: dict[str, str]

    @property
    def generated(self) -> dict[str, int]:
        return {prompt: row["generated"] for prompt, row in self.rows.items()}


def filter_images(run: Path, images: Path, *more: Word) -> Filtered:
    """Filter stored generations in one process."""
    said = memcore("filter", run, "--images", images, "--quiet", "--workers", 1, *more)
    return Filtered(said, *read_run(run))


def read_run(run: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return a run's rows by prompt, and the reasons of its quarantine."""
    rows = [r for f in sorted((run / "findings").glob("*.parquet")) for r in pq.read_table(f).to_pylist()]
    gone = [r for f in sorted((run / "quarantine").glob("*.parquet")) for r in pq.read_table(f).to_pylist()]
    return {row["prompt"]: row for row in rows}, {row["source"]: row["reason"] for row in gone}


def list_prompts(run: Path) -> list[str]:
    """Return the prompts that a run was made with."""
    prompts: list[str] = pq.read_table(run / "prompts.parquet")["prompt"].to_pylist()
    return prompts


def audit_prompts(run: Path, prompts: Path, *more: Word) -> Said:
    """Audit a list of prompts with the synthetic sampler that memcore brings."""
    sampler = ("--sampler", "memcore.study.synthetic:SyntheticSampler")
    size = ("--generations", 12, "--batch-size", 12, "--workers", 1, "--threads", 1, "--quiet")
    return memcore("audit", run, *sampler, "--prompts", prompts, *size, *more)
