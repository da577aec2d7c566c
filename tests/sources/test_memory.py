"""Memory and descriptors are bounded, however many files there are and whatever their headers claim."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memcore.graphs.prompt_graph import PromptGraph
from memcore.images.in_flight import ByteBudget
from memcore.sources import buffers, by_prompt
from memcore.sources.by_prompt import StoredPrompts
from memcore.sources.in_memory import read_training_set
from tests.support.odd_sets import SIDE, picture
from tests.support.peak import has_peak, peak_of
from tests.support.stored_sets import encoded

SIDE_LARGE = 2048
LARGE = 3 * SIDE_LARGE**2  # bytes of pixels
measured = pytest.mark.skipif(not has_peak(), reason="this system does not tell the peak memory of a process")

INDEX = """
import sys
from memcore.cli import main
assert main(["index", sys.argv[1], "--source", sys.argv[2], "--quiet"]) == 0
"""
MATCH = """
import sys
from pathlib import Path
from memcore.sources.in_memory import read_training_set
assert len(read_training_set(Path(sys.argv[1])).images) == int(sys.argv[2])
"""
FILTER = """
import sys
from pathlib import Path
import memcore.sources.by_prompt as by_prompt
from memcore.graphs.prompt_graph import PromptGraph
by_prompt.KEPT_BYTES = 1 << 26
stored = by_prompt.StoredPrompts(Path(sys.argv[1]), threads=2)
graph = PromptGraph(stored.image_shape, 0.15, channels="last", **stored.images_in(0))
read = sum(len(seeds) for seeds, _ in stored.feed(0, graph))
assert (read, len(graph.graph())) == (int(sys.argv[2]), 0)
"""


def write_large(folder: Path, count: int) -> Path:
    """Write large images of a few bytes each: of 16 tiles that are black or white, in another way in each."""
    folder.mkdir()
    for i in range(1, count + 1):
        tiles = np.array([i >> bit & 1 for bit in range(16)], np.uint8).reshape(4, 4) * 255
        grey = Image.fromarray(tiles).resize((SIDE_LARGE, SIDE_LARGE), Image.Resampling.NEAREST)
        grey.convert("RGB").save(folder / f"{i:03d}.png", compress_level=1)
    return folder


@measured
def test_an_index_of_large_images(tmp_path: Path) -> None:
    """Up to 1,000 decoded images were held: A-D13."""
    count = 76
    folder = write_large(tmp_path / "large", count)
    assert peak_of(INDEX, tmp_path / "index", folder) < 0.75 * count * LARGE


@measured
def test_a_training_set_is_held_once(tmp_path: Path) -> None:
    count = 24
    folder = write_large(tmp_path / "large", count)
    assert peak_of(MATCH, folder, count) < 2.5 * count * LARGE


@measured
def test_a_prompt_of_large_images(tmp_path: Path) -> None:
    count = 40
    folder = write_large(tmp_path / "large", count)
    assert peak_of(FILTER, folder, count) < count * LARGE


@pytest.mark.parametrize("threads", [1, 3])
def test_a_prompt_that_is_not_kept_has_the_same_graph(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    (tmp_path / "a").mkdir()
    for i in range(40):
        image = base.copy() if i % 3 else rng.integers(0, 256, base.shape, dtype=np.uint8)
        image[0, 0, 0] = i
        data = b"damaged" if i == 11 else encoded(image if i != 7 else np.full_like(base, 7))
        (tmp_path / "a" / f"{i:02d}.png").write_bytes(data)

    def read() -> tuple[object, ...]:
        stored = StoredPrompts(tmp_path, threads=threads)
        graph = PromptGraph(stored.image_shape, 0.15, channels="last", **stored.images_in(0))
        told = list(stored.feed(0, graph))
        seeds = [seed for own, _ in told for seed in own]
        gone = [entry["source"] for _, some in told for entry in some]
        found = graph.graph()
        pixels = [graph.pixels(i).tolist() for i in (0, 5, 38)]
        return seeds, gone, found.edges.tolist(), found.ssd.tolist(), graph.excluded, pixels

    kept = read()
    monkeypatch.setattr(by_prompt, "KEPT_BYTES", 0)
    monkeypatch.setattr(buffers, "DECODED_BYTES", 3000)
    assert read() == kept
    assert len(kept[2]) == 276  # type: ignore[arg-type]  # of 24 near-identical images


def test_a_budget_admits_one_of_any_size_and_no_more_than_fit() -> None:
    import threading

    budget = ByteBudget(10)
    most = held = 0
    lock = threading.Lock()

    def work(size: int) -> None:
        nonlocal most, held
        with budget.hold(size):
            with lock:
                held += size
                most = max(most, held)
            with lock:
                held -= size

    threads = [threading.Thread(target=work, args=(4,)) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most <= 10
    work(99)
    assert most == 99


def test_few_descriptors_are_enough_for_many_files(tmp_path: Path) -> None:
    """An open file for each would be far more than the 60 that are allowed."""
    rng = np.random.default_rng(0)
    sets = []
    for kind in ("images", "tars", "parquet", "arrays"):
        (tmp_path / kind).mkdir()
        sets.append(tmp_path / kind)
    import pyarrow as pa
    import pyarrow.parquet as pq

    for i in range(120):
        data = picture(rng)
        (tmp_path / "images" / f"{i}.png").write_bytes(data)
        np.save(tmp_path / "arrays" / f"{i}.npy", rng.integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8))
        pq.write_table(pa.table({"image": [data], "prompt": ["a"]}), tmp_path / "parquet" / f"{i}.parquet")
        with tarfile.open(tmp_path / "tars" / f"{i}.tar", "w") as tar:
            member = tarfile.TarInfo("0.png")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    program = """
import sys
from pathlib import Path
from memcore.index import build_index, open_source
from memcore.graphs.prompt_graph import PromptGraph
from memcore.sources import by_prompt
from memcore.sources.by_prompt import StoredPrompts
from memcore.sources.in_memory import read_training_set
for number, name in enumerate(sys.argv[2:]):
    path = Path(name)
    build_index(Path(sys.argv[1]) / str(number), open_source(path))
    assert len(read_training_set(path).images) >= 120
    stored = StoredPrompts(path)
    assert sum(len(seeds) for i in range(len(stored.prompts)) for _, seeds, _, _ in stored.read(i)) >= 120
"""
    peak_of(program, tmp_path / "index", *sets, limit_files=60)


def test_folders_nested_deeper_than_the_interpreter_recurses(tmp_path: Path) -> None:
    depth, rng = 1200, np.random.default_rng(0)
    root = tmp_path / "set"
    root.mkdir()
    (root / "0.png").write_bytes(picture(rng))
    before = Path.cwd()
    try:
        os.chdir(root)
        for _ in range(depth):
            os.mkdir("d")
            os.chdir("d")
        Path("1.png").write_bytes(picture(rng))
        coverage = read_training_set(root).coverage
    finally:
        os.chdir(before)
        subprocess.run(["rm", "-rf", root], check=True)  # what clears temporary folders recurses
    assert coverage is not None
    assert coverage["images"] == 2
