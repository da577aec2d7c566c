"""Memory and descriptors are bounded, however many files there are and whatever their headers claim."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memcore.cli import main
from memcore.errors import MemcoreError
from memcore.graphs.prompt_graph import PromptGraph
from memcore.images.in_flight import ByteBudget
from memcore.sources import by_prompt
from memcore.sources.by_prompt import StoredPrompts
from memcore.sources.in_memory import read_training_set
from tests.support.odd_sets import SIDE, picture
from tests.support.peak import has_peak, peak_of
from tests.support.stored_sets import encoded

GIB = 1 << 30
SIDE_LARGE, COUNT = 4096, 44  # 48 MiB each: 2 GiB of pixels
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
by_prompt.KEPT_BYTES = 1 << 28
stored = by_prompt.StoredPrompts(Path(sys.argv[1]), threads=2)
graph = PromptGraph(stored.image_shape, 0.15, channels="last", **stored.images_in(0))
read = sum(len(seeds) for seeds, _ in stored.feed(0, graph))
assert (read, len(graph.graph())) == (int(sys.argv[2]), 0)
"""


def write_large(folder: Path, count: int) -> Path:
    """Write images of one colour, of a few bytes each, that are large."""
    folder.mkdir()
    sink = io.BytesIO()
    Image.new("RGB", (SIDE_LARGE, SIDE_LARGE), (1, 2, 3)).save(sink, "webp", lossless=True)
    for i in range(count):
        (folder / f"{i:03d}.webp").write_bytes(sink.getvalue())
    return folder


@measured
def test_an_index_of_large_images(tmp_path: Path) -> None:
    """Up to 1,000 decoded images were held: A-D13."""
    folder = write_large(tmp_path / "large", COUNT)
    assert peak_of(INDEX, tmp_path / "index", folder) < GIB


@measured
def test_a_training_set_is_held_once(tmp_path: Path) -> None:
    count = 12
    folder = write_large(tmp_path / "large", count)
    assert peak_of(MATCH, folder, count) < 2 * count * 3 * SIDE_LARGE**2


@measured
def test_a_prompt_of_large_images(tmp_path: Path) -> None:
    folder = write_large(tmp_path / "large", 24)
    assert peak_of(FILTER, folder, 24) < 24 * 3 * SIDE_LARGE**2


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
    monkeypatch.setattr(by_prompt, "DECODED_BYTES", 3000)
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


def read_all_ways(path: Path) -> list[str]:
    """Read a file as a filter and as a match do; return how each refuses it, or fail with what it raises instead."""
    told = []
    for read in (read_training_set, StoredPrompts):
        try:
            made = read(path)
            if isinstance(made, StoredPrompts):
                told += [
                    entry["reason"]
                    for i in range(len(made.prompts))
                    for *_, gone in made.read(i)
                    for entry in gone
                ]
        except MemcoreError as error:
            told.append(str(error))
    return told


def sparse_header(name: bytes, size: int, kind: bytes) -> bytes:
    """Return a tar header as it claims a content of this size."""
    member = tarfile.TarInfo(name.decode())
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


@measured
@pytest.mark.parametrize(
    "kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK]
)
def test_a_long_header_of_an_archive_is_not_read(kind: bytes, tmp_path: Path) -> None:
    """A name or a comment of 2 GiB, in a file with holes."""
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        file.write(sparse_header(b"x", 2 * GIB, kind))
        file.truncate(2 * GIB + 4096)
    program = """
import sys
from pathlib import Path
from memcore.errors import ConfigError
from memcore.sources.in_memory import read_training_set
try:
    read_training_set(Path(sys.argv[1]))
except ConfigError as error:
    assert "not one readable image" in str(error), error
"""
    assert peak_of(program, path) < GIB // 2


def test_an_old_sparse_header_that_the_archive_ends_in(tmp_path: Path) -> None:
    header = bytearray(sparse_header(b"0.png", 100, b"S"))
    header[482] = 1  # its list of pieces goes on in the next block, which is missing
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:]) + 8 * 32)
    (tmp_path / "a.tar").write_bytes(bytes(header))
    assert read_all_ways(tmp_path / "a.tar")


@measured
def test_a_long_header_of_an_array_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        file.write(b"\x93NUMPY\x02\x00" + struct.pack("<I", 2 * GIB - 64))
        file.truncate(2 * GIB)
    program = """
import sys
from pathlib import Path
from memcore.images import UnreadableImage
from memcore.sources.npy_file import read_header
try:
    read_header(Path(sys.argv[1]))
except UnreadableImage as error:
    assert error.reason == "unreadable"
"""
    assert peak_of(program, path) < GIB // 2


@measured
@pytest.mark.parametrize("suffix", [".txt", ".csv", ".jsonl"])
def test_a_line_without_an_end_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"p{suffix}"
    with path.open("wb") as file:
        file.write(b"prompt\n")
        file.truncate(GIB)
    program = """
import sys
from pathlib import Path
from memcore.errors import ConfigError
from memcore.runs.prompts import read_prompts
try:
    list(read_prompts(Path(sys.argv[1])))
except ConfigError as error:
    assert "line" in str(error), error
else:
    raise AssertionError
"""
    assert peak_of(program, path) < GIB // 2


DEEP = "[" * 200_000


def test_json_that_is_nested_too_deep_is_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each file of JSON or TOML that a command reads, in the place of a run's or an index's own."""
    np.save(tmp_path / "g.npy", np.random.default_rng(0).integers(0, 256, (2, 12, 8, 8, 3), dtype=np.uint8))
    run, index = tmp_path / "run", tmp_path / "index"
    main(["filter", str(run), "--images", str(tmp_path / "g.npy"), "--workers", "1", "--quiet"])
    main(["index", str(index), "--source", str(tmp_path / "g.npy"), "--quiet"])
    main(["match", str(run), "--index", str(index)])
    (tmp_path / "deep.json").write_text(DEEP)
    (tmp_path / "deep.toml").write_text("a = " + DEEP)
    (manifest,) = (
        (run / "manifest").glob("*.json")
        if len(list((run / "manifest").glob("*.json"))) == 1
        else sorted((run / "manifest").glob("*.json"))[:1]
    )
    cases = [
        (run / "match.json", ["report", str(run)]),
        (run / "evaluation.json", ["report", str(run)]),
        (manifest, ["status", str(run)]),
        (run / "run.toml", ["status", str(run)]),
        (index / "index.json", ["index", str(index), "--verify"]),
        (index / "shard-000000" / "shard.json", ["index", str(index), "--verify"]),
        (None, ["evaluate", str(run), "--truth", str(tmp_path / "deep.json")]),
        (None, ["filter", str(tmp_path / "new"), "--config", str(tmp_path / "deep.toml"), "--images", "x"]),
        (None, ["audit", str(tmp_path / "new"), "--sampler", "a:b", "--sampler-options", DEEP]),
    ]
    for file, words in cases:
        held = file.read_bytes() if file is not None and file.exists() else None
        if file is not None:
            file.write_text(f"a = {DEEP}" if file.suffix == ".toml" else DEEP)
        capsys.readouterr()
        assert main(words) in (1, 2), words
        assert "nested too deep" in capsys.readouterr().err or file is not None, words
        if file is not None:
            file.unlink() if held is None else file.write_bytes(held)
    assert json.loads((run / "match.json").read_text())["count"] == 24


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
