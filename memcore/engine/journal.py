"""An append-only journal of an unfinished task: records that a kill does not take, each with its length and digests.

A task's journal is a row of segments, ``partial/TASK.NUMBER.journal``. Only the newest is appended to, and none is ever
changed, so that what a segment holds is removed with it. A record is

    mark  bytes of the head  bytes of the payload  sha256 of the payload  sha256 of all before it  |  head (JSON)  payload

where the last digest also covers the key, the segment's name, the record's number and the head. So a record that was cut
off, damaged, moved, or written for another key is recognised; it and what follows it in its segment do not count.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, Literal

from memcore.engine.task import CHECKPOINTS
from memcore.errors import StoreError
from memcore.storage.base import Appended, Storage
from memcore.system.atomic_files import Bytes
from memcore.system.parsing import parse_json

#: When what was appended is brought to the disk: with every record, before ``append`` returns, or with ``sync()`` alone.
Sync = Literal["record", "interval"]

_MARK = b"mcj1"
_FRAME = struct.Struct(">4sIQ32s32s")
_SUFFIX = ".journal"
#: Bytes of a head that may be believed.
_MOST_HEAD = 16 << 20


@dataclasses.dataclass(frozen=True)
class Record:
    """A record of a journal: its head, and where its payload is."""

    head: Mapping[str, Any]
    segment: int
    offset: int
    length: int
    sha256: bytes


class Journal:
    """The journal of one task. What earlier processes left is in ``records``; what of it does not count, in ``lost``.

    Parameters
    ----------
    storage, task
        The job's files, and the task's id.
    key
        What the records belong to, such as a run's digest: records of another key do not count.
    sync
        "record": a record is durable when ``append`` returns. "interval": records are durable after ``sync()``; before it
        they survive a kill of the process on a local file system, and no power cut.
    folder
        Where the segments are. Those in ``partial`` are removed once the task is done.
    check
        Raises ValueError for a head that this journal never has; its record is left out, and so is what follows it.

    Raises
    ------
    StoreError where a file cannot be written.

    >>> import tempfile
    >>> from memcore.storage.open import open_storage
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     journal = Journal(open_storage(folder), "task-1", "a key")
    ...     segment = journal.append({"n": 7}, [b"some", b"thing"])
    ...     journal.sync()
    ...     again = Journal(open_storage(folder), "task-1", "a key")
    ...     again.records[0].head, again.read(again.records[0])
    ({'n': 7}, b'something')
    """

    def __init__(
        self,
        storage: Storage,
        task: str,
        key: str,
        *,
        sync: Sync = "interval",
        folder: str = CHECKPOINTS,
        check: Callable[[dict[str, Any]], None] = lambda head: None,
    ) -> None:
        self._check = check
        self._storage = storage
        self._folder = folder
        self._task = task
        self._key = key
        self._sync = sync
        #: Bytes of each segment, by its number.
        self.segments: dict[int, int] = {}
        self.records: list[Record] = []
        self.lost: list[str] = []
        #: What is wrong with a record that was left out although its digest fits: a sum over the records would lack it.
        self.foreign = ""
        self._written: Appended | None = None
        self._count = 0
        self._reading: tuple[int, IO[bytes]] | None = None
        for number in journal_segments(storage, task, folder):
            self.segments[number] = 0
            self.records += self._index(number)
            self.close()
        self._number = max(self.segments, default=-1) + 1

    @property
    def storage(self) -> Storage:
        """Return the place of the segments."""
        return self._storage

    @property
    def size(self) -> int:
        """Return the bytes of all segments."""
        return sum(self.segments.values())

    @property
    def unsynced(self) -> int:
        """Return the bytes of the segment that is appended to."""
        return self.segments.get(self._number, 0)

    def append(self, head: Mapping[str, Any], payload: Sequence[Bytes]) -> int:
        """Append a record, whose payload is the pieces in a row, and return the number of its segment."""
        text = json.dumps(head, separators=(",", ":")).encode()
        content, length = hashlib.sha256(), 0
        for piece in payload:
            content.update(piece)
            length += memoryview(piece).nbytes
        digest = self._digest(self._number, self._count, len(text), length, content.digest(), text)
        frame = _FRAME.pack(_MARK, len(text), length, content.digest(), digest)
        if self._written is None:
            self._written = self._storage.append(self._name(self._number))
            self.segments[self._number] = 0
        number = self._number
        try:
            self._written.write([frame, text, *payload])
            if self._sync == "record":
                self._written.sync()
        except BaseException:  # a part of a record may be there: nothing that follows it would count
            self._end_segment()
            raise
        self._count += 1
        self.segments[number] += len(frame) + len(text) + length
        return number

    def sync(self) -> None:
        """Bring all that was appended to the disk; what is appended after it goes into a new segment."""
        if self._written is None:
            return
        if self._sync != "record":
            self._written.sync()
        self._end_segment()

    def read(self, record: Record) -> bytes | None:
        """Return the payload of a record that was found, or None if it is not what was written."""
        try:
            file = self._open(record.segment)
            file.seek(record.offset)
            data = file.read(record.length)
        except OSError:
            return None
        return data if hashlib.sha256(data).digest() == record.sha256 else None

    def remove(self, numbers: Iterable[int]) -> None:
        """Remove segments."""
        for number in list(numbers):
            self.close()
            if number == self._number:
                self._end_segment()
            self.segments.pop(number, None)
            self._storage.remove(self._name(number))

    def close(self) -> None:
        """Close the file that was read last."""
        if self._reading is not None:
            self._reading[1].close()
            self._reading = None

    def _end_segment(self) -> None:
        """Let the next record begin a new segment."""
        written, self._written, self._count = self._written, None, 0
        self._number += 1
        if written is not None:
            with contextlib.suppress(StoreError):  # what was to be durable was synced
                written.close()

    def _name(self, number: int) -> str:
        return f"{self._folder}/{self._task}.{number:06d}{_SUFFIX}"

    def _open(self, number: int) -> IO[bytes]:
        if self._reading is None or self._reading[0] != number:
            self.close()
            self._reading = number, self._storage.open(self._name(number))
        return self._reading[1]

    def _digest(
        self, segment: int, count: int, head: int, payload: int, content: bytes, text: bytes
    ) -> bytes:
        place = f"{self._key}\0{self._name(segment)}\0{count}\0{head}\0{payload}\0".encode()
        return hashlib.sha256(place + content + text).digest()

    def _parse(self, text: bytes) -> dict[str, Any]:
        """Return the head of a record whose digest fits. Raises ValueError for one that memcore never writes."""
        head = parse_json(text)
        if not isinstance(head, dict):
            raise ValueError("its head is no object")
        self._check(head)
        return head

    def _index(self, number: int) -> Iterator[Record]:
        """Yield the records of a segment, without reading their payloads, up to the first one that does not count."""
        try:
            file = self._open(number)
            size = file.seek(0, 2)
        except OSError as error:
            self.lost.append(f"{self._name(number)} cannot be read: {error}")
            return
        self.segments[number] = size
        start = count = 0
        while start < size:
            file.seek(start)
            frame = file.read(_FRAME.size)
            why = "ends in the middle of a record"
            if len(frame) == _FRAME.size:
                mark, head, payload, content, digest = _FRAME.unpack(frame)
                end = start + _FRAME.size + head + payload
                if mark == _MARK and head <= _MOST_HEAD and end <= size:
                    text = file.read(head)
                    why = "holds a record that is damaged, or of another run"
                    if self._digest(number, count, head, payload, content, text) == digest:
                        try:
                            told = self._parse(text)
                        except ValueError as error:
                            why = f"holds a record such as memcore never writes ({error})"
                            self.foreign = f"{self._name(number)} {why}"
                        else:
                            yield Record(told, number, end - payload, payload, content)
                            start, count = end, count + 1
                            continue
                elif mark != _MARK or head > _MOST_HEAD:
                    why = "holds a record that is damaged, or of another run"
            self.lost.append(
                f"{self._name(number)} {why}: its last {size - start} of {size} bytes are left out"
            )
            return


def journal_segments(storage: Storage, task: str, folder: str = CHECKPOINTS) -> list[int]:
    """Return the numbers of a task's segments, ascending."""
    found = []
    for name in storage.names(folder):
        owner, _, rest = name.partition(".")
        number = rest.removesuffix(_SUFFIX)
        if owner == task and rest.endswith(_SUFFIX) and number.isdecimal():
            found.append(int(number))
    return sorted(found)
