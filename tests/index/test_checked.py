"""Every file of an index is read through its digest, by the chunk, and none is mapped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import memcore
from memcore.errors import DamagedFileError, RunError
from memcore.index import Index, build_index, nearest, open_source, reader
from memcore.index.checked import CheckedFile
from memcore.storage.digests import CHUNK_BYTES, digest_bytes
from tests.support.index_sets import make_index, pictures, png, write_tar


def content(chunks: float, seed: int = 0) -> bytes:
    size = int(chunks * CHUNK_BYTES)
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8).tobytes()


def checked(path: Path, data: bytes) -> CheckedFile:
    path.write_bytes(data)
    return CheckedFile(path, digest_bytes(data))


def read(file: CheckedFile, start: int, size: int) -> bytes:
    out = np.empty(size, np.uint8)
    file.read_into(out, start)
    return out.tobytes()


@pytest.mark.parametrize("chunks", [0, 0.5, 1, 2, 3.3])
def test_any_range_is_what_was_written(tmp_path: Path, chunks: float) -> None:
    data = content(chunks)
    file = checked(tmp_path / "a", data)
    file.check()
    assert file.read().tobytes() == data
    rng = np.random.default_rng(1)
    for _ in range(20):
        a, b = sorted(rng.integers(0, len(data) + 1, 2).tolist())
        assert read(file, a, b - a) == data[a:b]
    starts = rng.integers(0, max(1, len(data) - 50), 30 if data else 0)
    out = np.empty((len(starts), 50), np.uint8)
    again = CheckedFile(tmp_path / "a", digest_bytes(data))  # nothing of it is checked yet
    again.read_rows(out, starts)
    assert [row.tobytes() for row in out] == [data[a : a + 50] for a in starts.tolist()]


def test_damage_is_seen_in_its_chunk_alone(tmp_path: Path) -> None:
    data = content(3.3)
    file = checked(tmp_path / "a", data)
    broken = bytearray(data)
    broken[2 * CHUNK_BYTES + 5] ^= 1
    (tmp_path / "a").write_bytes(broken)
    assert read(file, 0, 2 * CHUNK_BYTES) == data[: 2 * CHUNK_BYTES]
    assert read(file, 3 * CHUNK_BYTES + 7, 10) == data[3 * CHUNK_BYTES + 7 :][:10]
    for start in (2 * CHUNK_BYTES - 1, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES - 2):
        with pytest.raises(DamagedFileError, match="chunk 2"):
            read(file, start, 3)
        with pytest.raises(DamagedFileError, match="chunk 2"):
            file.read_rows(np.empty((2, 3), np.uint8), np.array([0, start]))


def test_a_file_that_changes_after_it_was_checked(tmp_path: Path) -> None:
    data = content(2)
    file = checked(tmp_path / "a", data)
    file.check()
    os.utime(tmp_path / "a", ns=(1, 1))
    assert file.read().tobytes() == data
    (tmp_path / "a").write_bytes(content(2, seed=1))
    os.utime(tmp_path / "a", ns=(1, 1))
    with pytest.raises(DamagedFileError, match="chunk 0"):
        read(file, 5, 1)
    for broken, what in ((data[:-1], "another size"), (data + b"x", "another size")):
        (tmp_path / "a").write_bytes(broken)
        with pytest.raises(DamagedFileError, match=what):
            read(file, 5, 1)
    (tmp_path / "a").unlink()
    with pytest.raises(DamagedFileError, match="missing"):
        read(file, 5, 1)


@pytest.fixture
def unheld(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep nothing in memory, as for an index that is larger than what may stay there."""
    monkeypatch.setattr(reader, "_HELD_BYTES", 0)


def test_what_does_not_fit_into_memory_is_read_again(tmp_path: Path, unheld: None) -> None:
    images = pictures(700, side=32)
    index = make_index(tmp_path, images, shard_images=300, coarse=16, fine=32)
    assert index.shards[0].fine.file.size < CHUNK_BYTES
    queries = images[[3, 650]] // 2 + 60
    want = memcore.knn(queries, images, 6)
    assert (nearest(index, queries, 6).indices == want.indices).all()
    (tmp_path / "more").mkdir()
    large = make_index(tmp_path / "more", np.tile(images, (2, 1, 1, 1)), fine=32)
    assert large.shards[0].fine.file.size > 2 * CHUNK_BYTES
    rows = np.array([0, 1399, 7, 700])
    fine = large.shards[0].fine
    assert (fine.take(rows) == fine.load()[rows]).all()
    assert (fine.slice(690, 710) == fine.load()[690:710]).all()
    assert (nearest(large, queries, 3).indices[:, 0] == want.indices[:, 0]).all()


@pytest.mark.parametrize("name", ["coarse.npy", "fine.npy", "places.npy"])
@pytest.mark.parametrize("held", [True, False])
def test_a_file_that_is_cut_or_changed_while_it_is_used(
    tmp_path: Path, name: str, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A-D15: it was mapped, so that the process was killed, and a header of the same size gave an IndexError."""
    if not held:
        monkeypatch.setattr(reader, "_HELD_BYTES", 0)
    images = pictures(60)
    index = make_index(tmp_path, images, shard_images=20)
    file = tmp_path / "index" / "shard-000001" / name
    whole = file.read_bytes()
    changes: list[Callable[[], object]] = [
        lambda: os.truncate(file, 100),
        lambda: os.truncate(file, 0),
        lambda: file.write_bytes(whole.replace(b"(20,", b"(19,")),
        lambda: file.write_bytes(whole[:-1] + b"\x99"),
        file.unlink,
    ]
    for change in changes:
        file.write_bytes(whole)
        opened = Index.open(tmp_path / "index")
        change()
        with pytest.raises(DamagedFileError, match=f"shard-000001/{name} is damaged"):
            nearest(opened, images[:3], 25)
        with pytest.raises(RunError, match="is damaged"):
            Index.open(tmp_path / "index")
    file.write_bytes(whole)
    assert (nearest(index, images[:3], 1).indices.ravel() == [0, 1, 2]).all()


def test_an_array_that_is_cut_while_it_is_indexed_or_matched(tmp_path: Path) -> None:
    """A-D15, the source: it is read, not mapped."""
    code = """
import os, sys
import numpy as np
from pathlib import Path
from memcore.index import Index, build_index, open_source
path, index = map(Path, sys.argv[1:])
def cut(images, broken):
    os.truncate(path, os.path.getsize(path) // 2)
build_index(index, open_source(path), progress=cut)
opened = Index.open(index)
try:
    opened.check_sources()
except Exception as error:
    print(type(error).__name__, error)
"""
    np.save(tmp_path / "a.npy", pictures(3000, side=32))
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.npy"), str(tmp_path / "index")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "RunError" in done.stdout
    assert "a.npy has changed since" in done.stdout


def test_every_flipped_bit_of_an_index_is_noticed(tmp_path: Path) -> None:
    """Format 3: also of what names the files and their digests. A sample of all bits of all files."""
    (tmp_path / "data").mkdir()
    for i, pixels in enumerate(pictures(5)):
        (tmp_path / "data" / f"{i}.png").write_bytes(png(pixels))
    (tmp_path / "data" / "5.png").write_bytes(b"broken")
    build_index(tmp_path / "index", open_source(tmp_path / "data"), shard_images=3)
    write_tar(tmp_path / "t" / "a.tar", pictures(4, seed=5))
    build_index(tmp_path / "index", open_source(tmp_path / "t"), shard_images=3)
    files = [
        file for file in sorted((tmp_path / "index").rglob("*")) if file.is_file() and file.name != ".lock"
    ]
    names = {file.name for file in files}
    assert names >= {"index.json", "shard.json", "files.npy", "text.parquet", "quarantine.parquet"}
    rng = np.random.default_rng(0)
    for file in files:
        whole = file.read_bytes()
        for bit in rng.integers(0, len(whole) * 8, 12).tolist():
            data = bytearray(whole)
            data[bit // 8] ^= 1 << bit % 8
            file.write_bytes(data)
            with pytest.raises(RunError):
                Index.open(tmp_path / "index")
        file.unlink()
        with pytest.raises(RunError):
            Index.open(tmp_path / "index")
        file.write_bytes(whole)
    assert len(Index.open(tmp_path / "index")) == 9


def test_a_shard_of_another_index_is_refused(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 1)):
        (tmp_path / name).mkdir()
        make_index(tmp_path / name, pictures(20, seed=seed), shard_images=10)
    mine, theirs = (tmp_path / name / "index" / "shard-000001" for name in ("one", "two"))
    mine.rename(tmp_path / "away")
    theirs.rename(mine)
    with pytest.raises(DamagedFileError, match=r"shard\.json is damaged: it is not the one"):
        Index.open(tmp_path / "one" / "index")


def test_what_is_recorded(tmp_path: Path) -> None:
    """What the checks of an index rest on, as docs/formats.md has it."""
    make_index(tmp_path, pictures(20), shard_images=10)
    meta = json.loads((tmp_path / "index" / "index.json").read_text())
    shard = json.loads((tmp_path / "index" / "shard-000000" / "shard.json").read_text())
    assert (meta["format"], shard["format"]) == (3, 3)
    assert set(shard["files"]) == {"coarse.npy", "fine.npy", "places.npy"}
    for name, digest in shard["files"].items():
        assert digest == digest_bytes((tmp_path / "index" / "shard-000000" / name).read_bytes())
    (part,) = meta["sources"][0]["parts"]
    assert set(part) == {"name", "bytes", "modified", "sample"}
    assert len(meta["sources"][0]["made"]) == 2
