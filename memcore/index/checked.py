"""The files of an index, read through their digests: nothing that was not checked is used, and nothing is mapped.

A file that is cut while it is mapped would end the process, and one that is changed would change answers unseen.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.errors import DamagedFileError
from memcore.sources.walk import READ
from memcore.storage.digests import CHUNK_BYTES, FileDigest, verify_bytes, verify_chunk

#: Bytes of the longest header of an .npy file that memcore writes.
_HEADER_BYTES = 4096
#: Bytes that are read in the time of opening one row: a file of no more for each row that is wanted is read whole.
_ROW_COSTS = 1 << 13

#: What tells one state of a file from another: while it is the same, what was checked stays checked.
_State = tuple[int, int, int, int]


class Budget:
    """Bytes of arrays that may stay in memory, shared by all files of an index."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Take this many bytes if there are as many left."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def covers(self, size: int) -> bool:
        """Tell whether this many bytes are left."""
        return size <= self._left


class CheckedFile:
    """A file with a recorded digest. Each chunk is checked when it is first read, and again once the file was changed.

    Files of indexes of format 1 have one digest, so that they count as a single chunk. Several threads may read at once.
    """

    def __init__(self, path: Path, expected: FileDigest) -> None:
        self.path, self.size = path, expected["bytes"]
        self._expected = expected
        in_chunks = "chunks" in expected
        self._chunk = CHUNK_BYTES if in_chunks else max(1, self.size)
        self._checked = bytearray(-(-self.size // self._chunk))
        self._state: _State | None = None
        self._lock = threading.Lock()

    def check(self) -> None:
        """Check the whole file. Raises DamagedFileError unless it is what was recorded."""
        piece = np.empty(min(self._chunk, self.size), np.uint8)
        for start in range(0, self.size, self._chunk):
            self.read_into(piece[: self.size - start], start)
        if not self.size:
            self.read_into(piece, 0)

    def check_size(self) -> None:
        """Raise DamagedFileError unless the file is there and has the recorded size."""
        try:
            found = os.stat(self.path).st_size
        except OSError:
            found = -1
        if found != self.size:
            raise self._damaged(_other_size(self.size))

    def read(self) -> NDArray[np.uint8]:
        """Return the bytes of the whole file."""
        out = np.empty(self.size, np.uint8)
        self.read_into(out, 0)
        return out

    def read_into(self, out: NDArray[np.uint8], start: int) -> None:
        """Fill ``out`` (contiguous) with the bytes from ``start`` on. Raises DamagedFileError as ``check`` does."""
        with self._reading() as descriptor:
            self._fill(descriptor, out, start)
            new = self._check_chunks(descriptor, out, start)
            self._end(descriptor, new)

    def read_rows(self, out: NDArray[np.uint8], starts: NDArray[np.int64]) -> None:
        """Fill each row of ``out`` (rows, bytes) with the bytes from its start on, opening the file once."""
        ends = starts + out.shape[1] - 1
        with self._reading() as descriptor:
            new = []
            for number in np.unique(np.concatenate([starts, ends]) // self._chunk).tolist():
                if not self._checked[number]:
                    self._read_chunk(descriptor, number)
                    new.append(number)
            for row, start in zip(out, starts.tolist(), strict=True):
                self._fill(descriptor, row, start)
            self._end(descriptor, new)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[int]:
        """Open the file, and yield its descriptor while no other thread reads it."""
        try:
            descriptor = os.open(self.path, READ)
        except OSError as error:
            what = (
                "it is missing" if isinstance(error, FileNotFoundError) else f"it cannot be opened ({error})"
            )
            raise self._damaged(what) from None
        try:
            with self._lock:
                self._begin(os.fstat(descriptor))
                yield descriptor
        except OSError as error:
            raise self._damaged(f"it cannot be read ({error.strerror})") from None
        finally:
            os.close(descriptor)

    def _end(self, descriptor: int, new: list[int]) -> None:
        """Remember which chunks were checked, unless the file was changed meanwhile."""
        if _state(os.fstat(descriptor)) != self._state:
            raise self._damaged("it was changed while it was read")
        for number in new:
            self._checked[number] = 1

    def _begin(self, about: os.stat_result) -> None:
        """Forget what was checked if the file is not the one that it was."""
        if not stat.S_ISREG(about.st_mode) or about.st_size != self.size:
            raise self._damaged(_other_size(self.size))
        if self._state != _state(about):
            self._state = _state(about)
            self._checked = bytearray(len(self._checked))

    def _check_chunks(self, descriptor: int, out: NDArray[np.uint8], start: int) -> list[int]:
        """Check the chunks in which the bytes lie that were read; return those that had not been checked before."""
        new = []
        stop = start + len(out)
        for number in range(start // self._chunk, -(-stop // self._chunk)):
            if self._checked[number]:
                continue
            begin, end = self._span(number)
            if start <= begin and end <= stop:
                self._verify(out[begin - start : end - start], number)
            else:
                chunk = self._read_chunk(descriptor, number)
                first, last = max(start, begin), min(stop, end)
                out[first - start : last - start] = chunk[first - begin : last - begin]
            new.append(number)
        return new

    def _span(self, number: int) -> tuple[int, int]:
        begin = number * self._chunk
        return begin, min(begin + self._chunk, self.size)

    def _read_chunk(self, descriptor: int, number: int) -> NDArray[np.uint8]:
        begin, end = self._span(number)
        chunk = np.empty(end - begin, np.uint8)
        self._fill(descriptor, chunk, begin)
        self._verify(chunk, number)
        return chunk

    def _verify(self, chunk: NDArray[np.uint8], number: int) -> None:
        name, remedy = str(self.path), _remedy(self.path)
        if "chunks" in self._expected:
            verify_chunk(chunk.data, number, self._expected, name, remedy)
        else:
            verify_bytes(chunk.data, self._expected, name, remedy)

    def _fill(self, descriptor: int, out: NDArray[np.uint8], start: int) -> None:
        view = out.data
        done = 0
        while done < len(view):
            got = os.preadv(descriptor, [view[done:]], start + done)
            if not got:
                raise self._damaged(f"it ends after {start + done} bytes, not after {self.size}")
            done += got

    def _damaged(self, what: str) -> DamagedFileError:
        return damaged(self.path, what)


class CheckedArray:
    """An .npy file of a shard: (rows, ...) of a dtype, read whole, or some rows of it."""

    def __init__(
        self, file: CheckedFile, rows: int, dtype: np.dtype[Any], columns: int | None, held: Budget
    ) -> None:
        self.file = file
        self._shape = (rows,) if columns is None else (rows, columns)
        self._dtype = dtype
        self._row_bytes = dtype.itemsize * (1 if columns is None else columns)
        self._budget = held
        self._held: NDArray[Any] | None = None
        self._offset = 0

    def load(self, room: list[NDArray[np.uint8]] | None = None) -> NDArray[Any]:
        """Return all rows. They stay in memory while the index's budget lasts; else they are read into ``room``, if given.

        ``room`` holds one array, which is replaced by a larger one where it is too small; what is returned is valid until
        it is used again.
        """
        if self._held is not None:
            return self._held
        offset = self._data()
        if self._budget.take(self.file.size):
            whole = np.empty(self.file.size, np.uint8)
            self.file.read_into(whole, 0)
            self._held = self._view(whole[offset:])
            return self._held
        if room is None:
            room = [np.empty(0, np.uint8)]
        if len(room[0]) < self.file.size:
            room[0] = np.empty(self.file.size, np.uint8)
        whole = room[0][: self.file.size]
        self.file.read_into(whole, 0)
        return self._view(whole[offset:])

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return some rows, in the order in which they are given."""
        size = self.file.size
        if self._held is not None or size <= len(rows) * _ROW_COSTS or self._budget.covers(size):
            found: NDArray[Any] = self.load()[rows]
            return found
        out = np.empty((len(rows), self._row_bytes), np.uint8)
        self.file.read_rows(out, self._data() + rows.astype(np.int64) * self._row_bytes)
        return self._view(out.reshape(-1), len(rows))

    def slice(self, start: int, stop: int) -> NDArray[Any]:
        """Return the rows from ``start`` up to ``stop``."""
        if self._held is not None:
            return self._held[start:stop]
        out = np.empty((stop - start) * self._row_bytes, np.uint8)
        self.file.read_into(out, self._data() + start * self._row_bytes)
        return self._view(out, stop - start)

    def _view(self, data: NDArray[np.uint8], rows: int | None = None) -> NDArray[Any]:
        shape = self._shape if rows is None else (rows, *self._shape[1:])
        return data.view(self._dtype).reshape(shape)

    def _data(self) -> int:
        """Return where the rows begin in the file; raise DamagedFileError if its header says something else."""
        if not self._offset:
            head = np.empty(min(_HEADER_BYTES, self.file.size), np.uint8)
            self.file.read_into(head, 0)
            self._offset = self._read_header(io.BytesIO(head.tobytes()))
        return self._offset

    def _read_header(self, head: io.BytesIO) -> int:
        try:
            version = np.lib.format.read_magic(head)
            if version != (1, 0):
                raise ValueError(f"version {version}")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(head)
        except Exception as error:  # NumPy parses a header as Python, which raises many kinds
            raise damaged(self.file.path, f"its header cannot be read ({error})") from None
        size = head.tell() + self._row_bytes * self._shape[0]
        if (
            (shape, dtype) != (self._shape, self._dtype)
            or (fortran and len(shape) > 1)
            or size != self.file.size
        ):
            raise damaged(
                self.file.path, f"it holds {dtype} {shape} where {self._dtype} {self._shape} is expected"
            )
        return head.tell()


def read_array(file: CheckedFile, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a one-dimensional array of any length from an .npy file. Raises DamagedFileError."""
    data = file.read()
    try:
        found: NDArray[Any] = np.load(io.BytesIO(data.data), allow_pickle=False)
    except Exception as error:  # NumPy parses a header as Python, which raises many kinds
        raise damaged(file.path, f"it cannot be read ({error})") from None
    if found.dtype != dtype or found.ndim != 1:
        raise damaged(file.path, f"it holds {found.dtype} {found.shape} where {dtype} (N,) is expected")
    return found


def damaged(file: Path, what: str) -> DamagedFileError:
    """Return the error of a file of a shard that is not what was written."""
    return DamagedFileError(f"{file} is damaged: {what}. {_remedy(file)}")


def _remedy(file: Path) -> str:
    return f"Remove {file.parent} and every later shard, and repeat the memcore index command, which makes them again"


def _other_size(size: int) -> str:
    return f"it is missing or has another size than {size} bytes"


def _state(about: os.stat_result) -> _State:
    return about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns
