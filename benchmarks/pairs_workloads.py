"""The commands that ``pairs.py`` times, and what they read: made once, from fixed seeds, for both checkouts."""

from __future__ import annotations

import abc
import contextlib
import functools
import io
import itertools
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]
#: Near-copies of one image among those of the first prompt, which make a finding.
COPIES = 12


class Noise:
    """A sampler that costs next to nothing: one of 256 pictures, with the seed in its first pixels."""

    image_shape = (64, 64, 3)
    fingerprint = "noise-1"

    def __init__(self) -> None:
        self._pool = pictures(256, 64, 1)
        self._answer = np.empty((0, *self.image_shape), np.uint8)  # reused: a new one would be timed as well

    def describe(self) -> dict[str, str]:
        return {"kind": "noise"}

    def sample(self, requests: Sequence[Any]) -> Any:
        from memcore.types import Images

        seeds = np.array([request.seed for request in requests], np.uint64)
        if len(self._answer) < len(seeds):
            self._answer = np.empty((len(seeds), *self.image_shape), np.uint8)
        images = self._answer[: len(seeds)]
        np.take(self._pool, (seeds % 256).astype(np.intp), axis=0, out=images, mode="clip")
        images[:, 0, :8, 0] ^= seeds.view(np.uint8).reshape(-1, 8)  # so that no two are the same
        return Images(images, np.zeros(len(seeds), np.bool_))


class Paced(Noise):
    """A sampler that takes 0.1 ms an image, faster than any generator: 10,000 images a second."""

    fingerprint = "paced-1"

    def sample(self, requests: Sequence[Any]) -> Any:
        ends = time.perf_counter() + 1e-4 * len(requests)
        answer = super().sample(requests)
        while time.perf_counter() < ends:
            pass
        return answer


def pictures(count: int, side: int, seed: int) -> Pixels:
    """Return smooth random images with a little noise, (count, side, side, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 248, (count, 8, 8, 3), dtype=np.uint8)
    images = np.repeat(np.repeat(coarse, side // 8, axis=1), side // 8, axis=2)
    images += rng.integers(0, 8, images.shape, dtype=np.uint8)
    return images


def generations(count: int, side: int, seed: int) -> Pixels:
    """Return the images of a prompt: pictures, of which the first few are near-copies of the first."""
    images = pictures(count, side, seed)
    images[1:COPIES] = images[0] ^ np.random.default_rng(seed).integers(
        0, 4, images[1:COPIES].shape, dtype=np.uint8
    )
    return images


def encoded(image: Pixels, kind: str) -> bytes:
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(image).save(sink, kind, **({"quality": 90} if kind == "jpeg" else {"compress_level": 3}))
    return sink.getvalue()


class Inputs:
    """The inputs of all workloads, each made when it is first asked for."""

    def __init__(self, folder: Path, scale: float) -> None:
        self.folder = folder
        self._scale = scale
        folder.mkdir(parents=True)

    def count(self, of_one: int) -> int:
        """Return a number of images at this scale, and enough for a finding."""
        return max(2 * COPIES, round(of_one * self._scale))

    def made(self, name: str, make: Callable[[Path], None]) -> str:
        """Return the path of an input, made if it is not there."""
        path = self.folder / name
        if not path.exists():
            make(path)
        return str(path)


def _prompts(count: int, side: int, prompts: int, kind: str) -> Iterator[tuple[str, str, bytes]]:
    """Yield (prompt, name, bytes) of encoded generations."""
    for prompt in range(prompts):
        for number, image in enumerate(generations(count, side, prompt)):
            yield f"prompt {prompt}", f"{number:05d}", encoded(image, kind)


def write_folders(path: Path, *, count: int, side: int, prompts: int, kind: str) -> None:
    for prompt, name, data in _prompts(count, side, prompts, kind):
        (path / prompt).mkdir(parents=True, exist_ok=True)
        (path / prompt / f"{name}.{kind}").write_bytes(data)


def write_captioned(path: Path, *, count: int, side: int, prompts: int, kind: str) -> None:
    path.mkdir()
    for number, (prompt, _, data) in enumerate(_prompts(count, side, prompts, kind)):
        (path / f"{number:06d}.{kind}").write_bytes(data)
        (path / f"{number:06d}.txt").write_text(prompt)


def write_tar(path: Path, *, count: int, side: int, prompts: int, kind: str) -> None:
    with tarfile.open(path, "w") as archive:
        for number, (prompt, _, data) in enumerate(_prompts(count, side, prompts, kind)):
            for suffix, content in ((kind, data), ("txt", prompt.encode())):
                member = tarfile.TarInfo(f"{number:06d}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def write_parquet(path: Path, *, count: int, side: int, prompts: int, kind: str) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = list(_prompts(count, side, prompts, kind))
    columns = {"image": [data for _, _, data in rows], "caption": [prompt for prompt, _, _ in rows]}
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=200)


def write_arrays(path: Path, *, count: int, side: int, prompts: int) -> None:
    path.mkdir()
    for prompt in range(prompts):
        np.save(path / f"prompt {prompt}.npy", generations(count, side, prompt))


def write_embeddings(path: Path, *, count: int) -> None:
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((count, 64), dtype=np.float32)
    rows[1 : count // 4] = rows[0]
    np.save(path, rows / np.linalg.norm(rows, axis=1, keepdims=True))


def write_lines(path: Path, *, count: int) -> None:
    path.write_text("".join(f"prompt {i}\n" for i in range(count)))


#: Inputs by name: what makes them, the number of images of a prompt, and the rest.
_KINDS: dict[str, tuple[Callable[..., None], int, dict[str, Any]]] = {
    "png": (write_folders, 120, {"side": 256, "prompts": 4, "kind": "png"}),
    "jpeg": (write_folders, 200, {"side": 256, "prompts": 4, "kind": "jpeg"}),
    "png.tar": (write_tar, 120, {"side": 256, "prompts": 4, "kind": "png"}),
    "tiny.tar": (write_tar, 1000, {"side": 32, "prompts": 6, "kind": "png"}),
    "png.parquet": (write_parquet, 120, {"side": 256, "prompts": 4, "kind": "png"}),
    "png512": (write_folders, 60, {"side": 512, "prompts": 4, "kind": "png"}),
    "jpeg512": (write_folders, 100, {"side": 512, "prompts": 4, "kind": "jpeg"}),
    "arrays512": (write_arrays, 60, {"side": 512, "prompts": 4}),
    "arrays": (write_arrays, 500, {"side": 128, "prompts": 8}),
    "captioned": (write_captioned, 400, {"side": 128, "prompts": 4, "kind": "png"}),
    "small": (write_folders, 200, {"side": 64, "prompts": 4, "kind": "png"}),
    "training": (write_folders, 800, {"side": 64, "prompts": 4, "kind": "png"}),
    "embeddings.npy": (write_embeddings, 6000, {}),
}


class Workload(abc.ABC):
    """One command with its inputs. ``prepare`` yields the commands that it needs first, once a side."""

    #: Keys of the command's answer that both sides must give alike.
    keys: tuple[str, ...] = ()

    def __init__(self, name: str, inputs: Inputs) -> None:
        self.name = name
        self.inputs = inputs

    def read(self, kind: str) -> str:
        """Return the path of an input by its name."""
        make, count, options = _KINDS[kind]
        return self.inputs.made(kind, functools.partial(make, count=self.inputs.count(count), **options))

    def prepare(self, folder: Path) -> Iterator[list[str]]:
        yield from ()

    @abc.abstractmethod
    def arguments(self, folder: Path, out: Path) -> list[str]:
        """Return the command's arguments, with ``out`` as the place of what it makes."""

    @contextlib.contextmanager
    def fresh(self, folder: Path) -> Iterator[list[str]]:
        """Yield the command's arguments, with an output that does not exist; it is removed afterwards."""
        out = folder / f"out-{next(_numbers)}"
        yield self.arguments(folder, out)
        if out.is_dir():
            shutil.rmtree(out)
        out.with_suffix(".parquet").unlink(missing_ok=True)

    def answer(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return what both sides must answer alike."""
        return {key: given[key] for key in self.keys}


_numbers = itertools.count()


class Filter(Workload):
    keys = ("prompts", "generated", "candidates", "failed")

    def arguments(self, folder: Path, out: Path) -> list[str]:
        return ["filter", str(out), "--images", self.read(self.name.split()[1]), "--workers", "1", "--quiet"]


class Index(Workload):
    keys = ("count", "unreadable")

    def arguments(self, folder: Path, out: Path) -> list[str]:
        return ["index", str(out), "--source", self.read(self.name.split()[1]), "--quiet"]


class Audit(Workload):
    keys = ("prompts", "generated", "candidates", "failed")

    def arguments(self, folder: Path, out: Path) -> list[str]:
        lines = self.inputs.made(
            "prompts.txt", functools.partial(write_lines, count=max(4, self.inputs.count(24) // 2))
        )
        options = [
            "--sampler",
            f"pairs_workloads:{'Paced' if self.name.endswith('paced') else 'Noise'}",
            "--prompts",
            lines,
            "--generations",
            "500",
            "--seed",
            "1",
        ]
        return ["audit", str(out), *options, "--workers", "1", "--quiet"]


class Match(Workload):
    keys = ("findings", "extracted")

    def prepare(self, folder: Path) -> Iterator[list[str]]:
        yield ["filter", str(folder / "run"), "--images", self.read("small"), "--workers", "1", "--quiet"]
        if self.name == "match index":
            yield ["index", str(folder / "index"), "--source", self.read("training"), "--quiet"]

    def arguments(self, folder: Path, out: Path) -> list[str]:
        shutil.copytree(folder / "run", out)
        given = (
            ["--index", str(folder / "index")]
            if self.name == "match index"
            else ["--training", self.read("training")]
        )
        return ["match", str(out), *given]


class Prompts(Workload):
    keys = ("prompts", "groups", "largest")

    def prepare(self, folder: Path) -> Iterator[list[str]]:
        if self.name == "prompts index":
            yield ["index", str(folder / "index"), "--source", self.read("tiny.tar"), "--quiet"]

    def arguments(self, folder: Path, out: Path) -> list[str]:
        if self.name == "prompts index":
            return ["prompts", str(out.with_suffix(".parquet")), "--index", str(folder / "index")]
        given = ["--embeddings", self.read("embeddings.npy"), "--source", self.read("tiny.tar")]
        return ["prompts", str(out.with_suffix(".parquet")), *given]


_FILTERED = ("png", "png512", "png.tar", "tiny.tar", "arrays", "arrays512", "png.parquet", "jpeg", "jpeg512")
WORKLOADS: dict[str, type[Workload]] = {
    **{f"filter {kind}": Filter for kind in _FILTERED},
    **{f"index {kind}": Index for kind in ("captioned", "png.tar", "tiny.tar", "arrays", "png.parquet")},
    "match training": Match,
    "match index": Match,
    "audit": Audit,
    "audit paced": Audit,
    "prompts index": Prompts,
    "prompts embeddings": Prompts,
}
