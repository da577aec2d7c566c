"""A journal's records are what was appended, or they are recognised as lost: never anything else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from memcore.engine.journal import Journal
from memcore.errors import StoreError
from memcore.storage.base import Storage
from memcore.storage.local import LocalStorage
from memcore.storage.open import open_storage
from memcore.system import atomic_files
from tests.support.faulty_disk import FaultyDisk, QuickDisk

TASK = "shard-0000000-abc"
KEY = "digest of the run"
PAYLOADS = [b"first", b"", bytes(range(200)), b"last"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_files, "disk", QuickDisk())


def write(storage: Storage, payloads: list[bytes] = PAYLOADS, **options: Any) -> None:
    journal = Journal(storage, TASK, KEY, **options)
    for number, payload in enumerate(payloads):
        journal.append({"n": number}, [payload[:2], payload[2:]])
    journal.sync()


def read(storage: Storage, task: str = TASK, key: str = KEY) -> tuple[list[tuple[int, bytes]], list[str]]:
    """What counts of a journal, and what is said of the rest."""
    journal = Journal(storage, task, key)
    found = [(record.head["n"], journal.read(record)) for record in journal.records]
    return [(n, data) for n, data in found if data is not None], journal.lost


WHOLE = list(enumerate(PAYLOADS))


@pytest.mark.parametrize("place", ["local", "memory"])
@pytest.mark.parametrize("sync", ["record", "interval"])
def test_what_was_appended_is_read(tmp_path: Path, place: str, sync: str) -> None:
    where = tmp_path / "run" if place == "local" else f"memory://{tmp_path.name}/run"
    if place == "memory":
        pytest.importorskip("fsspec", reason="the extra s3 is not installed")
    storage = open_storage(where)
    write(storage, sync=sync)
    write(storage, [b"again"], sync=sync)
    assert read(storage) == ([*WHOLE, (0, b"again")], [])
    journal = Journal(storage, TASK, KEY)
    assert list(journal.segments) == [0, 1]
    journal.remove([0])
    assert read(storage) == ([(0, b"again")], [])
    Journal(storage, TASK, KEY).remove([1])
    assert storage.names("partial") == []


def test_a_cut_at_every_byte(tmp_path: Path) -> None:
    """As a kill leaves it: the whole records before the cut count, and what is left out is said."""
    storage = LocalStorage(tmp_path)
    write(storage)
    (path,) = (tmp_path / "partial").iterdir()
    data = path.read_bytes()
    seen = set()
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        found, lost = read(storage)
        assert found == WHOLE[: len(found)]
        seen.add(len(found))
        assert bool(lost) == (cut not in _ends(data)), cut
        if lost:
            assert "ends in the middle of a record" in lost[0]
    assert seen == {0, 1, 2, 3}


def _ends(data: bytes) -> set[int]:
    """The positions at which a record ends."""
    starts = [i for i in range(len(data)) if data.startswith(b"mcj1", i)]
    return {0, *starts, len(data)}


def test_a_flip_of_every_byte(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    write(storage)
    (path,) = (tmp_path / "partial").iterdir()
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        found, _ = read(storage)
        assert len(found) < len(WHOLE), at
        assert all(entry in WHOLE for entry in found), at


def test_records_of_others_do_not_count(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    write(storage)
    write(storage)
    first, second = sorted((tmp_path / "partial").iterdir())
    assert read(storage, key="digest of another run")[0] == []
    assert "of another run" in read(storage, key="digest of another run")[1][0]
    assert read(storage, task="shard-0000000-abd") == ([], [])
    whole = first.read_bytes()
    first.rename(first.with_name(first.name.replace("abc", "abd")))
    assert read(storage, task="shard-0000000-abd")[0] == []
    second.write_bytes(whole)  # a segment in place of another
    assert read(storage)[0] == []
    third = second.with_name(second.name.replace("000001", "000000"))
    half = whole.index(b"mcj1", 1)
    third.write_bytes(whole[half:] + whole[:half])  # records in another order
    second.unlink()
    assert read(storage)[0] == []


def test_the_layout_is_the_documented_one(tmp_path: Path) -> None:
    """As docs/formats.md has it, read without memcore's code."""
    write(LocalStorage(tmp_path), [b"some", b"thing"])
    (path,) = (tmp_path / "partial").iterdir()
    assert path.name == f"{TASK}.000000.journal"
    data, at = path.read_bytes(), 0
    for number, payload in enumerate([b"some", b"thing"]):
        head = data[at + 80 : at + 80 + int.from_bytes(data[at + 4 : at + 8])]
        end = at + 80 + len(head) + int.from_bytes(data[at + 8 : at + 16])
        assert data[at : at + 4] == b"mcj1"
        assert json.loads(head) == {"n": number}
        assert data[end - len(payload) : end] == payload
        content = hashlib.sha256(payload).digest()
        assert data[at + 16 : at + 48] == content
        texts = [KEY, f"partial/{path.name}", str(number), str(len(head)), str(len(payload))]
        place = "".join(f"{text}\0" for text in texts).encode()
        assert data[at + 48 : at + 80] == hashlib.sha256(place + content + head).digest()
        at = end
    assert at == len(data)


@pytest.mark.parametrize(("sync", "syncs"), [("record", len(PAYLOADS)), ("interval", 1)])
def test_when_records_are_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: Any, syncs: int
) -> None:
    disk = FaultyDisk()
    monkeypatch.setattr(atomic_files, "disk", disk)
    journal = Journal(LocalStorage(tmp_path), TASK, KEY, sync=sync)
    for payload in PAYLOADS:
        journal.append({}, [payload])
        assert (disk.calls[-1] in ("sync", "sync_folder")) == (sync == "record"), "before append returns"
    journal.sync()
    assert disk.calls.count("sync") == syncs
    assert disk.calls.count("sync_folder") >= 1, "a power cut would take the file's name"


def test_a_fault_at_every_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was appended before and after the fault counts; what was appended then does not, or does whole."""
    calls = FaultyDisk()
    monkeypatch.setattr(atomic_files, "disk", calls)
    write(LocalStorage(tmp_path / "whole"))
    for at, name in enumerate(calls.calls):
        monkeypatch.setattr(atomic_files, "disk", FaultyDisk(at, "short"))
        storage = LocalStorage(tmp_path / f"{at}")
        journal = Journal(storage, TASK, KEY)
        failed = set()
        for number, payload in enumerate(PAYLOADS):
            try:
                journal.append({"n": number}, [payload])
            except StoreError:
                failed.add(number)
        try:
            journal.sync()
        except StoreError:
            failed |= set(range(len(PAYLOADS)))
        found = read(storage)[0]
        assert all(entry in WHOLE for entry in found), (at, name)
        assert {n for n, _ in found} >= set(range(len(PAYLOADS))) - failed, (at, name)
