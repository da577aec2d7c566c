"""Digests of the files of a run and of an index: what is recorded when a file is written, and checked before it is used.

A file that a reader takes whole is checked whole. Of a file that is larger than one chunk the chunks are recorded too, so
that a reader that maps it, or asks for a range of it, checks only the chunks that it uses.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import IO, Any, NotRequired, TypedDict

from memcore.errors import DamagedFileError
from memcore.system.parsing import parse_json

#: Bytes of a chunk; a file's last one may be shorter.
CHUNK_BYTES = 1 << 20
#: What may be done about a damaged file where its reader knows nothing better.
RESTORE = "restore it from a copy, or make it again"

#: The entry of a file of JSON or TOML that holds the digest of its other entries.
SEAL = "seal"

_SHA256 = re.compile(r"[0-9a-f]{64}")


class FileDigest(TypedDict):
    """A file's size and its sha256 in hexadecimal; of a file over one chunk also the sha256 of each chunk, in order."""

    bytes: int
    sha256: str
    chunks: NotRequired[list[str]]


class Digester:
    """Make the digest of what is given piece by piece.

    >>> digester = Digester()
    >>> digester.update(b"ab")
    >>> digester.update(b"c")
    >>> digester.finish() == digest_bytes(b"abc")
    True
    """

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._chunk = hashlib.sha256()
        self._bytes = 0
        self._chunks: list[str] = []

    def update(self, piece: bytes | bytearray | memoryview) -> None:
        """Add the next piece, of any length."""
        left = memoryview(piece).cast("B")
        self._whole.update(left)
        while left:
            room = CHUNK_BYTES - self._bytes % CHUNK_BYTES
            self._chunk.update(left[:room])
            self._bytes += len(left[:room])
            left = left[room:]
            if self._bytes % CHUNK_BYTES == 0:
                self._end_chunk()

    def finish(self) -> FileDigest:
        """Return the digest of all pieces. Nothing may be added after it."""
        if self._bytes % CHUNK_BYTES:
            self._end_chunk()
        found: FileDigest = {"bytes": self._bytes, "sha256": self._whole.hexdigest()}
        if len(self._chunks) > 1:
            found["chunks"] = self._chunks
        return found

    def _end_chunk(self) -> None:
        self._chunks.append(self._chunk.hexdigest())
        self._chunk = hashlib.sha256()


def digest_bytes(data: bytes | bytearray | memoryview) -> FileDigest:
    """Return the digest of a file's content.

    >>> digest_bytes(b"abc")["bytes"], digest_bytes(b"abc")["sha256"][:8]
    (3, 'ba7816bf')
    """
    digester = Digester()
    digester.update(data)
    return digester.finish()


def digest_stream(stream: IO[bytes]) -> FileDigest:
    """Return the digest of what ``stream`` still holds, read a chunk at a time."""
    digester = Digester()
    while piece := stream.read(CHUNK_BYTES):
        digester.update(piece)
    return digester.finish()


def verify_bytes(
    data: bytes | bytearray | memoryview, expected: FileDigest, name: str, remedy: str = RESTORE
) -> None:
    """Check a file's whole content.

    Parameters
    ----------
    data
        What was read.
    expected
        The digest that was recorded when the file was written.
    name
        The file, as the message names it.
    remedy
        What its user can do, as the end of the message.

    Raises
    ------
    DamagedFileError
        The content is not the recorded one.

    Examples
    --------
    >>> verify_bytes(b"abc", digest_bytes(b"abc"), "a.npy")
    >>> verify_bytes(b"abd", digest_bytes(b"abc"), "a.npy", "make the index again")
    Traceback (most recent call last):
        ...
    memcore.errors.DamagedFileError: a.npy is damaged: its sha256 differs from the recorded one; make the index again
    """
    size = memoryview(data).nbytes
    if size != expected["bytes"]:
        raise _damaged(name, _wrong_size(size, expected["bytes"]), remedy)
    if hashlib.sha256(data).hexdigest() != expected["sha256"]:
        raise _damaged(name, "its sha256 differs from the recorded one", remedy)


def verify_chunk(
    data: bytes | bytearray | memoryview,
    number: int,
    expected: FileDigest,
    name: str,
    remedy: str = RESTORE,
) -> None:
    """Check one chunk of a file: bytes ``number * CHUNK_BYTES`` up to the next chunk, or to the end of the file.

    Raises DamagedFileError as ``verify_bytes`` does, also where the recorded digest has no such chunk.
    """
    recorded = chunk_digests(expected)
    if not 0 <= number < len(recorded):
        raise _damaged(name, f"chunk {number} was read, but {len(recorded)} chunks were recorded", remedy)
    size = min(CHUNK_BYTES, expected["bytes"] - number * CHUNK_BYTES)
    found = memoryview(data).nbytes
    if found != size:
        raise _damaged(name, f"its chunk {number} {_wrong_size(found, size).removeprefix('it ')}", remedy)
    if hashlib.sha256(data).hexdigest() != recorded[number]:
        raise _damaged(name, f"the sha256 of its chunk {number} differs from the recorded one", remedy)


def verify_stream(stream: IO[bytes], expected: FileDigest, name: str, remedy: str = RESTORE) -> None:
    """Check what ``stream`` still holds, read a chunk at a time. Raises DamagedFileError as ``verify_bytes`` does."""
    whole, size = hashlib.sha256(), 0
    while piece := stream.read(CHUNK_BYTES):
        size += len(piece)
        whole.update(piece)
    if size != expected["bytes"]:
        raise _damaged(name, _wrong_size(size, expected["bytes"]), remedy)
    if whole.hexdigest() != expected["sha256"]:
        raise _damaged(name, "its sha256 differs from the recorded one", remedy)


def chunk_digests(digest: FileDigest) -> list[str]:
    """Return the sha256 of each chunk of a file: a file of at most one chunk is its only one, an empty file has none."""
    if "chunks" in digest:
        return digest["chunks"]
    return [digest["sha256"]] if digest["bytes"] else []


def read_digest(value: object, name: str, remedy: str = RESTORE) -> FileDigest:
    """Return a digest that was read from a file ``name``, or raise DamagedFileError unless it is one.

    >>> read_digest(dict(digest_bytes(b"abc")), "shard.json")["bytes"]
    3
    """
    if _is_digest(value):
        return value  # type: ignore[return-value]  # it was checked key by key
    raise _damaged(name, f"it records {str(value)[:80]!r}, which is no digest of a file", remedy)


def _is_digest(value: Any) -> bool:
    if not isinstance(value, dict) or not {"bytes", "sha256"} <= set(value) <= {"bytes", "sha256", "chunks"}:
        return False
    size, chunks = value["bytes"], value.get("chunks")
    if type(size) is not int or size < 0 or not _is_sha256(value["sha256"]):
        return False
    if size <= CHUNK_BYTES:
        return "chunks" not in value
    wanted = -(-size // CHUNK_BYTES)
    return isinstance(chunks, list) and len(chunks) == wanted and all(map(_is_sha256, chunks))


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def headed(head: str, data: bytes) -> bytes:
    """Return data behind a line with ``head`` and its sha256, for files that hold their own digest.

    >>> without_head("memcore study 1", headed("memcore study 1", b"abc"))
    b'abc'
    """
    return f"{head} {hashlib.sha256(data).hexdigest()}\n".encode() + data


def without_head(head: str, data: bytes) -> bytes | None:
    """Return what ``headed`` was given; None if it is damaged, or of another kind.

    >>> without_head("memcore study 1", headed("memcore study 1", b"abc")[:-1]) is None
    True
    """
    line, _, rest = data.partition(b"\n")
    return rest if line + b"\n" + rest == headed(head, rest) else None


def combine(named: Mapping[str, FileDigest | str]) -> str:
    """Return one sha256 of named digests, in whatever order they are given: what a derived file was made from.

    A value is a file's digest, or the sha256 of something else.

    >>> one, two = digest_bytes(b"1"), digest_bytes(b"2")
    >>> combine({"a": one, "b": two}) == combine({"b": two, "a": one}) != combine({"a": two, "b": one})
    True
    """
    values = {
        name: value if isinstance(value, str) else f"{value['bytes']}:{value['sha256']}"
        for name, value in named.items()
    }
    return _seal_of(values)


def seal(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as its file holds it: with the digest of all its other entries as its last one, ``seal``.

    It depends on what the file says, not on how JSON or TOML writes it.

    >>> sealed = seal({"format": 3, "prompts": 2})
    >>> list(sealed), sealed == seal({"prompts": 2, "format": 3})
    (['format', 'prompts', 'seal'], True)
    """
    content = {name: value for name, value in json.loads(json.dumps(record)).items() if name != SEAL}
    return {**content, SEAL: _seal_of(content)}


def check_seal(record: Mapping[str, Any], name: str, remedy: str = RESTORE, *, required: bool) -> None:
    """Check the content of a sealed file. Raises DamagedFileError, also for a missing seal if it is ``required``.

    Files of formats without seals have none; one that is there is always checked, so that no damage of the format's number
    makes a file an older one.
    """
    if SEAL not in record:
        if required:
            raise _damaged(name, "the digest of its content is missing", remedy)
        return
    content = {key: value for key, value in record.items() if key != SEAL}
    if record[SEAL] != _seal_of(content):
        raise _damaged(name, "its content differs from the digest that it holds of it", remedy)


def read_sealed(data: bytes, name: str, remedy: str = RESTORE, *, since: int) -> dict[str, Any]:
    """Return the JSON object in a file; its seal is required if its ``format`` is ``since`` or later.

    Raises DamagedFileError for what is no JSON object, or not the one that was written.

    >>> read_sealed(json.dumps(seal({"format": 3})).encode(), "match.json", since=3)["format"]
    3
    """
    try:
        record = parse_json(data)
    except ValueError as error:
        raise _damaged(name, f"it cannot be read as JSON ({type(error).__name__}: {error})", remedy) from None
    if not isinstance(record, dict):
        raise _damaged(name, f"it must hold a JSON object, got {type(record).__name__}", remedy)
    number = record.get("format")
    check_seal(record, name, remedy, required=type(number) is int and number >= since)
    return record


def _seal_of(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _wrong_size(found: int, expected: int) -> str:
    return f"it has {found} bytes where {expected} were recorded"


def _damaged(name: str, what: str, remedy: str) -> DamagedFileError:
    return DamagedFileError(f"{name} is damaged: {what}; {remedy}")
