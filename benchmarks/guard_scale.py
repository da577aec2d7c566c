"""The output filter on an index of a million images: its latency on one core, what it refuses, and whether a copy passes.

The training set is written into a folder, as one .npy file or as tars of PNG files, and deleted at the end. Held-out images
choose delta; other held-out images and planted copies are checked in batches and one by one, with one thread. The
decisions on a sample are compared with brute force over the whole set. The record is printed as JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import shutil
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import memcore
from memcore.bench.machine import others_running, processor
from memcore.bench.match_scale import SyntheticSource
from memcore.bench.timing import one_thread
from memcore.evaluation.score import clopper_pearson
from memcore.guard import OutputFilter, Verdict
from memcore.index import build_index, open_source
from memcore.types import Threshold

Images = NDArray[np.uint8]
#: One in this many images has little contrast: such images are near many others, and hard to tell from them by sketches.
FLAT = 200
PER_TAR = 100_000


def make_images(source: SyntheticSource, numbers: NDArray[np.int64]) -> Images:
    """Return images by number: of a spectrum like that of photographs, some of them nearly flat."""
    images = source.images(numbers)
    flat = np.flatnonzero(numbers % FLAT == 3)
    contrast = np.random.default_rng(5).uniform(0.05, 0.3, 4096)[numbers[flat] % 4096]
    wide = images[flat].astype(np.float32)
    mean = wide.mean((1, 2, 3), keepdims=True)
    images[flat] = np.rint(mean + (wide - mean) * contrast[:, None, None, None])
    return images


def write_npy(path: Path, source: SyntheticSource, count: int) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, 32, 32, 3)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, count, 8192):
            make_images(source, np.arange(start, min(count, start + 8192))).tofile(file)


def write_tars(folder: Path, source: SyntheticSource, count: int) -> None:
    from PIL import Image

    folder.mkdir()
    for first in range(0, count, PER_TAR):
        with tarfile.open(folder / f"{first:08d}.tar", "w") as tar:
            for start in range(first, min(count, first + PER_TAR), 1000):
                numbers = np.arange(start, min(count, start + 1000))
                for number, pixels in zip(numbers, make_images(source, numbers), strict=True):
                    sink = io.BytesIO()
                    Image.fromarray(pixels).save(sink, "png", compress_level=1)
                    info = tarfile.TarInfo(f"{number:08d}.png")
                    info.size = sink.tell()
                    sink.seek(0)
                    tar.addfile(info, sink)


def shaken(random: np.random.Generator, images: Images, delta: float) -> Images:
    """Return copies as a model makes them, with noise; some of them beyond delta."""
    level = random.uniform(0.1, 1.1, (len(images), 1, 1, 1)) * delta * 255
    noise = random.standard_normal(images.shape, dtype=np.float32) * level
    return np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)


def distances_by_brute_force(
    source: SyntheticSource, place: Path, count: int, images: Images
) -> NDArray[np.int64]:
    """Return the ssd of each image's nearest of the whole training set."""
    best = np.full(len(images), np.iinfo(np.int64).max)
    stored = np.load(place, mmap_mode="r") if place.suffix == ".npy" else None
    for start in range(0, count, 16384):
        numbers = np.arange(start, min(count, start + 16384))
        some = (
            make_images(source, numbers) if stored is None else np.array(stored[numbers[0] : numbers[-1] + 1])
        )
        best = np.minimum(best, memcore.knn(images, some, k=1).ssd[:, 0].astype(np.int64))
    return best


def timed(guard: OutputFilter, batches: list[Images]) -> tuple[dict[str, Any], list[Any]]:
    """Return what an image takes, in ms, and the decisions.

    The time of the processor is that of this thread, which does all the work; on a machine that others use as well it is
    what says how long a core takes.
    """
    clocks, decisions = [], []
    for batch in batches:
        start, cpu = time.perf_counter(), time.thread_time()
        decisions.append(guard.check(batch))
        clocks.append((time.perf_counter() - start, time.thread_time() - cpu))
    each = np.array(clocks) * 1000 / len(batches[0])
    told: dict[str, Any] = {"calls": len(batches), "images_a_call": len(batches[0])}
    for name, values in zip(("wall_ms", "cpu_ms"), each.T, strict=True):
        p95 = np.quantile(values, 0.95)
        told[name] = {"mean": values.mean(), "median": np.median(values), "p95": p95}
        told[name] = {key: round(float(value), 3) for key, value in told[name].items()}
    return told, decisions


def run(folder: Path, kind: str, count: int, held: int, calls: int, sample: int) -> dict[str, Any]:
    source, random = SyntheticSource(count), np.random.default_rng(3)
    place = folder / ("train.npy" if kind == "npy" else "train")
    started = time.perf_counter()
    if not place.exists():
        made_at = place.with_name("unfinished")
        (write_npy if kind == "npy" else write_tars)(made_at, source, count)
        made_at.rename(place)
    made = time.perf_counter() - started
    started = time.perf_counter()
    build_index(folder / "index", open_source(place))
    built = time.perf_counter() - started
    first = make_images(source, count + np.arange(held))
    other = make_images(source, count + held + np.arange(held))

    started = time.perf_counter()
    chosen = OutputFilter.choose_delta(folder / "index", first, refused=0.01, threads=1)
    choosing = time.perf_counter() - started
    started = time.perf_counter()
    guard = OutputFilter(folder / "index", chosen.delta, threads=1)
    opened = time.perf_counter() - started

    parts = [other[i : i + 64] for i in range(0, held - 63, 64)]
    alone, _ = timed(guard, [other[i : i + 1] for i in range(calls)])
    sustained, found = timed(guard, parts)
    refused = [d.withheld for decisions in found for d in decisions]
    batches = [parts[i % len(parts)].copy() for i in range(calls)]
    planted = [random.integers(0, count, 4) for _ in batches]
    for batch, rows in zip(batches, planted, strict=True):
        batch[::16] = shaken(random, make_images(source, rows), chosen.delta)
    with_copies, decisions = timed(guard, batches)
    copies, _ = timed(guard, [batch[:1] for batch in batches])

    checked = np.concatenate(batches)[:sample]
    verdicts = [d for found in decisions for d in found][:sample]
    limit = Threshold(chosen.delta).ssd_max(32 * 32 * 3)
    truth = distances_by_brute_force(source, place, count, checked) <= limit
    passed = [t and d.verdict is Verdict.PASSED for t, d in zip(truth, verdicts, strict=True)]
    wrong = sum(bool(t) != (d.verdict is Verdict.COPY) for t, d in zip(truth, verdicts, strict=True))
    assert wrong == 0, f"{wrong} decisions differ from brute force"
    low, high = clopper_pearson(sum(refused), len(refused))
    return {
        "images": count,
        "kind": kind,
        "source_bytes": sum(f.stat().st_size for f in [place, *place.rglob("*")] if f.is_file()),
        "index_bytes": sum(f.stat().st_size for f in (folder / "index").rglob("*") if f.is_file()),
        "made_s": round(made, 1),
        "built_s": round(built, 1),
        "chosen": str(chosen),
        "choosing_s": round(choosing, 1),
        "opened_s": round(opened, 2),
        "held_out": {
            "refused": sum(refused),
            "of": len(refused),
            "interval": [round(low, 5), round(high, 5)],
        },
        "new_images": sustained,
        "with_planted_copies": with_copies,
        "single_new": alone,
        "single_copies": copies,
        "compared_with_brute_force": len(verdicts),
        "copies_among_them": int(truth.sum()),
        "copies_that_passed": int(sum(passed)),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "processor": processor(),
        "others_running": others_running(),
        "load": [round(v, 2) for v in os.getloadavg()],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--kind", choices=("npy", "png"), default="npy")
    parser.add_argument("--held", type=int, default=5000, help="held-out images, of each of two parts")
    parser.add_argument("--calls", type=int, default=64)
    parser.add_argument(
        "--sample", type=int, default=512, help="decisions that are compared with brute force"
    )
    parser.add_argument(
        "--folder", type=Path, help="where a temporary folder is made, with room for 4 KB an image"
    )
    a = parser.parse_args()
    folder = a.folder or Path(tempfile.mkdtemp(prefix="memcore-guard-"))
    try:
        with one_thread():
            record = run(folder, a.kind, a.images, a.held, a.calls, a.sample)
        print(json.dumps(record, indent=1))
    finally:
        if a.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
