"""Read and graph stored prompts as ``memcore filter`` does.

This is compared with what cannot be saved: reading the same bytes, or the fastest decoder alone.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import mmap
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memcore import PromptGraph, isa, tiled_l2_graph
from memcore.bench import kinds
from memcore.bench.peers import load, missing
from memcore.bench.rows import OF_THE_TIME, Row, Target
from memcore.bench.timing import Call, Spread, in_turn, require_equal
from memcore.types import Graph

if TYPE_CHECKING:
    from memcore.sources.by_prompt import StoredPrompts

#: A set's first prompt -> its graph: what is timed; a test passes a wrong one.
Kernel = Callable[["StoredPrompts"], Graph]

KIND, THRESHOLD = "12 duplicates", 0.15
FORMATS = ("npy", "jpeg", "png")
#: The fastest decoder of each format that was found, and the module that has it.
DECODERS = {"jpeg": ("simplejpeg", "simplejpeg"), "png": ("kornia-rs", "kornia_rs")}
QUALITY = 90
_LIMITS = {"npy": 1.6, "jpeg": 1.15, "png": 1.15}
_BYTES_AT_ONCE = 8 << 20


@dataclasses.dataclass(frozen=True)
class Case:
    """One prompt stored in one format, what it holds once decoded, and the floor that it is compared with."""

    format: str
    stored: StoredPrompts
    pixels: NDArray[np.uint8]
    floor: Call
    floor_name: str


def memcore_graph(stored: StoredPrompts) -> Graph:
    """Do what ``memcore filter`` does with a prompt up to its graph, in one thread."""
    graph = PromptGraph(
        stored.image_shape,
        THRESHOLD,
        channels="last",
        threads=1,
        capacity=stored.count(0),
        **stored.images_in(0),
    )
    for _ in stored.feed(0, graph):
        pass
    return graph.graph()


def prepare(kind: str, images: NDArray[np.uint8], root: Path) -> Case:
    """Write the images below ``root``. Raises MissingExtraError where a package is not installed."""
    load("pyarrow", "memcore bench --part stored")
    from memcore.sources.by_prompt import StoredPrompts

    if kind == "npy":
        root.mkdir(parents=True)
        path = root / "prompt.npy"
        np.save(path, images)
        return Case(kind, StoredPrompts(root), images, read_file(path), "reading the same bytes")
    name, module = DECODERS[kind]
    decoder = load(module)
    encoded = _write(kind, images, root / "prompt")
    stored = StoredPrompts(root)
    if kind == "png":
        size = stored.image_shape[:2]

        def decode_png() -> None:
            for data in encoded:
                decoder.io.decode_image_png_u8(data, size, "rgb")

        return Case(kind, stored, images, decode_png, f"{name} alone")
    out = np.empty(stored.image_shape, np.uint8)

    def decode_jpeg() -> None:
        for data in encoded:
            decoder.decode_jpeg(data, "RGB", buffer=out)

    pixels = np.stack([decoder.decode_jpeg(data, "RGB") for data in encoded])
    return Case(kind, stored, pixels, decode_jpeg, f"{name} alone")


def read_file(path: Path) -> Call:
    """Return a call that reads the file into memory that is reused.

    Aligned to a page: elsewhere the system's copy may take two or three times as long, and it would be no floor.
    """
    memory = mmap.mmap(-1, path.stat().st_size)

    def read() -> None:
        with path.open("rb", buffering=0) as file:
            done, view = 0, memoryview(memory)
            while done < len(view):
                done += file.readinto(view[done : done + _BYTES_AT_ONCE])

    return read


def verify(case: Case, kernel: Kernel = memcore_graph) -> None:
    """Compare the graph with that of the decoded images, edge by edge."""
    got, want = kernel(case.stored), tiled_l2_graph(case.pixels, THRESHOLD, channels="last", threads=1)
    require_equal(f"stored {case.format}, edges", got.edges, want.edges)
    require_equal(f"stored {case.format}, sums", np.asarray(got.ssd), np.asarray(want.ssd))


def run(quick: bool, *, kernel: Kernel = memcore_graph) -> Iterator[Row]:
    """Measure all formats; the files are in a temporary folder while they are measured."""
    n, size, rounds = (64, 256, 3) if quick else (500, 512, 7)
    images = kinds.images(KIND, n, size)
    for kind in FORMATS:
        with tempfile.TemporaryDirectory(prefix="memcore-bench-") as folder:
            yield one_format(kind, images, Path(folder) / "set", rounds, kernel)


def one_format(
    kind: str, images: NDArray[np.uint8], root: Path, rounds: int, kernel: Kernel = memcore_graph
) -> Row:
    """Measure one format's ratio to its floor; without its decoder a row that says so."""
    n, size = images.shape[:2]
    work = f"{n} images {size}x{size}x3, {KIND}, {kind}"
    what = "reading the same bytes" if kind == "npy" else "the fastest decoder alone"
    row: dict[str, Any] = {
        "section": "stored",
        "work": work,
        "isa": isa.active(),
        "target": Target(f"filter over stored {kind}, against {what}", "<=", _LIMITS[kind]),
    }
    name, module = DECODERS.get(kind, (what, "numpy"))
    absent = missing(module)
    if absent is not None:
        return Row(name=name, note=absent, **row)
    case = prepare(kind, images, root)
    verify(case, kernel)
    pairs = in_turn(functools.partial(kernel, case.stored), case.floor, rounds)
    return Row(
        name=case.floor_name,
        unit=OF_THE_TIME,
        value=pairs.times_the_time,
        ours_s=Spread.of(pairs.ours_s),
        other_s=Spread.of(pairs.other_s),
        rounds=len(pairs.ours_s),
        **row,
    )


def _write(kind: str, images: NDArray[np.uint8], folder: Path) -> list[bytes]:
    """Write one file an image, as most programs would, and return their contents."""
    pil = load("PIL.Image")
    folder.mkdir(parents=True)
    encoded = []
    for number, image in enumerate(images):
        sink = io.BytesIO()
        pil.fromarray(image).save(sink, kind, **({"quality": QUALITY} if kind == "jpeg" else {}))
        (folder / f"{number:05d}.{kind}").write_bytes(sink.getvalue())
        encoded.append(sink.getvalue())
    return encoded
