"""Files in an object store, through fsspec: each is uploaded whole or not at all."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

from memcore.errors import MissingExtraError, RunError, StoreError
from memcore.storage.base import Holder, Part
from memcore.system.atomic_files import Bytes
from memcore.system.credentials import redact
from memcore.system.plain_files import open_plain

#: Bytes of a file that are in memory at a time while it is uploaded.
PIECE_BYTES = 8 << 20


class ObjectStorage:
    """A prefix of a bucket. Endpoint and credentials come from the environment, as fsspec's drivers read them.

    There are no locks: two launchers on one run write the same bytes twice.
    """

    def __init__(self, url: str) -> None:
        self.place = url.rstrip("/")
        if redact(self.place) != self.place:
            raise RunError("run must be a URL without a password: give it through the environment")
        try:
            import fsspec
        except ImportError:
            raise MissingExtraError("fsspec", "s3", "A run in an object store") from None
        try:
            filesystem, self._root = fsspec.core.url_to_fs(self.place, use_listings_cache=False)
        except ImportError as error:
            raise MissingExtraError("s3fs", "s3", f"A run at {self.place} ({error})") from None
        except ValueError as error:
            raise RunError(f"run={self.place} names no place that fsspec knows: {error}") from None
        self._fs: Any = filesystem
        # of a folder of this machine fsspec would wait for a pipe, and read a device for ever
        self._local = "file" in _protocols(filesystem)

    def __repr__(self) -> str:
        """Return one line."""
        return f"ObjectStorage({self.place!r})"

    def __reduce__(self) -> tuple[type[ObjectStorage], tuple[str]]:
        """Pickle the URL alone: each process connects by itself."""
        return ObjectStorage, (self.place,)

    def read(self, name: str) -> bytes:
        """Return the whole file."""
        if self._local:
            with self.stream(name) as file, self._reaching(name):
                return file.read()
        with self._reaching(name):
            data: bytes = self._fs.cat_file(self._path(name))
        return data

    def open(self, name: str) -> IO[bytes]:
        """Return the whole file, in memory."""
        return io.BytesIO(self.read(name))

    def stream(self, name: str) -> IO[bytes]:
        """Open the file to read pieces of it. Raises FileNotFoundError, StoreError; its reads may raise any error."""
        with self._reaching(name):
            opened: IO[bytes] = (
                open_plain(self._path(name)) if self._local else self._fs.open(self._path(name), "rb")
            )
        return opened

    def write(self, name: str, data: bytes) -> None:
        """Upload a file in one request."""
        try:
            self._fs.pipe_file(self._path(name), data)
        except Exception as error:
            raise self._write_error(name, error) from error

    def write_from(self, name: str, source: IO[bytes]) -> None:
        """Upload what ``source`` holds from its start, a piece at a time."""
        source.seek(0)
        first = source.read(PIECE_BYTES)
        if len(first) < PIECE_BYTES:
            self.write(name, first)
            return
        try:
            # without autocommit nothing appears under the name until the upload is complete
            target = self._fs.open(self._path(name), "wb", autocommit=False)
            try:
                target.write(first)
                shutil.copyfileobj(source, target, PIECE_BYTES)
                target.close()
            except BaseException:
                target.discard()
                raise
            target.commit()
        except Exception as error:
            raise self._write_error(name, error) from error

    def write_new(self, name: str, data: bytes) -> bool:
        """Upload a file if there is none of that name.

        This is not atomic: of two writers at once the last one wins, so the caller must read the file again.
        """
        if self.exists(name):
            return False
        self.write(name, data)
        return True

    def exists(self, name: str) -> bool:
        """Return whether the file exists."""
        self._fs.invalidate_cache()
        with self._reaching(name):
            return bool(self._fs.exists(self._path(name)))

    def names(self, folder: str = "") -> list[str]:
        """Return the names directly in ``folder``."""
        self._fs.invalidate_cache()
        try:
            with self._reaching(folder):
                found = self._fs.ls(self._path(folder).rstrip("/"), detail=False)
        except FileNotFoundError:
            return []
        return sorted({str(path).rstrip("/").rpartition("/")[2] for path in found} - {""})

    def remove(self, name: str) -> None:
        """Remove a file, which may be missing."""
        with contextlib.suppress(FileNotFoundError), self._reaching(name):
            self._fs.rm_file(self._path(name))

    def clean(self) -> None:
        """Do nothing: an upload that was cut off leaves no file."""

    def append(self, name: str) -> _Upload:
        """Begin a file that is uploaded whole each time that it is synced: an object cannot grow."""
        return _Upload(lambda data: self.write(name, data))

    @contextlib.contextmanager
    def lock(self, part: Part | None = None) -> Iterator[_NoLock]:
        """Hold nothing: an object store has no locks."""
        yield _NoLock()

    def holders(self) -> list[Holder]:
        """Return nothing: an object store has no locks."""
        return []

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}" if name else str(self._root)

    def _write_error(self, name: str, error: Exception) -> StoreError:
        return StoreError(
            f"{self.place}/{name} cannot be written: {_describe(error)}; what is finished stays, "
            "and the same command resumes"
        )

    @contextlib.contextmanager
    def _reaching(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:  # each driver has errors of its own
            raise StoreError(f"{self.place}/{name} cannot be reached: {_describe(error)}") from error


class _Upload:
    """What was appended so far, in memory."""

    def __init__(self, upload: Callable[[bytes], None]) -> None:
        self._upload = upload
        self._data = bytearray()

    def write(self, pieces: Sequence[Bytes]) -> None:
        for piece in pieces:
            self._data += memoryview(piece).cast("B")

    def sync(self) -> None:
        self._upload(bytes(self._data))

    def close(self) -> None:
        self._data = bytearray()


class _NoLock:
    def note(self, data: bytes) -> None:
        pass


def _protocols(filesystem: Any) -> tuple[str, ...]:
    found = filesystem.protocol
    return (found,) if isinstance(found, str) else tuple(found)


def _describe(error: Exception) -> str:
    return redact(f"{type(error).__name__}: {error}")
