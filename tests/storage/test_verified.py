"""A file is checked as it is read: what was recorded comes out, however it is asked for, and nothing else."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memcore.errors import DamagedFileError
from memcore.storage import digests
from memcore.storage.digests import digest_bytes
from memcore.storage.local import LocalStorage
from memcore.storage.verified import VerifiedFile, open_verified, read_verified

CHUNK = 64
DATA = bytes(range(256)) * 3 + b"the end"


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "CHUNK_BYTES", CHUNK)
        yield


@given(st.lists(st.tuples(st.integers(0, len(DATA) + 9), st.integers(-1, 200)), max_size=20))
def test_any_seeks_and_reads_are_those_of_the_file(steps: list[tuple[int, int]]) -> None:
    plain, checked = io.BytesIO(DATA), VerifiedFile(io.BytesIO(DATA), digest_bytes(DATA), "f")
    buffered = io.BufferedReader(checked)
    for place, size in steps:
        assert buffered.seek(place) == plain.seek(place)
        assert buffered.read(size) == plain.read(size)
        assert buffered.tell() == plain.tell()


def test_only_what_is_used_is_checked() -> None:
    changed = bytearray(DATA)
    changed[5 * CHUNK + 3] ^= 1
    file = VerifiedFile(io.BytesIO(bytes(changed)), digest_bytes(DATA), "run/f", "do this")
    file.seek(4 * CHUNK)
    assert file.read(CHUNK) == DATA[4 * CHUNK : 5 * CHUNK]
    with pytest.raises(DamagedFileError, match=r"run/f is damaged: the sha256 of its chunk 5 .*; do this"):
        file.read(1)
    file.seek(-3, io.SEEK_END)
    assert file.read() == b"end"


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"\0", b""])
def test_another_size_is_noticed_at_once(data: bytes) -> None:
    with pytest.raises(DamagedFileError, match=f"it has {len(data)} bytes where {len(DATA)} were recorded"):
        VerifiedFile(io.BytesIO(data), digest_bytes(DATA), "f")


def test_a_file_that_is_changed_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(DATA)
    with path.open("rb", buffering=0) as file:
        checked = VerifiedFile(file, digest_bytes(DATA), "f")
        assert checked.read(CHUNK) == DATA[:CHUNK]
        path.write_bytes(bytes(len(DATA)))
        with pytest.raises(DamagedFileError):
            checked.read(CHUNK)


def test_an_empty_file() -> None:
    assert VerifiedFile(io.BytesIO(), digest_bytes(b""), "f").read() == b""


def test_parquet_is_read_through_it(tmp_path: Path) -> None:
    table = pa.table({"prompt": [f"prompt {n}" for n in range(3000)]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=500)
    storage = LocalStorage(tmp_path)
    data = storage.read("t.parquet")
    file = pq.ParquetFile(open_verified(storage, "t.parquet", digest_bytes(data)), pre_buffer=False)
    assert file.read_row_group(3, use_threads=False).equals(table.slice(1500, 500))


def test_a_whole_file(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.write("f", DATA)
    assert read_verified(storage, "f", digest_bytes(DATA)) == DATA
    with pytest.raises(DamagedFileError, match=f"{tmp_path}/f is damaged"):
        read_verified(storage, "f", digest_bytes(DATA[1:]))
    with pytest.raises(DamagedFileError, match=f"{tmp_path}/g is missing; make it"):
        read_verified(storage, "g", digest_bytes(DATA), "make it")
