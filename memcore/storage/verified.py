"""Read a file whose digest was recorded: nothing of it is handed out before it was checked."""

from __future__ import annotations

import io
import os
from typing import IO

from memcore.errors import DamagedFileError
from memcore.storage import digests
from memcore.storage.base import Storage
from memcore.storage.digests import RESTORE, FileDigest, verify_bytes, verify_chunk


class VerifiedFile(io.RawIOBase):
    """A file that is read a chunk at a time, of which each is checked when it is first used.

    At most two chunks are held. A reader that seeks, as that of Parquet does, checks what it uses and nothing else.

    Raises DamagedFileError on a read of what is not the recorded content.

    >>> from memcore.storage.digests import digest_bytes
    >>> VerifiedFile(io.BytesIO(b"abc"), digest_bytes(b"abc"), "a.txt").read()
    b'abc'
    """

    def __init__(self, file: IO[bytes], expected: FileDigest, name: str, remedy: str = RESTORE) -> None:
        super().__init__()
        self._file = file
        self._expected = expected
        self._name = name
        self._remedy = remedy
        self._position = 0
        self._held: dict[int, bytes] = {}
        found = file.seek(0, os.SEEK_END)
        if found != expected["bytes"]:
            raise DamagedFileError(
                f"{name} is damaged: it has {found} bytes where {expected['bytes']} were recorded; {remedy}"
            )

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return where the next read starts."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place and return it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._expected["bytes"]}[whence]
        if start + offset < 0:
            raise ValueError(f"a file has no byte {start + offset}")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer with checked bytes up to the end of a chunk, and return how many these are."""
        view = memoryview(buffer).cast("B")
        if self._position >= self._expected["bytes"] or not view:
            return 0
        number, inside = divmod(self._position, digests.CHUNK_BYTES)
        piece = memoryview(self._chunk(number))[inside : inside + len(view)]
        view[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._file.close()
        super().close()

    def _chunk(self, number: int) -> bytes:
        if number not in self._held:
            self._file.seek(number * digests.CHUNK_BYTES)
            data = self._file.read(digests.CHUNK_BYTES)
            verify_chunk(data, number, self._expected, self._name, self._remedy)
            while len(self._held) > 1:
                self._held.pop(next(iter(self._held)))
            self._held[number] = data
        return self._held[number]


def open_verified(storage: Storage, name: str, expected: FileDigest, remedy: str = RESTORE) -> IO[bytes]:
    """Open a file of a storage, to be checked as it is read. Raises FileNotFoundError, DamagedFileError."""
    checked = VerifiedFile(storage.open(name), expected, f"{storage.place}/{name}", remedy)
    return io.BufferedReader(checked)


def read_verified(storage: Storage, name: str, expected: FileDigest, remedy: str = RESTORE) -> bytes:
    """Return the whole file. Raises DamagedFileError if it is missing or not the recorded one."""
    try:
        data = storage.read(name)
    except FileNotFoundError:
        raise DamagedFileError(f"{storage.place}/{name} is missing; {remedy}") from None
    verify_bytes(data, expected, f"{storage.place}/{name}", remedy)
    return data
