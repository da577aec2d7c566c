"""One contract for a folder and an object store: what is written is read back, whole or not at all."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from memcore.errors import RunError, StoreError
from memcore.storage import remote
from memcore.storage.base import Storage
from memcore.storage.local import LocalStorage
from memcore.storage.open import open_storage
from memcore.system import atomic_files


@pytest.fixture(scope="module")
def bucket(s3_server: str) -> Iterator[str]:
    """A bucket of an S3 server on this machine."""
    import fsspec

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", s3_server)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        fsspec.filesystem("s3").mkdir("stored")
        yield "s3://stored"


@pytest.fixture(params=["folder", "object store"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return open_storage(tmp_path / "files")
    bucket: str = request.getfixturevalue("bucket")
    return open_storage(f"{bucket}/{tmp_path.name}")


def test_files(storage: Storage) -> None:
    assert storage.names() == []
    assert not storage.exists("a/b")
    with pytest.raises(FileNotFoundError):
        storage.read("a/b")
    storage.write("a/b", b"1")
    storage.write("a/b", b"22")
    assert storage.read("a/b") == b"22"
    assert storage.write_new("a/b", b"333") is False
    assert storage.write_new("a/c", b"333") is True
    assert storage.names("a") == ["b", "c"]
    with storage.open("a/c") as file:
        file.seek(1)
        assert file.read() == b"33"
    storage.remove("a/b")
    storage.remove("a/b")
    assert storage.names("a") == ["c"]
    with storage.lock():
        storage.clean()
    assert storage.read("a/c") == b"333"


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 6_000_000])
def test_a_file_is_copied_in_pieces(storage: Storage, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever its last piece ends, and wherever it was read to before."""
    monkeypatch.setattr(atomic_files, "PIECE_BYTES", 1000)
    monkeypatch.setattr(remote, "PIECE_BYTES", 1000)
    data = bytes(i % 251 for i in range(size))
    source = io.BytesIO(data)
    source.seek(size // 2)
    storage.write_from("copied", source)
    assert storage.read("copied") == data


class Broken(io.BytesIO):
    """Fails after three pieces."""

    pieces = 0

    def read(self, size: int | None = -1) -> bytes:
        self.pieces += 1
        if self.pieces > 3:
            raise OSError(5, "the disk is broken")
        return super().read(size)


def test_a_copy_that_fails_leaves_what_was_there(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_files, "PIECE_BYTES", 1000)
    monkeypatch.setattr(remote, "PIECE_BYTES", 1000)
    with pytest.raises(StoreError, match="copied cannot be written"):
        storage.write_from("copied", Broken(bytes(10_000)))
    assert storage.names() == []
    storage.write("copied", b"before")
    with pytest.raises(StoreError, match="what is finished stays"):
        storage.write_from("copied", Broken(bytes(10_000)))
    assert storage.read("copied") == b"before"
    assert storage.names() == ["copied"]


def test_it_is_handed_to_another_process(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A relative path stays right where the working directory is another."""
    if isinstance(storage, LocalStorage):
        monkeypatch.chdir(tmp_path)
        storage = open_storage("files")
    storage.write("a", b"1")
    sent = pickle.dumps(storage)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    handed: Storage = pickle.loads(sent)
    assert handed.read("a") == b"1"


def test_a_folder_is_locked(tmp_path: Path) -> None:
    """As a whole against all, in parts against the same part."""
    storage = LocalStorage(tmp_path / "files")
    with storage.lock(), pytest.raises(RunError, match="another memcore process"), storage.lock((1, 2)):
        pass
    with storage.lock((1, 2)), storage.lock((2, 2)):
        with pytest.raises(RunError, match="another memcore process"), storage.lock():
            pass
        with pytest.raises(RunError, match="another memcore process"), storage.lock((1, 2)):
            pass
    with storage.lock():
        pass
